// Times of the linear head. FLOP counts are those of its matrix products: 2 N H V forward; 8 N H V forward and
// backward, where 2 N H V compute the logits a second time. An update counts 8 N H V too, although it computes the
// logits once where one chunk holds all rows. The roofline is one GEMM [N, H] * [V, H]^T with a float32 result.
// PeakBytes are the peak of the working memory.
#include <algorithm>

#include "../../native/cuda/product.h"
#include "../../native/device_gemm.h"
#include "../../native/device_memory.h"
#include "../../native/logps.h"
#include "../../native/preference_update.h"
#include "timing.h"

using namespace sweet;

namespace {

constexpr DType kType = DType::bfloat16;
constexpr int kTrajectories = 8, kTurns = 4;  // turns per trajectory

size_t size(int64_t n) { return static_cast<size_t>(n); }

void must(const Status& status) {
  if (status.ok()) return;
  printf("a call failed: %s %s\n", status.device.operation ? status.device.operation : "refused",
         status.device.name ? status.device.name : "");
  exit(2);
}

struct Shape {
  int64_t rows, width, vocab;
};

class LinearTiming {
 public:
  LinearTiming(const Shape& shape, int runs)
      : shape_(shape),
        runs_(runs),
        hidden_(2 * size(shape.rows * shape.width)),
        weight_(2 * size(shape.vocab * shape.width)),
        labels_(std::vector<int32_t>(size(shape.rows), 7)),
        logps_(size(shape.rows)),
        lse_(size(shape.rows)),
        grad_logps_(std::vector<float>(size(shape.rows), 1.0f)),
        ref_logps_(std::vector<float>(size(shape.rows), -9.0f)),
        grad_hidden_(size(shape.rows * shape.width)),
        grad_weight_(size(shape.vocab * shape.width)) {
    fill(hidden_, 2 * size(shape.rows * shape.width), kType, 1);
    fill(weight_, 2 * size(shape.vocab * shape.width), kType, 2 / std::sqrt(static_cast<double>(shape.width)));
    head_.dtype = kType;
    head_.rows = shape.rows;
    head_.vocab_size = shape.vocab;
    head_.hidden_size = shape.width;
    head_.temperature = 1;
    head_.hidden = {hidden_.get(), head_.dtype, shape.width, 1};
    head_.weight = {weight_.get(), head_.dtype, shape.width, 1};
  }

  void run() {
    gemm_ms_ = time_product();
    printf("\"gemmMs\": %.4f, \"gemmTflops\": %.2f", gemm_ms_, tflops(2, gemm_ms_));
    const Labels labels{labels_.get(), false, nullptr, -100};
    HeadGradients gradients{};
    gradients.hidden = grad_hidden_.get();
    gradients.weight = grad_weight_.get();
    const auto forward = [&] { must(logps({head_, labels, {logps_.get(), lse_.get(), nullptr}})); };
    time("forward", 2, forward);
    time("forwardBackward", 8, [&] {
      forward();
      must(logps_backward({head_, labels, lse_.get(), grad_logps_.get(), nullptr, nullptr, nullptr, gradients}));
    });
    time_update(labels, gradients);
  }

 private:
  double tflops(double products, double ms) const {
    return products * static_cast<double>(shape_.rows) * static_cast<double>(shape_.width) *
           static_cast<double>(shape_.vocab) / ms * 1e-9;
  }

  double time_product() {
    const DeviceArray<float> logits(size(shape_.rows * shape_.vocab));
    return median_ms(runs_, [&] {
      cuda::LaunchContext context;
      cuda::multiply(context, {kType,
                               shape_.rows,
                               shape_.vocab,
                               shape_.width,
                               {hidden_.get(), shape_.width, false},
                               {weight_.get(), shape_.width, true},
                               1,
                               false,
                               logits.get(),
                               shape_.vocab,
                               nullptr});
      must(context.finish(nullptr));
    });
  }

  template <class Operation>
  void time(const char* name, double products, Operation operation) {
    device::take_peak_scratch();
    const double ms = median_ms(runs_, operation);
    printf(",\n     \"%sMs\": %.4f, \"%sTflops\": %.2f, \"%sShareOfGemm\": %.3f, \"%sPeakBytes\": %lld", name, ms, name,
           tflops(products, ms), name, tflops(products, ms) / tflops(2, gemm_ms_), name,
           static_cast<long long>(device::take_peak_scratch()));
  }

  /** Trajectories of equal length; each even one is chosen, the next one rejected. */
  void time_update(const Labels& labels, const HeadGradients& gradients) {
    const int64_t turns = kTrajectories * kTurns;
    std::vector<int32_t> turn_starts, trajectory_starts, even, odd;
    for (int64_t t = 0; t <= turns; t++) turn_starts.push_back(static_cast<int32_t>(shape_.rows * t / turns));
    for (int32_t k = 0; k <= kTrajectories; k++) trajectory_starts.push_back(k * kTurns);
    for (int32_t k = 0; k < kTrajectories; k += 2) even.push_back(k), odd.push_back(k + 1);
    const DeviceArray<int32_t> turn_offsets(turn_starts), trajectory_offsets(trajectory_starts), chosen(even),
        rejected(odd);
    const size_t pairs = even.size();
    const DeviceArray<float> per_pair(4 * pairs), advantages(size(turns)), grad_logps(size(shape_.rows));
    double scalars[4];
    PreferenceUpdate update{};
    update.head = head_;
    update.labels = labels;
    update.reference.logps = ref_logps_.get();
    update.batch.level = PreferenceLevel::trajectory;
    update.batch.tokens = shape_.rows;
    update.batch.turn_offsets = turn_offsets.get();
    update.batch.turns = turns;
    update.batch.trajectory_offsets = trajectory_offsets.get();
    update.batch.trajectories = kTrajectories;
    update.batch.pairs = {chosen.get(), rejected.get(), nullptr, static_cast<int64_t>(pairs)};
    update.options.normalization = Normalization::turn_mean;
    update.options.pair_loss = pair_loss_of(LossType::sigmoid, 0.1);
    update.logps = logps_.get();
    float* const results = per_pair.get();
    update.out = {scalars,          results,         results + pairs, results + 2 * pairs, results + 3 * pairs,
                  advantages.get(), grad_logps.get()};
    update.gradients = gradients;
    time("criticUpdate", 8, [&] { must(preference_update(update)); });
  }

  const Shape shape_;
  const int runs_;
  const DeviceArray<unsigned char> hidden_, weight_;
  const DeviceArray<int32_t> labels_;
  const DeviceArray<float> logps_, lse_, grad_logps_, ref_logps_, grad_hidden_, grad_weight_;
  Head head_{};
  double gemm_ms_ = 0;
};

}  // namespace

void time_linear_heads(bool quick) {
  std::vector<Shape> shapes = {{8192, 4096, 128256}, {8192, 896, 151936}, {8192, 2304, 256000}, {2048, 4096, 131072}};
  if (quick) shapes = {{64, 32, 200}, {33, 24, 130}};
  const std::string& library = device::gemm_library();
  printf("  \"products\": \"%s\",\n  \"linearLogps\": [\n", library.substr(0, library.find('\n')).c_str());
  for (size_t i = 0; i < shapes.size(); i++) {
    const Shape& shape = shapes[i];
    const std::string sizes =
        std::to_string(shape.rows) + " " + std::to_string(shape.width) + " " + std::to_string(shape.vocab);
    printf("    {\"rows\": %lld, \"width\": %lld, \"vocab\": %lld, \"dtype\": \"%s\",\n     ",
           static_cast<long long>(shape.rows), static_cast<long long>(shape.width), static_cast<long long>(shape.vocab),
           name_of(kType));
    LinearTiming(shape, quick ? 1 : 11).run();
    const std::string torch = python("torch_linear.py " + sizes + " " + name_of(kType));
    printf(",\n     \"pytorch\": %s}%s\n", torch.c_str(), i + 1 == shapes.size() ? "" : ",");
    fflush(stdout);
  }
  printf("  ]");
}
