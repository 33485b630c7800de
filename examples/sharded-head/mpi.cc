// MPI for this example: rank, size, and an all-gather of typed arrays. Without mpirun there is one rank.
#include <mpi.h>
#include <napi.h>

#include <climits>
#include <string>
#include <vector>

namespace {

void must(Napi::Env env, int error, const char* what) {
  if (error == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(error, text, &length);
  throw Napi::Error::New(env, std::string(what) + " failed: " + std::string(text, static_cast<size_t>(length)));
}

int rank = 0, size = 1;

Napi::Value init(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int before = 0;
  MPI_Initialized(&before);
  if (!before) must(env, MPI_Init(nullptr, nullptr), "MPI_Init");
  // By default MPI ends the process at the first error.
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  must(env, MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  must(env, MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  Napi::Object result = Napi::Object::New(env);
  result.Set("rank", rank);
  result.Set("size", size);
  return result;
}

struct View {
  char* data;
  size_t bytes;
};

View view_of(const Napi::CallbackInfo& info, size_t i, const char* name) {
  if (!info[i].IsTypedArray())
    throw Napi::TypeError::New(info.Env(), std::string("Expected a typed array for ") + name);
  const Napi::TypedArray array = info[i].As<Napi::TypedArray>();
  return {static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

/** allGather(own, all): concatenates `own` of all ranks in `all`. All ranks must call it. */
void all_gather(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const View own = view_of(info, 0, "own"), all = view_of(info, 1, "all");
  // An error on one rank is an error on all; otherwise the others would wait forever.
  const bool fits = all.bytes == own.bytes * static_cast<size_t>(size) && own.bytes <= INT_MAX;
  const long long bytes = fits ? static_cast<long long>(own.bytes) : -1;
  std::vector<long long> of_ranks(static_cast<size_t>(size));
  must(env, MPI_Allgather(&bytes, 1, MPI_LONG_LONG, of_ranks.data(), 1, MPI_LONG_LONG, MPI_COMM_WORLD),
       "MPI_Allgather of lengths");
  for (int r = 0; r < size; r++) {
    const long long other = of_ranks[static_cast<size_t>(r)];
    if (other == of_ranks[0] && other >= 0) continue;
    throw Napi::RangeError::New(env, "Expected " + std::to_string(size) +
                                         " times as many bytes for all as for own, the "
                                         "same on every rank, but rank " +
                                         std::to_string(r) +
                                         (other < 0 ? " has others" : " has " + std::to_string(other) + " bytes"));
  }
  const int count = static_cast<int>(own.bytes);
  must(env, MPI_Allgather(own.data, count, MPI_BYTE, all.data, count, MPI_BYTE, MPI_COMM_WORLD), "MPI_Allgather");
}

/** No other function may be called after it. */
void finalize(const Napi::CallbackInfo& info) { must(info.Env(), MPI_Finalize(), "MPI_Finalize"); }

/** Ends the processes of all ranks, which may wait for this one. */
void abort_all(const Napi::CallbackInfo&) { MPI_Abort(MPI_COMM_WORLD, 1); }

Napi::Object register_all(Napi::Env env, Napi::Object exports) {
  exports.Set("init", Napi::Function::New(env, init));
  exports.Set("allGather", Napi::Function::New(env, all_gather));
  exports.Set("finalize", Napi::Function::New(env, finalize));
  exports.Set("abort", Napi::Function::New(env, abort_all));
  return exports;
}

}  // namespace

NODE_API_MODULE(mpi, register_all)
