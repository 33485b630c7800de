#include "shm.h"

#include <cerrno>

#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#endif

namespace sweet {

#ifdef _WIN32

SharedMemory map_shared(const char*, int64_t, bool) { return {nullptr, 0, ENOSYS, "open"}; }
void unmap_shared(void*, int64_t) {}
int unlink_shared(const char*) { return ENOSYS; }

#else

namespace {

#ifdef __linux__
// As shm_open does, which would need librt before glibc 2.34.
std::string path_of(const char* name) { return std::string("/dev/shm/") + name; }
int open_shared(const char* name, int flags) {
  return open(path_of(name).c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}
int remove_shared(const char* name) { return unlink(path_of(name).c_str()); }
int allocate(int file, int64_t bytes) { return posix_fallocate(file, 0, bytes); }
#else
std::string path_of(const char* name) { return std::string("/") + name; }
int open_shared(const char* name, int flags) { return shm_open(path_of(name).c_str(), flags, 0600); }
int remove_shared(const char* name) { return shm_unlink(path_of(name).c_str()); }
int allocate(int file, int64_t bytes) { return ftruncate(file, bytes) == 0 ? 0 : errno; }
#endif

#ifdef __GLIBC__
// Not fstat, whose symbol is new in glibc 2.33.
void identify(int file, SharedMemory& memory) {
  struct statx found;
  if (statx(file, "", AT_EMPTY_PATH, STATX_INO, &found) != 0) return;
  memory.device = uint64_t{found.stx_dev_major} << 32 | found.stx_dev_minor;
  memory.inode = found.stx_ino;
}
#else
// musl 1.2.3 has no statx.
void identify(int file, SharedMemory& memory) {
  struct stat found;
  if (fstat(file, &found) != 0) return;
  memory.device = static_cast<uint64_t>(found.st_dev);
  memory.inode = static_cast<uint64_t>(found.st_ino);
}
#endif

SharedMemory map_file(int file, int64_t bytes, bool create) {
  if (create) {
    const int error = allocate(file, bytes);
    if (error) return {nullptr, bytes, error, "allocate"};
  }
  const int64_t size = static_cast<int64_t>(lseek(file, 0, SEEK_END));
  if (size < 0) return {nullptr, bytes, errno, "open"};
  if (size < bytes || size == 0) return {nullptr, size, 0, "size"};
  const int64_t mapped = bytes ? bytes : size;
  void* const data = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return {nullptr, mapped, errno, "map"};
  SharedMemory memory = {data, mapped, 0, nullptr};
  identify(file, memory);
  return memory;
}

}  // namespace

SharedMemory map_shared(const char* name, int64_t bytes, bool create) {
  const int file = open_shared(name, O_RDWR | (create ? O_CREAT | O_EXCL : 0));
  if (file < 0) return {nullptr, bytes, errno, create ? "create" : "open"};
  const SharedMemory result = map_file(file, bytes, create);
  close(file);
  if (create && result.step) remove_shared(name);
  return result;
}

void unmap_shared(void* data, int64_t bytes) { munmap(data, static_cast<size_t>(bytes)); }

int unlink_shared(const char* name) { return remove_shared(name) == 0 ? 0 : errno; }

#endif

}  // namespace sweet
