# zig as the cross compiler of zig_target, with LLVM 19's archiver. $ENV{ZIG} is the program (scripts/cross-tools.js).
# -fno-sanitize=undefined: zig's own default would need a run-time library.
# -mevex512 on x86-64: zig switches every feature beyond the baseline off, and AVX-512's 64-byte registers with it.
set(CMAKE_CXX_COMPILER $ENV{ZIG} c++ -target ${zig_target} -fno-sanitize=undefined)
if(zig_target MATCHES "^x86_64")
  set(CMAKE_CXX_FLAGS_INIT -mevex512)
endif()
set(CMAKE_AR llvm-ar-19)
set(CMAKE_RANLIB llvm-ranlib-19)
# CMake's tests of the compiler link no program then; FindThreads would take -lpthreads, the first name that "links".
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_HAVE_LIBC_PTHREAD ON)
