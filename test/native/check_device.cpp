// Matrix products by cuBLASLt (or what stands in for it) and by kernels of ours, in one process on the same numbers:
// each against float64, and one against the other. Without the library only the kernels of ours are checked.
#include <algorithm>

#include "../../native/cuda/cublaslt.h"
#include "checks.h"
#include "device_array.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

/** The three products that a linear head needs. */
enum class Form { logits, grad_hidden, grad_weight };

struct Shape {
  int64_t rows, columns, depth;
  int64_t gap;  // numbers between rows, of operands and result
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
        a_(shape.dtype, random((shape.form == Form::grad_weight ? shape.depth : shape.rows) * a_stride_, 1)),
        b_(shape.dtype, random((shape.form == Form::logits ? shape.columns : shape.depth) * b_stride_, 1)),
        bias_(DType::float32, random(shape.columns, 1)),
        before_(DType::float32, random(shape.rows * stride_, 1)),
        name_("product " + std::to_string(shape.rows) + " x " + std::to_string(shape.columns) + " x " +
              std::to_string(shape.depth) + " " + name_of(shape.dtype)) {}

  /** The most by which the two differ, in units of 2^-24 of what a result's terms add up to; below 0 without the
   * library. */
  double run() {
    const std::vector<float> ours = multiplied("ours", [](cuda::LaunchContext& context, const cuda::Product& product) {
      cuda::multiply_by_kernels(context, product);
      return true;
    });
    const std::vector<float> theirs = multiplied("cuBLASLt", cuda::multiply_by_cublaslt);
    double most = theirs.empty() ? -1 : 0;
    for (int64_t i = 0; i < shape_.rows; i++) {
      for (int64_t j = 0; j < stride_; j++) {
        const size_t at = size(i * stride_ + j);
        const std::string where = name_ + " at " + std::to_string(i) + ", " + std::to_string(j);
        if (j >= shape_.columns) {
          checks_.same(ours[at] == before_.values[at] && (theirs.empty() || theirs[at] == before_.values[at]),
                       where + " lies between rows");
          continue;
        }
        double sum = 0, magnitude = 0;
        for (int64_t k = 0; k < shape_.depth; k++) {
          sum += a(i, k) * b(k, j);
          magnitude += std::fabs(a(i, k) * b(k, j));
        }
        const double bias = shape_.bias ? bias_.values[size(j)] : 0, before = shape_.add ? before_.values[at] : 0;
        const double expected = shape_.alpha * sum + bias + before;
        magnitude = shape_.alpha * magnitude + std::fabs(bias) + std::fabs(before);
        const double allowed = allowed_of(magnitude);
        checks_.close(ours[at], expected, allowed, where + " by kernels of ours");
        if (theirs.empty()) continue;
        checks_.close(theirs[at], expected, allowed, where + " by cuBLASLt");
        checks_.close(ours[at], theirs[at], allowed, where + " by both");
        most = std::max(most, std::fabs(double{ours[at]} - theirs[at]) / magnitude * 0x1p24);
      }
    }
    return most;
  }

 private:
  std::vector<double> random(int64_t count, double scale) {
    std::vector<double> numbers(size(count));
    for (double& x : numbers) x = checks_.normal(scale);
    return numbers;
  }

  double a(int64_t i, int64_t k) const {
    return a_.values[size(shape_.form == Form::grad_weight ? k * a_stride_ + i : i * a_stride_ + k)];
  }
  double b(int64_t k, int64_t j) const {
    return b_.values[size(shape_.form == Form::logits ? j * b_stride_ + k : k * b_stride_ + j)];
  }

  /** n roundings to float32 walk at random to sqrtn of them; twice that. Tensor cores cut off what others round. */
  double allowed_of(double magnitude) const {
    const double unit = shape_.dtype == DType::float32 ? 0x1p-24 : 0x1p-23;
    return 2 * std::sqrt(static_cast<double>(shape_.depth) + 2) * unit * magnitude;
  }

  /** Empty where it could not be computed so. */
  template <class Multiply>
  std::vector<float> multiplied(const char* by, Multiply multiply) {
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
    checks_.ok(context.finish(nullptr), name_ + " by " + by);
    return done ? out.values() : std::vector<float>();
  }

  Checks& checks_;
  const Shape shape_;
  const int64_t a_stride_, b_stride_, stride_;
  const Stored a_, b_, bias_, before_;
  const std::string name_;
};

}  // namespace

void check_device(Checks& checks, bool small) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    double most = -1;
    for (const Form form : {Form::logits, Form::grad_hidden, Form::grad_weight}) {
      const auto check = [&](int64_t rows, int64_t columns, int64_t depth, int64_t gap, float alpha, bool add,
                             bool bias) {
        const Shape shape{rows, columns, depth, gap, dtype, form, alpha, add, bias};
        most = std::max(most, ProductCheck(checks, shape).run());
      };
      check(1, 1, 1, 0, 1, false, false);
      check(65, 67, 33, 5, 0.25f, true, false);  // past the edge of every tile, rows off aligned addresses
      check(64, 40, 96, 8, 1, false, true);
      if (!small) check(70, 30, 1000, 0, 1, false, false);
    }
    if (most >= 0) {
      printf("products of %s: cuBLASLt and kernels of ours differ by at most %.3g x 2^-24 of their terms' magnitudes\n",
             name_of(dtype), most);
    }
  }
}
