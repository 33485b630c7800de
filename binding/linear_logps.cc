#include "../native/linear_logps.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_linear_logps(const Napi::CallbackInfo& info) {
  Args args(info);
  const Head head = args.linear_head();
  const Labels labels = args.labels();
  LogpsOut out{};
  out.logps = args.array<float>();
  out.lse = args.array<float>();
  out.entropy = args.array<float>();
  return args.perform([=] { return linear_logps(head, labels, out); });
}

Napi::Value bind_linear_logps_backward(const Napi::CallbackInfo& info) {
  Args args(info);
  const Head head = args.linear_head();
  const Labels labels = args.labels();
  LogpsBackward backward{};
  backward.lse = args.array<const float>();
  backward.grad_logps = args.array<const float>();
  backward.out = args.linear_gradients();
  return args.perform([=] { return linear_logps_backward(head, labels, backward); });
}

}  // namespace sweet
