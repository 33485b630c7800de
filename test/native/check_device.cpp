// What only a GPU has. Matrix products by cuBLASLt (or its stand-in) and by our kernels, in one process on the same
// numbers: each against float64, and one against the other. Without the library only our kernels are checked. And the
// working memory of linear heads in chunks.
#include <algorithm>

#include "../../native/cuda/cublaslt.h"
#include "../../native/device_gemm.h"
#include "../../native/device_memory.h"
#include "../../native/logps.h"
#include "checks.h"
#include "device_array.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

/** The three products of a linear head. */
enum class Form { logits, grad_hidden, grad_weight };

struct Shape {
  int64_t rows, columns, depth;
  int64_t gap;  // elements between rows, of operands and result
  DType dtype;
  Form form;
  float alpha;
  bool add, bias;
};

class ProductCheck {
 public:
  ProductCheck(Checks& checks, const Shape& shape)
      : checks_(checks),
        shape_(shape),
        a_stride_((shape.form == Form::grad_weight ? shape.rows : shape.depth) + shape.gap),
        b_stride_((shape.form == Form::logits ? shape.depth : shape.columns) + shape.gap),
        stride_(shape.columns + shape.gap),
        a_(shape.dtype, checks.normals((shape.form == Form::grad_weight ? shape.depth : shape.rows) * a_stride_, 1)),
        b_(shape.dtype, checks.normals((shape.form == Form::logits ? shape.columns : shape.depth) * b_stride_, 1)),
        bias_(DType::float32, checks.normals(shape.columns, 1)),
        before_(DType::float32, checks.normals(shape.rows * stride_, 1)) {
    checks.begin("product " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns) + " x " +
                 std::to_string(shape.depth) + " " + name_of(shape.dtype));
  }

  /** The largest difference between the two, relative to the bound of either; below 0 without the library. */
  double run() {
    const std::vector<float> ours = multiplied([](cuda::LaunchContext& context, const cuda::Product& product) {
      cuda::multiply_by_kernels(context, product);
      return true;
    });
    const std::vector<float> theirs = multiplied(cuda::multiply_by_cublaslt);
    // Independent roundings; tensor cores truncate where others round.
    const double u = shape_.dtype == DType::float32 ? oracle::kU : 2 * oracle::kU;
    const oracle::Gradients expected = oracle::multiply(
        shape_.rows, shape_.columns, shape_.depth, 2 * std::sqrt(static_cast<double>(shape_.depth) + 2) * u, 0,
        [&](int64_t i, int64_t k) { return shape_.alpha * a(i, k); }, [](int64_t, int64_t) { return 0.0; },
        [&](int64_t k, int64_t j) { return b(k, j); },
        [&](int64_t i, int64_t j) {
          return (shape_.bias ? bias_.values[size(j)] : 0) + (shape_.add ? before_.values[size(i * stride_ + j)] : 0);
        });
    double most = theirs.empty() ? -1 : 0;
    for (int64_t i = 0; i < shape_.rows; i++) {
      for (int64_t j = 0; j < stride_; j++) {
        const int64_t at = i * stride_ + j;
        if (j >= shape_.columns) {
          checks_.expect(ours[size(at)] == before_.values[size(at)], "our kernels write between rows", at);
          if (!theirs.empty()) checks_.expect(theirs[size(at)] == before_.values[size(at)], "cuBLASLt does", at);
          continue;
        }
        const double value = expected.values[size(i * shape_.columns + j)];
        const double bound = expected.bounds[size(i * shape_.columns + j)];
        checks_.close("our kernels", at, ours[size(at)], value, bound);
        if (theirs.empty()) continue;
        checks_.close("cuBLASLt", at, theirs[size(at)], value, bound);
        checks_.close("both", at, ours[size(at)], theirs[size(at)], bound);
        most = std::max(most, std::fabs(double{ours[size(at)]} - theirs[size(at)]) / bound);
      }
    }
    return most;
  }

 private:
  double a(int64_t i, int64_t k) const {
    return a_.values[size(shape_.form == Form::grad_weight ? k * a_stride_ + i : i * a_stride_ + k)];
  }
  double b(int64_t k, int64_t j) const {
    return b_.values[size(shape_.form == Form::logits ? j * b_stride_ + k : k * b_stride_ + j)];
  }

  /** Empty where `multiply` cannot compute it. */
  template <class Multiply>
  std::vector<float> multiplied(Multiply multiply) {
    const DeviceArray<unsigned char> a(a_.bytes), b(b_.bytes);
    const DeviceArray<float> bias(std::vector<float>(bias_.values.begin(), bias_.values.end()));
    const DeviceArray<float> out(std::vector<float>(before_.values.begin(), before_.values.end()));
    cuda::LaunchContext context;
    const bool done = multiply(context, {shape_.dtype,
                                         shape_.rows,
                                         shape_.columns,
                                         shape_.depth,
                                         {a.get(), a_stride_, shape_.form == Form::grad_weight},
                                         {b.get(), b_stride_, shape_.form == Form::logits},
                                         shape_.alpha,
                                         shape_.add,
                                         out.get(),
                                         stride_,
                                         shape_.bias ? bias.get() : nullptr});
    checks_.ok(context.finish(nullptr));
    return done ? out.values() : std::vector<float>();
  }

  Checks& checks_;
  const Shape shape_;
  const int64_t a_stride_, b_stride_, stride_;
  const Stored a_, b_, bias_, before_;
};

void check_products(Checks& checks, bool small) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    double most = -1;
    for (const Form form : {Form::logits, Form::grad_hidden, Form::grad_weight}) {
      const auto check = [&](int64_t rows, int64_t columns, int64_t depth, int64_t gap, float alpha, bool add,
                             bool bias) {
        const Shape shape{rows, columns, depth, gap, dtype, form, alpha, add, bias};
        most = std::max(most, ProductCheck(checks, shape).run());
      };
      check(1, 1, 1, 0, 1, false, false);
      check(65, 67, 33, 5, 0.25f, true, false);  // past the edge of every tile, rows at unaligned addresses
      check(64, 40, 96, 8, 1, false, true);
      if (!small) check(70, 30, 1000, 0, 1, false, false);
    }
    if (most < 0) continue;
    printf("products of %s: cuBLASLt and our kernels differ by at most %.3g of the bound\n", name_of(dtype), most);
  }
}

/** Working memory stays within chunk_bytes but for what does not grow with the chunk. */
void check_chunk_memory(Checks& checks) {
  checks.begin("memory of a linear head");
  const int64_t rows = 1000, hidden_size = 8, vocab = 500;
  const DeviceArray<float> hidden(std::vector<float>(size(rows * hidden_size), 0.5f));
  const DeviceArray<float> weight(std::vector<float>(size(vocab * hidden_size), 0.25f)), out(size(rows)),
      lse(size(rows));
  const DeviceArray<int32_t> labels(std::vector<int32_t>(size(rows), 7));
  Head head{};
  head.dtype = DType::float32;
  head.rows = rows;
  head.vocab_size = vocab;
  head.hidden_size = hidden_size;
  head.temperature = 1;
  head.hidden = {hidden.get(), DType::float32, hidden_size, 1};
  head.weight = {weight.get(), DType::float32, hidden_size, 1};
  const auto peak = [&](int64_t bytes) {
    head.chunk_bytes = bytes;
    device::take_peak_scratch();
    checks.ok(logps({head, {labels.get(), false, nullptr, -100}, {out.get(), lse.get(), nullptr}}));
    return device::take_peak_scratch();
  };
  const int64_t small = peak(1), medium = peak(200000), whole = peak(0);
  checks.expect(small < 30000 && medium > 150000 && medium < 260000 && whole > 4 * rows * vocab,
                std::to_string(small) + ", " + std::to_string(medium) + ", " + std::to_string(whole) + " bytes");
  head.weight.dtype = DType::bfloat16;  // widened in blocks
  const int64_t widened = peak(200000), least = peak(1);
  checks.expect(widened > 150000 && widened < 260000 && least < small + 4 * 64 * hidden_size + 512,
                std::to_string(widened) + " bytes of a widened weight, " + std::to_string(least) + " at least");
}

}  // namespace

void check_device(Checks& checks, bool small) {
  printf("%s\n", device::gemm_library().substr(0, device::gemm_library().find('\n')).c_str());
  check_products(checks, small);
  if (!small) check_chunk_memory(checks);  // 1000 rows, slow under a sanitizer of the emulator
}
