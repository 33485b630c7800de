# sweet-rl-cuda, with nvcc and on the emulator of test/cuda/emulator. Included by the CMakeLists.txt above.

file(GLOB cuda_kernels CONFIGURE_DEPENDS native/cuda/*.cu)
file(GLOB cuda_host CONFIGURE_DEPENDS native/cuda/*.cpp)
# All of binding/ but what needs memory or threads of the CPU's operations; register.cc is for both addons.
file(GLOB cuda_binding CONFIGURE_DEPENDS binding/*.cc binding/generated/*.cc binding/cuda/*.cc)
list(FILTER cuda_binding EXCLUDE REGEX "/binding/(addon|shm|machine|host_memory|cuda/addon)[.]cc$")
set(cuda_check
  test/native/main.cpp
  test/native/check_logits.cpp
  test/native/check_linear.cpp
  test/native/check_divergence.cpp
  test/native/check_preference.cpp
  test/native/check_unpaired.cpp
  test/native/check_policy_gradient.cpp
  test/native/check_updates.cpp
  test/native/check_cublaslt.cpp
  test/native/check_device.cpp
  test/native/check_cuda_references.cpp
  bench/cuda/timing.cpp
  bench/cuda/timing_linear.cpp)

file(READ packages/cuda/package.json cuda_package)
string(JSON cuda_version GET "${cuda_package}" version)

# The first has to be the least; the kernels need 80 (mma of bfloat16).
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)
endif()
string(REGEX MATCH "[0-9]+" least_capability "${CMAKE_CUDA_ARCHITECTURES};80")
set_source_files_properties(native/cuda/device_memory.cpp PROPERTIES
  COMPILE_DEFINITIONS SWEET_LEAST_CAPABILITY=${least_capability})

# -- with nvcc
if(SWEET_CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)

  add_library(sweet_cuda STATIC ${cuda_kernels} ${cuda_host})
  target_compile_options(sweet_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-lineinfo;-Xcompiler=-Wall,-Wextra>"
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SWEET_WERROR}>>:-Werror=all-warnings>)
  target_link_libraries(sweet_cuda PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})

  add_library(sweet_rl_cuda MODULE binding/cuda/addon.cc ${cuda_binding} ${CMAKE_JS_SRC})
  finish_addon(sweet_rl_cuda)
  # Its package's own build folder: node-gyp-build takes the first addon of a folder.
  set_target_properties(sweet_rl_cuda PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_SOURCE_DIR}/packages/cuda/build/Release)
  target_compile_definitions(sweet_rl_cuda PRIVATE SWEET_CUDA_ADDON SWEET_VERSION="${cuda_version}")
  target_link_libraries(sweet_rl_cuda PRIVATE sweet_cuda)

  add_executable(sweet_cuda_check ${cuda_check})
  target_link_libraries(sweet_cuda_check PRIVATE sweet_cuda)
endif()

# -- with the emulator: the same sources by the C++ compiler, three times
if(SWEET_CUDA_EMULATOR)
  find_path(CUDA_INCLUDE cuda_runtime.h PATHS /usr/local/cuda/include $ENV{CUDA_HOME}/include REQUIRED)
  find_library(BOOST_CONTEXT NAMES libboost_context.a boost_context REQUIRED)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(emulator test/cuda/emulator)
  set_source_files_properties(${cuda_kernels} ${emulator}/emulator_test.cu ${emulator}/cublaslt.cu PROPERTIES LANGUAGE CXX)
  add_custom_target(sweet_emulated)
  add_custom_target(sweet_emulated_short)  # without the sanitized addons

  function(set_emulator_options target)
    target_include_directories(${target} SYSTEM PRIVATE ${CUDA_INCLUDE})
    target_compile_options(${target} PRIVATE -Wno-conversion -Wno-shadow -g ${ARGN})
    set_target_properties(${target} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  endfunction()

  # The same objects in all builds.
  add_library(emulated_check OBJECT ${cuda_check})
  set_emulator_options(emulated_check)
  target_compile_definitions(emulated_check PRIVATE SWEET_EMULATOR)
  add_library(emulated_binding OBJECT ${emulator}/addon.cc ${cuda_binding})
  set_emulator_options(emulated_binding)
  finish_addon_sources(emulated_binding)
  target_compile_definitions(emulated_binding PRIVATE SWEET_CUDA_ADDON SWEET_VERSION="${cuda_version}")

  # kernel_flags are for the kernels alone, emulator_sources are added to the emulator.
  function(add_emulated variant flags kernel_flags emulator_sources)
    separate_arguments(flags)
    separate_arguments(kernel_flags)
    # A shared library: the program and the stand-in for cuBLASLt use one device.
    add_library(emulator_${variant} SHARED ${emulator}/scheduler.cpp ${emulator}/runtime.cpp ${emulator}/memory.cpp
      ${emulator}/memory_pool.cpp ${emulator_sources})
    target_link_libraries(emulator_${variant} PUBLIC ${BOOST_CONTEXT} ${CMAKE_DL_LIBS} Threads::Threads)
    add_library(kernels_${variant} STATIC ${cuda_kernels} ${cuda_host})
    target_link_libraries(kernels_${variant} PUBLIC emulator_${variant})
    add_executable(check_${variant} $<TARGET_OBJECTS:emulated_check>)
    target_link_libraries(check_${variant} PRIVATE kernels_${variant})
    add_executable(emulator_test_${variant} ${emulator}/emulator_test.cu)
    target_link_libraries(emulator_test_${variant} PRIVATE emulator_${variant})
    add_library(addon_${variant} MODULE $<TARGET_OBJECTS:emulated_binding> ${CMAKE_JS_SRC})
    finish_addon(addon_${variant})
    target_link_libraries(addon_${variant} PRIVATE kernels_${variant})

    add_library(cublaslt_${variant} MODULE ${emulator}/cublaslt.cu)
    target_link_libraries(cublaslt_${variant} PRIVATE emulator_${variant})

    set_target_properties(emulator_${variant} cublaslt_${variant} PROPERTIES CXX_VISIBILITY_PRESET default)

    foreach(target kernels_${variant} emulator_test_${variant} cublaslt_${variant})
      target_compile_options(${target} PRIVATE ${kernel_flags} -fno-strict-aliasing -Wno-unknown-pragmas
        "SHELL:-x c++ -include ${CMAKE_SOURCE_DIR}/${emulator}/cuda_emulator.h")
    endforeach()
    # In place of native/cuda/intrinsics.h, whose include guard it has.
    target_compile_options(kernels_${variant} PRIVATE "SHELL:-include ${CMAKE_SOURCE_DIR}/${emulator}/intrinsics.h")
    set(programs check_${variant} emulator_test_${variant} addon_${variant} cublaslt_${variant})
    foreach(target emulator_${variant} kernels_${variant} ${programs})
      set_emulator_options(${target} ${flags})
      target_link_options(${target} PRIVATE ${flags})
    endforeach()
    add_dependencies(sweet_emulated ${programs})
    add_dependencies(sweet_emulated_short check_${variant} emulator_test_${variant})

    # For mutants: their objects are linked before the library that has the original ones.
    string(REPLACE ";" " " link_flags "${flags}")
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/check_${variant}.link CONTENT
"${CMAKE_CXX_COMPILER} ${link_flags} @OBJECTS@ $<JOIN:$<TARGET_OBJECTS:emulated_check>, > \
$<TARGET_FILE:kernels_${variant}> $<TARGET_FILE:emulator_${variant}> -Wl,-rpath,${CMAKE_BINARY_DIR}/bin ${BOOST_CONTEXT} -ldl -pthread -o @PROGRAM@")
  endfunction()

  add_emulated(plain "-O2" "" "")
  add_library(nccl_plain MODULE ${emulator}/nccl.cpp)
  target_link_libraries(nccl_plain PRIVATE emulator_plain)
  set_target_properties(nccl_plain PROPERTIES CXX_VISIBILITY_PRESET default)
  set_emulator_options(nccl_plain)
  add_dependencies(sweet_emulated nccl_plain)
  add_dependencies(sweet_emulated_short addon_plain cublaslt_plain nccl_plain)
  add_emulated(asan "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" "" "")
  add_emulated(races "-O1" "-fsanitize=thread" ${emulator}/access_check.cpp)
endif()
