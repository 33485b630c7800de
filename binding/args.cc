#include "args.h"

namespace sweet {

namespace {

/** From the first row's first word to the last row's last. */
int64_t elements_of_logits(const Head& head) { return head.rows > 0 ? (head.rows - 1) * head.row_stride + head.vocab_size : 0; }

}  // namespace

napi_value Args::next() { return info_[at_++]; }

void* Args::pointer(int64_t* length) {
  const napi_value value = next();
  size_t count = 0;
  int64_t elements = 0;
  void* data = nullptr;
  // Unlike the wrapper classes this also serves views of a SharedArrayBuffer.
  if (napi_get_typedarray_info(env_, value, nullptr, &count, &data, nullptr, nullptr) != napi_ok) {
    data = handle_memory(env_, value, &elements);
  } else {
    static char empty;
    elements = static_cast<int64_t>(count);
    if (data == nullptr) data = &empty;  // an empty array is there all the same
  }
  napi_valuetype kind = napi_undefined;
  if (data == nullptr) napi_typeof(env_, value, &kind);
  require(kind == napi_undefined);  // what is no array has no memory
  *length = elements;
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
  int64_t length = 0;
  head.logits = array<const void>(&length);
  head.dtype = choice<DType>();
  head.rows = static_cast<int64_t>(number());
  head.vocab_size = static_cast<int64_t>(number());
  head.row_stride = static_cast<int64_t>(number());
  head.temperature = number();
  require(length >= elements_of_logits(head));
  return head;
}

Head Args::linear_head() {
  Head head{};
  int64_t hidden = 0, weight = 0, bias = 0;
  head.hidden = array<const void>(&hidden);
  head.weight = array<const void>(&weight);
  head.bias = array<const void>(&bias);
  head.dtype = choice<DType>();
  head.rows = static_cast<int64_t>(number());
  head.vocab_size = static_cast<int64_t>(number());
  head.hidden_size = static_cast<int64_t>(number());
  head.temperature = number();
  head.chunk_bytes = static_cast<int64_t>(number());
  require(hidden >= head.rows * head.hidden_size && weight >= head.vocab_size * head.hidden_size);
  require(head.bias == nullptr || bias >= head.vocab_size);
  return head;
}

Head Args::head() { return boolean() ? linear_head() : logits_head(); }

Labels Args::labels(int64_t rows) {
  Labels labels{};
  labels.data = array<const void>(rows);
  labels.wide = boolean();
  labels.mask = array<const uint8_t>(rows);
  labels.ignore_index = static_cast<int64_t>(number());
  return labels;
}

PreferenceBatch Args::batch() {
  PreferenceBatch batch{};
  int64_t offsets = 0;
  batch.tokens = static_cast<int64_t>(number());
  batch.mask = array<const uint8_t>(batch.tokens);
  batch.turn_offsets = array<const int32_t>(&offsets);
  batch.turns = offsets - 1;
  require(batch.turns >= 0);
  batch.trajectory_offsets = array<const int32_t>(&offsets);
  batch.trajectories = offsets - 1;
  batch.pairs.chosen = array<const int32_t>(&batch.pairs.count);
  batch.pairs.rejected = array<const int32_t>(batch.pairs.count);
  batch.pairs.weights = array<const float>(batch.pairs.count);
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

PreferenceOut Args::preference_out(const PreferenceBatch& batch) {
  PreferenceOut out{};
  out.scalars = array<double>(4);
  out.pair_losses = array<float>(batch.pairs.count);
  out.margins = array<float>(batch.pairs.count);
  out.chosen_rewards = array<float>(batch.pairs.count);
  out.rejected_rewards = array<float>(batch.pairs.count);
  out.turn_advantages = array<float>(batch.turns);
  out.grad_logps = array<float>(batch.tokens);
  return out;
}

void* Args::grad_logits(const Head& head) { return array<void>(elements_of_logits(head)); }

void Args::shard(Head* head) {
  head->first_word = static_cast<int64_t>(number());
  head->total_vocab = static_cast<int64_t>(number());
}

HeadGradients Args::linear_gradients(const Head& head) {
  HeadGradients out{};
  out.hidden = array<float>(head.rows * head.hidden_size);
  out.weight = array<float>(head.vocab_size * head.hidden_size);
  out.bias = array<float>(head.vocab_size);
  out.accumulate = boolean();
  return out;
}

Update Args::update() {
  Update update{};
  update.head = head();
  update.labels = labels(update.head.rows);
  update.ref_logps = array<const float>(update.head.rows);
  if (!update.ref_logps) update.reference = head();
  update.batch = batch();
  update.options = preference_options();
  return update;
}

UpdateOut Args::update_out(const Update& update) {
  UpdateOut out{};
  out.logps = array<float>(update.head.rows);
  out.preference = preference_out(update.batch);
  void* const of_logits = grad_logits(update.head);
  out.gradients = linear_gradients(update.head);
  out.gradients.logits = of_logits;
  return out;
}

namespace {

const char* name_of(Code code) {
  switch (code) {
    case Code::ok:
      break;
    case Code::memory:
      return "memory";
    case Code::shape:
      return "shape";
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
    case Code::shard_rows:
      return "partialRows";
    case Code::shard_mismatch:
      return "partialShard";
    case Code::shard_no_entropy:
      return "partialEntropy";
    case Code::shard_coverage:
      return "partialWords";
    case Code::device:
      return "device";
    case Code::device_gemm:
      return "products";
    case Code::cancelled:
      return "cancelled";
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
  if (status.code == Code::device_gemm) fault.Set("meaning", status.device.meaning);
  if (status.code != Code::device) return fault;
  fault.Set("operation", status.device.operation);
  fault.Set("name", status.device.name);
  fault.Set("meaning", status.device.meaning);
  fault.Set("sticky", status.device.sticky);
  return fault;
}

}  // namespace sweet
