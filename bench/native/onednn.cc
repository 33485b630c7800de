// The matrix product of oneDNN alone, as a peer of linearLogps. It writes the logits, which linearLogps never stores.
// Written against oneDNN 2.x (Debian: libdnnl-dev).
#include <napi.h>
#include <omp.h>

#include <chrono>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>
#include <vector>

namespace {

using dnnl::memory;

/** hidden [N, H] * weight [V, H]^T -> float32 or bfloat16 [N, V]. */
struct Product {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul matmul;
  std::vector<float> logits;
  memory hidden, weight, result;

  Product(int64_t n, int64_t h, int64_t v, bool bfloat16, void* hidden_data, void* weight_data)
      : logits(static_cast<size_t>(n * v)) {
    const auto type = bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
    const memory::desc a({n, h}, type, memory::format_tag::ab), b({h, v}, type, memory::format_tag::ba),
        c({n, v}, type, memory::format_tag::ab);
    matmul = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), engine));
    hidden = memory(a, engine, hidden_data);
    weight = memory(b, engine, weight_data);
    result = memory(c, engine, logits.data());
  }

  double seconds() {
    const auto start = std::chrono::steady_clock::now();
    matmul.execute(stream, {{DNNL_ARG_SRC, hidden}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, result}});
    stream.wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

void* data_of(const Napi::Value& value) {
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  return static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

/** product(hidden, weight, n, h, v, bfloat16, threads) -> seconds; the arrays must stay alive for later calls. */
Napi::Value time_product(const Napi::CallbackInfo& info) {
  static std::map<std::pair<void*, void*>, Product> products;
  const auto number = [&](size_t i) { return info[i].As<Napi::Number>().Int64Value(); };
  void* const hidden = data_of(info[0]);
  void* const weight = data_of(info[1]);
  omp_set_num_threads(static_cast<int>(number(6)));
  try {
    const auto found = products
                           .try_emplace({hidden, weight}, number(2), number(3), number(4),
                                        info[5].As<Napi::Boolean>().Value(), hidden, weight)
                           .first;
    return Napi::Number::New(info.Env(), found->second.seconds());
  } catch (const dnnl::error& error) {  // for example no bfloat16 on this CPU
    Napi::Error::New(info.Env(), error.what()).ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("product", Napi::Function::New(env, time_product));
  const dnnl_version_t* const version = dnnl_version();
  exports.Set("version", std::to_string(version->major) + "." + std::to_string(version->minor));
  return exports;
}

}  // namespace

NODE_API_MODULE(sweet_onednn, init)
