#include "../native/token_logps.h"

#include "addon.h"
#include "args.h"

namespace sweet {

Napi::Value bind_token_logps(const Napi::CallbackInfo& info) {
  Args args(info);
  const Head head = args.logits_head();
  const Labels labels = args.labels(head.rows);
  LogpsOut out{};
  out.logps = args.array<float>(head.rows);
  out.lse = args.array<float>(head.rows);
  out.entropy = args.array<float>(head.rows);
  return args.perform([=] { return token_logps(head, labels, out); });
}

Napi::Value bind_token_logps_backward(const Napi::CallbackInfo& info) {
  Args args(info);
  Head head = args.logits_head();
  args.shard(&head);
  const Labels labels = args.labels(head.rows);
  LogpsBackward backward{};
  backward.lse = args.array<const float>(head.rows);
  backward.grad_logps = args.array<const float>(head.rows);
  backward.out.logits = args.grad_logits(head);
  return args.perform([=] { return token_logps_backward(head, labels, backward); });
}

}  // namespace sweet
