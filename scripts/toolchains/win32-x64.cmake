# Debian's clang with Debian's mingw-w64 (headers, libstdc++, winpthreads) and the Universal C Runtime.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_CXX_COMPILER_TARGET x86_64-w64-mingw32)
set(CMAKE_AR llvm-ar-19)
set(CMAKE_RANLIB llvm-ranlib-19)
set(CMAKE_RC_COMPILER llvm-rc-19)

# node.exe is loaded late, so that delay-load-hook.cc can answer with the running program.
# winpthreads was compiled for msvcrt.dll, which has setjmp under another name.
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-fuse-ld=lld-19 -static -lucrt -Wl,-Xlink=-delayload:node.exe -ldelayimp \
-Wl,-Xlink=-alternatename:_setjmp=__intrinsic_setjmp")
set(CMAKE_JS_SRC ${CMAKE_CURRENT_LIST_DIR}/delay-load-hook.cc)
