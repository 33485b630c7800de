# LLVM's linker makes the bundle: zig's cannot, and exports operator new of its C++ library.
# $ENV{ZIG_CXX_LIBRARIES} are zig's libc++ and compiler_rt, so that of the system only libSystem is needed.
# -adhoc_codesign: kernels of arm64 end a process that loads unsigned code.
set(CMAKE_CXX_CREATE_SHARED_MODULE "ld64.lld-19 -arch ${CMAKE_SYSTEM_PROCESSOR} -platform_version macos 11.0 11.0 -bundle \
-undefined dynamic_lookup -exported_symbols_list ${CMAKE_CURRENT_LIST_DIR}/darwin-exports.txt -dead_strip -x -S \
-adhoc_codesign -o <TARGET> <OBJECTS> <LINK_LIBRARIES> $ENV{ZIG_CXX_LIBRARIES}")
