# sweet-rl-cuda and what checks it. Included by the CMakeLists.txt above.

set(cuda_kernels
  native/cuda/layout.cu
  native/cuda/token_logps.cu
  native/cuda/turn_advantages.cu
  native/cuda/preference.cu
  native/cuda/trajectory_preference.cu
  native/cuda/turn_preference.cu
  native/cuda/update.cu
  native/cuda/critic_update.cu
  native/cuda/policy_update.cu)
set(cuda_host
  native/cuda/run.cpp
  native/cuda/session.cpp)
set(cuda_binding
  binding/args.cc
  binding/token_logps.cc
  binding/turn_advantages.cc
  binding/trajectory_preference.cc
  binding/turn_preference.cc
  binding/critic_update.cc
  binding/policy_update.cc
  binding/cuda/device_buffer.cc
  binding/cuda/register.cc)
set(cuda_check
  bench/cuda/main.cpp
  bench/cuda/check_rows.cpp
  bench/cuda/check_preference.cpp
  bench/cuda/timing.cpp)

file(READ packages/cuda/package.json cuda_package)
string(JSON cuda_version GET "${cuda_package}" version)

# ── with nvcc
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
  target_link_libraries(sweet_cuda PUBLIC CUDA::cudart_static)

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

# ── with the emulator: the same sources by the C++ compiler, three times
if(SWEET_CUDA_EMULATOR)
  find_path(CUDA_INCLUDE cuda_runtime.h PATHS /usr/local/cuda/include $ENV{CUDA_HOME}/include REQUIRED)
  find_library(BOOST_CONTEXT NAMES libboost_context.a boost_context REQUIRED)
  set_source_files_properties(${cuda_kernels} PROPERTIES LANGUAGE CXX)
  add_custom_target(sweet_emulated)

  # kernel_flags are for the kernels alone, `more` are sources of the emulator's.
  function(add_emulated variant flags kernel_flags more)
    separate_arguments(flags)
    separate_arguments(kernel_flags)
    set(emulator test/cuda/emulator)
    add_library(emulator_${variant} STATIC ${emulator}/scheduler.cpp ${emulator}/runtime.cpp ${more})
    add_library(kernels_${variant} STATIC ${cuda_kernels} ${cuda_host})
    add_executable(emulator_test_${variant} ${emulator}/emulator_test.cu)
    set_source_files_properties(${emulator}/emulator_test.cu PROPERTIES LANGUAGE CXX)
    foreach(target kernels_${variant} emulator_test_${variant})
      target_compile_options(${target} PRIVATE ${kernel_flags} -fno-strict-aliasing -Wno-unknown-pragmas
        "SHELL:-x c++ -include ${CMAKE_SOURCE_DIR}/${emulator}/cuda_emulator.h")
    endforeach()
    target_link_libraries(emulator_${variant} PUBLIC ${BOOST_CONTEXT} ${CMAKE_DL_LIBS} Threads::Threads)
    target_link_libraries(kernels_${variant} PUBLIC emulator_${variant})

    add_executable(check_${variant} ${cuda_check})
    target_compile_definitions(check_${variant} PRIVATE SWEET_EMULATOR)
    target_link_libraries(check_${variant} PRIVATE kernels_${variant})
    target_link_libraries(emulator_test_${variant} PRIVATE emulator_${variant})
    add_library(addon_${variant} MODULE test/cuda/emulator/addon.cc ${cuda_binding} ${CMAKE_JS_SRC})
    finish_addon(addon_${variant})
    target_compile_definitions(addon_${variant} PRIVATE SWEET_VERSION="${cuda_version}")
    target_link_libraries(addon_${variant} PRIVATE kernels_${variant})

    set(programs check_${variant} emulator_test_${variant} addon_${variant})
    foreach(target emulator_${variant} kernels_${variant} ${programs})
      target_include_directories(${target} SYSTEM PRIVATE ${CUDA_INCLUDE})
      target_compile_options(${target} PRIVATE -Wno-conversion -Wno-shadow -g ${flags})
      target_link_options(${target} PRIVATE ${flags})
      set_target_properties(${target} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    endforeach()
    add_dependencies(sweet_emulated ${programs})
  endfunction()

  add_emulated(plain "-O2" "" "")
  add_emulated(asan "-O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" "" "")
  add_emulated(races "-O1" "-fsanitize=thread" test/cuda/emulator/access_check.cpp)
endif()
