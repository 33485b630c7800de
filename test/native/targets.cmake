# The checks of the operations without Node, for test/sanitize. Included by the CMakeLists.txt above.
add_executable(sweet_check EXCLUDE_FROM_ALL
  test/native/main.cpp
  test/native/check_logits.cpp
  test/native/check_linear.cpp
  test/native/check_preference.cpp
  test/native/check_unpaired.cpp
  test/native/check_policy_gradient.cpp
  test/native/check_updates.cpp
  test/native/check_cancelled.cpp
  test/native/check_concurrent.cpp
  test/native/check_divergence.cpp
  test/native/check_divergence_kernels.cpp
  test/native/check_kernels.cpp
  test/native/check_memory.cpp
  test/native/check_pool.cpp
  test/native/operations.cpp)
target_compile_definitions(sweet_check PRIVATE SWEET_CHECKS_ON_CPU)
target_link_libraries(sweet_check PRIVATE sweet_native)
target_link_options(sweet_check PRIVATE -Wl,--wrap=malloc,--wrap=posix_memalign)
add_custom_target(sweet_sanitized DEPENDS sweet_check sweet_rl)
