# LLVM's linker: zig's driver does not pass on that node.exe is loaded late, so that delay-load-hook.cc can answer with the
# running program. $ENV{ZIG_CXX_LIBRARIES} are zig's libc++, mingw-w64 and import libraries of the Universal C Runtime.
set(CMAKE_CXX_CREATE_SHARED_MODULE "lld-link-19 /lldmingw /dll /machine:arm64 /entry:DllMainCRTStartup /delayload:node.exe \
/opt:ref /debug:none /out:<TARGET> <OBJECTS> <LINK_LIBRARIES> $ENV{ZIG_CXX_LIBRARIES}")
