// Divergences of logits and of linear heads from heads and from top-k teachers, against their definitions in float64:
//
//   d = log P - log Q,  dD/dz_v = Q_v (f_v - sum_u Q_u f_u),  f = dD/dQ by its definition
#include <algorithm>
#include <cmath>

#include "../../native/divergence.h"
#include "checks.h"
#include "device_array.h"

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

using Numbers = std::vector<double>;

double log_sum(const Numbers& x) {
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double each : x) sum += std::exp(each - max);
  return max + std::log(sum);
}

Numbers log_softmax(Numbers x) {
  const double lse = log_sum(x);
  for (double& each : x) each -= lse;
  return x;
}

/** D of two distributions and its gradient at the logits of the second; probabilities of P may not add up to 1. */
double divergence(Divergence type, double beta, const Numbers& log_p, const Numbers& log_q, Numbers* gradient) {
  double d = 0, mean = 0;
  for (size_t v = 0; v < log_p.size(); v++) {
    const double p = std::exp(log_p[v]), q = std::exp(log_q[v]), m = beta * p + (1 - beta) * q;
    double of_entry = 0, weighted = 0;  // weighted: Q dD/dQ
    if (type == Divergence::forward_kl) {
      of_entry = p * (log_p[v] - log_q[v]);
      weighted = -p;
    } else if (type == Divergence::reverse_kl) {
      of_entry = q * (log_q[v] - log_p[v]);
      weighted = q * (log_q[v] - log_p[v] + 1);
    } else {
      of_entry = beta * p * std::log(p / m) + (1 - beta) * q * std::log(q / m);
      weighted = (1 - beta) * q * std::log(q / m);
    }
    d += of_entry;
    mean += weighted;
    (*gradient)[v] = weighted;
  }
  for (size_t v = 0; v < log_p.size(); v++) (*gradient)[v] -= std::exp(log_q[v]) * mean;
  return d;
}

struct Row {
  double divergence;
  Numbers gradient;
};

Row row_of_head(Divergence type, double beta, const Numbers& y, const Numbers& z) {
  Row row{0, Numbers(z.size())};
  row.divergence = std::max(0.0, divergence(type, beta, log_softmax(y), log_softmax(z), &row.gradient));
  return row;
}

Row row_of_top_k(Divergence type, double beta, const std::vector<int32_t>& indices, const std::vector<float>& logps,
                 TopKTail tail, const Numbers& z) {
  const bool bucket = tail == TopKTail::bucket && indices.size() < z.size();
  const Numbers all = log_softmax(z);
  Numbers log_p(logps.begin(), logps.end()), log_q, others;
  for (const int32_t v : indices) log_q.push_back(all[size(v)]);
  for (size_t v = 0; v < z.size(); v++) {
    if (std::find(indices.begin(), indices.end(), static_cast<int32_t>(v)) == indices.end()) others.push_back(all[v]);
  }
  if (tail == TopKTail::renormalize) log_p = log_softmax(log_p), log_q = log_softmax(log_q);
  if (bucket) {
    double mass = 0;
    for (const double p : log_p) mass += std::exp(p);
    log_p.push_back(std::log(std::max(1 - mass, 1e-7)));
    log_q.push_back(log_sum(others));
  }
  Numbers of_entries(log_p.size());
  Row row{0, Numbers(z.size())};
  row.divergence = std::max(0.0, divergence(type, beta, log_p, log_q, &of_entries));
  for (size_t v = 0; v < z.size() && bucket; v++) row.gradient[v] = of_entries.back() * std::exp(all[v] - log_q.back());
  for (size_t k = 0; k < indices.size(); k++) row.gradient[size(indices[k])] = of_entries[k];
  return row;
}

struct Shape {
  int64_t rows, vocab, hidden, teacher_hidden, k;
  DType dtype, teacher_dtype;
};

/** A head in device memory and its logits, divided by the temperature. */
struct HeadCase {
  Stored hidden, weight, bias;
  DeviceArray<unsigned char> hidden_there, weight_there, bias_there;
  Head head{};
  Numbers logits;

  HeadCase(Checks& checks, const Shape& shape, int64_t hidden_size, DType dtype, double temperature)
      : hidden(dtype, checks.normals(shape.rows * std::max<int64_t>(hidden_size, 1), 1)),
        weight(dtype, checks.normals(shape.vocab * std::max<int64_t>(hidden_size, 1),
                                     2 / std::sqrt(std::max(static_cast<double>(hidden_size), 1.0)))),
        bias(dtype, checks.normals(hidden_size > 0 ? shape.vocab : shape.rows * shape.vocab, 2)),
        hidden_there(hidden.bytes),
        weight_there(weight.bytes),
        bias_there(bias.bytes) {
    head.dtype = dtype;
    head.rows = shape.rows, head.vocab_size = shape.vocab;
    head.temperature = temperature;
    head.precision = Precision::float32;
    if (hidden_size == 0) {  // `bias` has the logits
      head.logits = bias_there.get();
      head.row_stride = shape.vocab, head.logits_length = shape.rows * shape.vocab;
      logits = bias.values;
    } else {
      head.hidden = {hidden_there.get(), dtype, hidden_size, 1};
      head.weight = {weight_there.get(), dtype, hidden_size, 1};
      head.bias = bias_there.get();
      head.bias_dtype = dtype;
      head.hidden_size = hidden_size;
      for (int64_t at = 0; at < shape.rows * shape.vocab; at++) {
        const int64_t i = at / shape.vocab, v = at % shape.vocab;
        double x = bias.values[size(v)];
        for (int64_t h = 0; h < hidden_size; h++) {
          x += hidden.values[size(i * hidden_size + h)] * weight.values[size(v * hidden_size + h)];
        }
        logits.push_back(x);
      }
    }
    for (double& x : logits) x /= temperature;
  }

  Numbers row(int64_t i, int64_t vocab) const { return {logits.begin() + i * vocab, logits.begin() + (i + 1) * vocab}; }
};

void check_case(Checks& checks, const Shape& shape, Divergence type, bool top_k, TopKTail tail) {
  const int64_t n = shape.rows, vocab = shape.vocab, k = shape.k;
  const double beta = 0.3, temperature = 0.8;
  HeadCase student(checks, shape, shape.hidden, shape.dtype, temperature);
  HeadCase other(checks, shape, shape.teacher_hidden, shape.teacher_dtype, 1.25);
  checks.begin("divergence " + std::to_string(static_cast<int>(type)) + " of " + std::to_string(n) + " x " +
               std::to_string(vocab) + " x " + std::to_string(shape.hidden) +
               (top_k ? " top " + std::to_string(k) : std::string()));

  std::vector<uint8_t> mask(size(n), 1);
  if (n > 2) mask[1] = 0;
  std::vector<int32_t> indices;
  std::vector<float> logps;
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < k; j++) {
      // Distinct, since 7 has no factor in common with the vocabulary's size.
      indices.push_back(static_cast<int32_t>((j * 7 + i) % vocab));
      logps.push_back(static_cast<float>(-std::log(static_cast<double>(k)) - std::fabs(checks.normal(0.5))));
    }
    if (k < vocab) continue;  // else a whole distribution
    const auto of_row = logps.end() - k;
    const Numbers whole = log_softmax(Numbers(of_row, logps.end()));
    std::transform(whole.begin(), whole.end(), of_row, [](double x) { return static_cast<float>(x); });
  }
  const DeviceArray<uint8_t> mask_there(mask);
  const DeviceArray<int32_t> indices_there(indices);
  const DeviceArray<float> logps_there(logps), out(size(n));
  const DeviceArray<double> saved(size(n * kSavedSize));
  std::vector<float> grad(size(n));
  for (float& g : grad) g = static_cast<float>(checks.normal(1));
  const DeviceArray<float> grad_there(grad);
  Teacher teacher{};
  if (top_k) {
    teacher.k = k, teacher.tail = tail, teacher.indices = indices_there.get(), teacher.logps = logps_there.get();
  } else {
    teacher.head = other.head;
  }
  const Labels labels{nullptr, false, mask_there.get(), 0};
  checks.ok(head_divergence({student.head, labels, teacher, type, beta, out.get(), saved.get()}));

  const std::vector<float> ours = out.values();
  Numbers gradient(size(n * vocab));
  for (int64_t i = 0; i < n; i++) {
    if (mask[size(i)] == 0) {
      checks.expect(ours[size(i)] == 0, "divergence of a masked row", i);
      continue;
    }
    const std::vector<int32_t> support(indices.begin() + i * k, indices.begin() + (i + 1) * k);
    const std::vector<float> probs(logps.begin() + i * k, logps.begin() + (i + 1) * k);
    const Row row = top_k ? row_of_top_k(type, beta, support, probs, tail, student.row(i, vocab))
                          : row_of_head(type, beta, other.row(i, vocab), student.row(i, vocab));
    checks.close("divergence", i, ours[size(i)], row.divergence, 1e-5 + 2e-5 * row.divergence);
    for (int64_t v = 0; v < vocab; v++) {
      gradient[size(i * vocab + v)] = row.gradient[size(v)] * grad[size(i)] / temperature;
    }
  }

  HeadDivergenceBackward backward{student.head, labels, teacher, type, beta, saved.get(), grad_there.get(), {}};
  if (shape.hidden == 0) {
    const DeviceArray<unsigned char> gradients(student.bias.bytes.size());
    backward.gradients.logits = gradients.get();
    checks.ok(head_divergence_backward(backward));
    const Numbers values = Stored::decoded(shape.dtype, gradients.values());
    const double rounding = shape.dtype == DType::float32 ? 0x1p-20 : shape.dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11;
    for (size_t at = 0; at < values.size(); at++) {
      checks.close("gradient", static_cast<int64_t>(at), values[at], gradient[at],
                   rounding * std::fabs(gradient[at]) + 1e-5);
    }
    return;
  }
  const DeviceArray<float> hidden(size(n * shape.hidden)), weight(size(vocab * shape.hidden)), bias(size(vocab));
  backward.gradients = {nullptr, hidden.get(), weight.get(), bias.get(), false};
  checks.ok(head_divergence_backward(backward));
  Numbers of_hidden(size(n * shape.hidden)), of_weight(size(vocab * shape.hidden)), of_bias(size(vocab));
  for (int64_t i = 0; i < n; i++) {
    for (int64_t v = 0; v < vocab; v++) {
      const double g = gradient[size(i * vocab + v)];
      of_bias[size(v)] += g;
      for (int64_t h = 0; h < shape.hidden; h++) {
        of_hidden[size(i * shape.hidden + h)] += g * student.weight.values[size(v * shape.hidden + h)];
        of_weight[size(v * shape.hidden + h)] += g * student.hidden.values[size(i * shape.hidden + h)];
      }
    }
  }
  const auto compare = [&](const char* name, const DeviceArray<float>& results, const Numbers& expected) {
    const std::vector<float> values = results.values();
    for (size_t at = 0; at < values.size(); at++) {
      checks.close(name, static_cast<int64_t>(at), values[at], expected[at], 1e-4 * std::fabs(expected[at]) + 1e-4);
    }
  };
  compare("gradHidden", hidden, of_hidden);
  compare("gradWeight", weight, of_weight);
  compare("gradBias", bias, of_bias);
}

void check_faults(Checks& checks) {
  checks.begin("faults of top-k teachers");
  const Shape shape{3, 5, 0, 0, 2, DType::float32, DType::float32};
  HeadCase student(checks, shape, 0, DType::float32, 1);
  const DeviceArray<float> out(3), logps(std::vector<float>(6, -2));
  const DeviceArray<double> saved(3 * kSavedSize);
  const auto run = [&](const std::vector<int32_t>& indices, const DeviceArray<float>& of_teacher) {
    const DeviceArray<int32_t> there(indices);
    Teacher teacher{};
    teacher.k = 2, teacher.indices = there.get(), teacher.logps = of_teacher.get();
    return head_divergence({student.head, {}, teacher, Divergence::reverse_kl, 0.5, out.get(), saved.get()});
  };
  checks.fault(run({0, 1, 2, 5, 1, 1}, logps), Code::teacher_index, 3, 5, "an index of V");
  checks.fault(run({0, 1, 4, -1, 1, 2}, logps), Code::teacher_index, 3, -1, "a negative index");
  checks.fault(run({0, 1, 4, 2, 3, 3}, logps), Code::teacher_twice, 5, 3, "an index twice");
  const DeviceArray<float> logits(std::vector<float>{-2, -2, -2, -2, 1, -2});
  checks.fault(run({0, 1, 4, 2, 3, 0}, logits), Code::teacher_logps, 2, 0, "logits for log-probs");
  checks.ok(run({0, 1, 4, 2, 3, 0}, logps));
  const DeviceArray<float> whole(std::vector<float>{-0.6931f, -0.6931f, -0.6931f, -0.6931f, -0.6931f, -0.71f});
  student.head.vocab_size = 2;
  checks.fault(run({0, 1, 1, 0, 0, 1}, whole), Code::teacher_logps, 2, 0, "all entries with a sum below 1");
}

}  // namespace

void check_divergences(Checks& checks, bool small) {
  const DType f32 = DType::float32, b16 = DType::bfloat16, f16 = DType::float16;
  std::vector<Shape> shapes = {{3, 1, 0, 0, 1, f32, f32},  {4, 33, 0, 0, 5, f32, b16}, {3, 130, 0, 0, 9, b16, f16},
                               {2, 40, 7, 5, 3, f32, f32}, {5, 97, 3, 4, 6, f32, f32}, {40, 11, 0, 0, 11, f16, f32}};
  if (!small) {
    shapes.push_back({2, 20000, 0, 0, 50, f32, f32});
    shapes.push_back({70, 200, 9, 12, 8, f32, b16});
    shapes.push_back({3, 1001, 16, 8, 20, b16, b16});
  }
  for (const Shape& shape : shapes) {
    for (const Divergence type : {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jsd}) {
      check_case(checks, shape, type, false, TopKTail::bucket);
      for (const TopKTail tail : {TopKTail::bucket, TopKTail::renormalize}) check_case(checks, shape, type, true, tail);
    }
  }
  check_faults(checks);
}
