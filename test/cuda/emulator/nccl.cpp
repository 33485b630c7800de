// Stands in for libnccl.so.2 between processes of one machine: the five functions that examples/sharded-head uses, over
// a page of shared memory that the ranks write and read in turns.
#include <cuda_runtime.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <random>

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInt8 = 0;
constexpr size_t kRankBytes = 1 << 18;  // that a rank passes on at a time
constexpr int kMaxRanks = 64;
constexpr int kPollInterval = 50, kTimeout = 60'000'000;  // us

struct UniqueId {
  char bytes[128];
};

/** Zero at first, as the system returns it. */
struct Page {
  std::atomic<int> arrived, generation;
  char data[1][kRankBytes];
};

struct Comm {
  Page* page;
  size_t bytes;
  int size, rank;

  char* data_of(int r) const { return page->data[0] + static_cast<size_t>(r) * kRankBytes; }

  bool barrier() const {
    const int generation = page->generation;
    if (++page->arrived == size) {
      page->arrived = 0;
      page->generation++;
      return true;
    }
    for (int waited = 0; page->generation == generation; waited += kPollInterval) {
      if (waited > kTimeout) return false;
      usleep(kPollInterval);
    }
    return true;
  }
};

}  // namespace

extern "C" {

const char* ncclGetErrorString(int error) {
  return error == kSystemError ? "unhandled system error" : error == kInvalidArgument ? "invalid argument" : "no error";
}

int ncclGetUniqueId(UniqueId* id) {
  std::random_device random;
  snprintf(id->bytes, sizeof(id->bytes), "/sweet-rl-nccl-%d-%x", getpid(), random());
  return kSuccess;
}

int ncclCommInitRank(Comm** comm, int size, UniqueId id, int rank) {
  if (size < 1 || size > kMaxRanks || rank < 0 || rank >= size) return kInvalidArgument;
  const size_t bytes = sizeof(Page) + static_cast<size_t>(size) * kRankBytes;
  const int file = shm_open(id.bytes, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return kSystemError;
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  *comm = new Comm{static_cast<Page*>(memory), bytes, size, rank};
  if (!(*comm)->barrier()) return kSystemError;
  if (rank == 0) shm_unlink(id.bytes);
  return kSuccess;
}

int ncclAllGather(const void* own, void* all, size_t count, int type, Comm* comm, cudaStream_t stream) {
  if (type != kInt8 || !comm) return kInvalidArgument;
  if (cudaStreamSynchronize(stream) != cudaSuccess) return kSystemError;
  for (size_t first = 0; first < count; first += kRankBytes) {
    const size_t bytes = std::min(kRankBytes, count - first);
    if (cudaMemcpy(comm->data_of(comm->rank), static_cast<const char*>(own) + first, bytes, cudaMemcpyDeviceToHost) !=
        cudaSuccess) {
      return kSystemError;
    }
    if (!comm->barrier()) return kSystemError;
    for (int r = 0; r < comm->size; r++) {
      char* const to = static_cast<char*>(all) + static_cast<size_t>(r) * count + first;
      if (cudaMemcpy(to, comm->data_of(r), bytes, cudaMemcpyHostToDevice) != cudaSuccess) return kSystemError;
    }
    if (!comm->barrier()) return kSystemError;
  }
  return kSuccess;
}

int ncclCommDestroy(Comm* comm) {
  munmap(comm->page, comm->bytes);
  delete comm;
  return kSuccess;
}

}  // extern "C"
