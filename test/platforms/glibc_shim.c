// For bun's musl build, which needs libstdc++.so.6 and libgcc_s.so.1: Debian's, for glibc, load under musl's loader when these
// names are given to them. Alpine has libraries of its own.
#define _GNU_SOURCE
#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>

char __libc_single_threaded = 0;
unsigned __cpu_model[4];
int __cpu_indicator_init(void) { return 0; }

// Not found: libgcc then asks dl_iterate_phdr.
int _dl_find_object(void* address, void* result) {
  (void)address, (void)result;
  return -1;
}

unsigned long __getauxval(unsigned long type) { return getauxval(type); }

uint32_t arc4random(void) {
  uint32_t value;
  getrandom(&value, sizeof value, 0);
  return value;
}

size_t __strftime_l(char* out, size_t size, const char* format, const struct tm* time, locale_t locale) {
  return strftime_l(out, size, format, time, locale);
}

// Destructors of thread_local objects: run at the end of the thread, the last one first.
struct Destructor {
  void (*function)(void*);
  void* object;
  struct Destructor* next;
};
static pthread_key_t destructors;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void run_all(void* first) {
  struct Destructor* current = first;
  while (current != NULL) {
    struct Destructor* next = current->next;
    current->function(current->object);
    free(current);
    current = next;
  }
}

static void make_key(void) { pthread_key_create(&destructors, run_all); }

int __cxa_thread_atexit_impl(void (*function)(void*), void* object, void* library) {
  (void)library;
  pthread_once(&once, make_key);
  struct Destructor* added = malloc(sizeof *added);
  if (added == NULL) return -1;
  *added = (struct Destructor){function, object, pthread_getspecific(destructors)};
  return pthread_setspecific(destructors, added);
}
