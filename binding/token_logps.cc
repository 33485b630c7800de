#include "../native/token_logps.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_token_logps(const Napi::CallbackInfo& info) {
  Args args(info);
  const Head head = args.logits_head();
  const Labels labels = args.labels();
  LogpsOut out{};
  out.logps = args.array<float>();
  out.lse = args.array<float>();
  out.entropy = args.array<float>();
  return args.perform([=] { return token_logps(head, labels, out); });
}

Napi::Value bind_token_logps_backward(const Napi::CallbackInfo& info) {
  Args args(info);
  const Head head = args.logits_head();
  const Labels labels = args.labels();
  LogpsBackward backward{};
  backward.lse = args.array<const float>();
  backward.grad_logps = args.array<const float>();
  backward.out.logits = args.array<void>();
  return args.perform([=] { return token_logps_backward(head, labels, backward); });
}

}  // namespace sweet
