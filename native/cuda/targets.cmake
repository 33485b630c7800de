# sweet-rl-cuda and what checks it. Included by the CMakeLists.txt above.

set(cuda_kernels
  native/cuda/layout.cu
  native/cuda/token_logps.cu
  native/cuda/product.cu
  native/cuda/linear_logps.cu
  native/cuda/partials.cu
  native/cuda/turn_advantages.cu
  native/cuda/preference.cu
  native/cuda/trajectory_preference.cu
  native/cuda/turn_preference.cu
  native/cuda/update.cu
  native/cuda/critic_update.cu
  native/cuda/policy_update.cu)
set(cuda_host
  native/cuda/run.cpp
  native/cuda/cublaslt.cpp
  native/cuda/device_memory.cpp
  native/cuda/stream.cpp)
set(cuda_binding
  binding/args.cc
  binding/later.cc
  binding/token_logps.cc
  binding/linear_logps.cc
  binding/partials.cc
  binding/turn_advantages.cc
  binding/trajectory_preference.cc
  binding/turn_preference.cc
  binding/critic_update.cc
  binding/policy_update.cc
  binding/cuda/device_buffer.cc
  binding/cuda/register.cc)
set(cuda_check
  test/native/main.cpp
  test/native/check_logits.cpp
  test/native/check_linear.cpp
  test/native/check_preference.cpp
  test/native/check_updates.cpp
  test/native/check_device.cpp
  bench/cuda/timing.cpp
  bench/cuda/timing_linear.cpp)

file(READ packages/cuda/package.json cuda_package)
string(JSON cuda_version GET "${cuda_package}" version)

# -- with nvcc
if(SWEET_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  set(with_cuda ${CMAKE_CUDA_COMPILER})
else()
  set(with_cuda ${SWEET_CUDA})
endif()

if(with_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)
  endif()
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
  target_compile_definitions(sweet_rl_cuda PRIVATE SWEET_VERSION="${cuda_version}")
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

  function(of_emulator target)
    target_include_directories(${target} SYSTEM PRIVATE ${CUDA_INCLUDE})
    target_compile_options(${target} PRIVATE -Wno-conversion -Wno-shadow -g ${ARGN})
    set_target_properties(${target} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  endfunction()

  # What surrounds the kernels is the same in all builds.
  add_library(emulated_check OBJECT ${cuda_check})
  of_emulator(emulated_check)
  target_compile_definitions(emulated_check PRIVATE SWEET_EMULATOR)
  add_library(emulated_binding OBJECT ${emulator}/addon.cc ${cuda_binding})
  of_emulator(emulated_binding)
  finish_addon_sources(emulated_binding)
  target_compile_definitions(emulated_binding PRIVATE SWEET_VERSION="${cuda_version}")

  # kernel_flags are for the kernels alone, `more` are sources of the emulator's.
  function(add_emulated variant flags kernel_flags more)
    separate_arguments(flags)
    separate_arguments(kernel_flags)
    # Shared with the library that stands in for cuBLASLt: one device for both.
    add_library(emulator_${variant} SHARED ${emulator}/scheduler.cpp ${emulator}/runtime.cpp ${more})
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
    set(programs check_${variant} emulator_test_${variant} addon_${variant} cublaslt_${variant})
    foreach(target emulator_${variant} kernels_${variant} ${programs})
      of_emulator(${target} ${flags})
      target_link_options(${target} PRIVATE ${flags})
    endforeach()
    add_dependencies(sweet_emulated ${programs})

    # How mutants are linked: their own objects before the library that has the others.
    string(REPLACE ";" " " link_flags "${flags}")
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/check_${variant}.link CONTENT
"${CMAKE_CXX_COMPILER} ${link_flags} @OBJECTS@ $<JOIN:$<TARGET_OBJECTS:emulated_check>, > \
$<TARGET_FILE:kernels_${variant}> $<TARGET_FILE:emulator_${variant}> -Wl,-rpath,${CMAKE_BINARY_DIR}/bin ${BOOST_CONTEXT} -ldl -pthread -o @PROGRAM@")
  endfunction()

  add_emulated(plain "-O2" "" "")
  add_library(nccl_plain MODULE ${emulator}/nccl.cpp)
  target_link_libraries(nccl_plain PRIVATE emulator_plain)
  set_target_properties(nccl_plain PROPERTIES CXX_VISIBILITY_PRESET default)
  of_emulator(nccl_plain)
  add_dependencies(sweet_emulated nccl_plain)
  add_emulated(asan "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" "" "")
  add_emulated(races "-O1" "-fsanitize=thread" ${emulator}/access_check.cpp)
endif()
