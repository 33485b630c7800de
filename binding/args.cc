#include "args.h"

namespace sweet {

napi_value Args::next() { return info_[at_++]; }

void* Args::pointer(int64_t* length) {
  const napi_value value = next();
  napi_typedarray_type type;
  size_t count = 0;
  int64_t elements = 0;
  void* data = nullptr;
  // Unlike the wrapper classes this also serves views of a SharedArrayBuffer.
  if (napi_get_typedarray_info(env_, value, &type, &count, &data, nullptr, nullptr) != napi_ok) {
    data = handle_memory(env_, value, &elements);
  } else {
    static char empty;
    elements = static_cast<int64_t>(count);
    if (data == nullptr) data = &empty;  // an empty array is there all the same
  }
  if (length) *length = elements;
  return data;
}

double Args::number() {
  double value = 0;
  napi_get_value_double(env_, next(), &value);
  return value;
}

bool Args::boolean() {
  bool value = false;
  napi_get_value_bool(env_, next(), &value);
  return value;
}

Head Args::logits_head() {
  Head head{};
  head.logits = array<const void>();
  head.dtype = choice<DType>();
  head.rows = static_cast<int64_t>(number());
  head.vocab = static_cast<int64_t>(number());
  head.stride = static_cast<int64_t>(number());
  head.temperature = number();
  return head;
}

Head Args::linear_head() {
  Head head{};
  head.hidden = array<const void>();
  head.weight = array<const void>();
  head.bias = array<const void>();
  head.dtype = choice<DType>();
  head.rows = static_cast<int64_t>(number());
  head.vocab = static_cast<int64_t>(number());
  head.width = static_cast<int64_t>(number());
  head.temperature = number();
  return head;
}

Head Args::head() { return boolean() ? linear_head() : logits_head(); }

Labels Args::labels() {
  Labels labels{};
  labels.data = array<const void>();
  labels.wide = boolean();
  labels.mask = array<const uint8_t>();
  labels.ignore_index = static_cast<int64_t>(number());
  return labels;
}

PreferenceBatch Args::batch() {
  PreferenceBatch batch{};
  int64_t offsets = 0;
  batch.tokens = static_cast<int64_t>(number());
  batch.mask = array<const uint8_t>();
  batch.turn_offsets = array<const int32_t>(&offsets);
  batch.turns = offsets - 1;
  batch.trajectory_offsets = array<const int32_t>(&offsets);
  batch.trajectories = offsets - 1;
  batch.pairs.chosen = array<const int32_t>(&batch.pairs.count);
  batch.pairs.rejected = array<const int32_t>();
  batch.pairs.weights = array<const float>();
  return batch;
}

PreferenceOptions Args::preference_options() {
  PreferenceOptions options{};
  options.normalization = choice<Normalization>();
  options.allow_empty_turns = boolean();
  options.pair_loss.type = choice<LossType>();
  options.pair_loss.beta = number();
  options.pair_loss.label_smoothing = number();
  options.pair_denominator = number();
  options.nll_coef = number();
  options.nll_denominator = number();
  return options;
}

PreferenceOut Args::preference_out() {
  PreferenceOut out{};
  out.scalars = array<double>();
  out.pair_losses = array<float>();
  out.margins = array<float>();
  out.chosen_rewards = array<float>();
  out.rejected_rewards = array<float>();
  out.turn_advantages = array<float>();
  out.grad_logps = array<float>();
  return out;
}

HeadGradients Args::linear_gradients() {
  HeadGradients out{};
  out.hidden = array<float>();
  out.weight = array<float>();
  out.bias = array<float>();
  out.accumulate = boolean();
  return out;
}

Update Args::update() {
  Update update{};
  update.head = head();
  update.labels = labels();
  update.ref_logps = array<const float>();
  if (!update.ref_logps) update.reference = head();
  update.batch = batch();
  update.options = preference_options();
  return update;
}

UpdateOut Args::update_out() {
  UpdateOut out{};
  out.logps = array<float>();
  out.preference = preference_out();
  void* const grad_logits = array<void>();
  out.gradients = linear_gradients();
  out.gradients.logits = grad_logits;
  return out;
}

namespace {

const char* name_of(Code code) {
  switch (code) {
    case Code::ok:
      break;
    case Code::memory:
      return "memory";
    case Code::label:
      return "label";
    case Code::turn_offsets:
      return "turnOffsets";
    case Code::trajectory_offsets:
      return "trajectoryOffsets";
    case Code::empty_turn:
      return "emptyTurn";
    case Code::empty_trajectory:
      return "emptyTrajectory";
    case Code::chosen:
      return "chosen";
    case Code::rejected:
      return "rejected";
    case Code::same_pair:
      return "samePair";
    case Code::pair_weight:
      return "pairWeight";
    case Code::zero_weights:
      return "zeroWeights";
    case Code::device:
      return "device";
  }
  return "ok";
}

}  // namespace

Napi::Value answer(Napi::Env env, const Status& status) {
  if (status.ok()) return env.Undefined();
  Napi::Object fault = Napi::Object::New(env);
  fault.Set("code", name_of(status.code));
  fault.Set("index", static_cast<double>(status.index));
  fault.Set("value", static_cast<double>(status.value));
  if (status.code != Code::device) return fault;
  fault.Set("operation", status.device.operation);
  fault.Set("name", status.device.name);
  fault.Set("meaning", status.device.meaning);
  fault.Set("sticky", status.device.sticky);
  return fault;
}

}  // namespace sweet
