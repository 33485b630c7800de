// For prebuilt binaries alone (SWEET_OLD_GLIBC): selects the old version of each symbol that has a newer one since
// glibc 2.28 or the libstdc++ of GCC 8, so that a binary built on a new system loads on an old one. The old
// mathematical functions are the same code with a check of errno; the others did not change.
#pragma once

#if defined(__x86_64__)
#define SWEET_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define SWEET_GLIBC "GLIBC_2.17"
#else
#error "Name the first glibc of this architecture"
#endif

#define SWEET_VERSION(function, version) __asm__(".symver " #function ", " #function "@" version)

SWEET_VERSION(dlsym, SWEET_GLIBC);
SWEET_VERSION(exp, SWEET_GLIBC);
SWEET_VERSION(exp2, SWEET_GLIBC);
SWEET_VERSION(log, SWEET_GLIBC);
SWEET_VERSION(log2, SWEET_GLIBC);
SWEET_VERSION(pow, SWEET_GLIBC);
SWEET_VERSION(pthread_create, SWEET_GLIBC);
SWEET_VERSION(pthread_mutex_trylock, SWEET_GLIBC);
// std::condition_variable::wait(std::unique_lock<std::mutex>&)
SWEET_VERSION(_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE, "GLIBCXX_3.4.11");
