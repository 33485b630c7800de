// The loss of one pair under a list of weighted types of loss_types.h, and its slopes, compiled by the kernels of the
// CPU and of the GPU.
#pragma once

#include "loss_types.h"

namespace sweet {

#define SWEET_NAME(name, ...) name,
enum class LossType : int32_t { SWEET_LOSS_TYPES(SWEET_NAME) };
#undef SWEET_NAME

enum class LossClass { margin, separate, joint, batch, nll };

#define SWEET_ONE(...) +1
constexpr int kLossTypes = 0 SWEET_LOSS_TYPES(SWEET_ONE);
#undef SWEET_ONE

SWEET_HOST_DEVICE constexpr LossClass class_of(LossType type) {
  switch (type) {
#define SWEET_CLASS(name, class_name, ...) \
  case LossType::name:                     \
    return LossClass::class_name;
    SWEET_LOSS_TYPES(SWEET_CLASS)
#undef SWEET_CLASS
  }
  return LossClass::nll;
}

SWEET_HOST_DEVICE constexpr ScoreKind score_kind(LossType type) {
  switch (type) {
#define SWEET_KIND(name, class_name, score, ...) \
  case LossType::name:                           \
    return ScoreKind::score;
    SWEET_LOSS_TYPES(SWEET_KIND)
#undef SWEET_KIND
  }
  return ScoreKind::ratio;
}

inline bool divides_by_length(LossType type) {
  return score_kind(type) == ScoreKind::policy_mean || score_kind(type) == ScoreKind::mapped_ratio_mean;
}

struct LossTerm {
  LossType type;
  double weight;  // lambda >= 0
};

struct PairLoss {
  LossTerm terms[kLossTypes];  // `count` of them; rewards and margins are of the first
  int64_t count;
  PairParameters parameters;

  SWEET_HOST_DEVICE bool is_batch(int64_t j) const { return class_of(terms[j].type) == LossClass::batch; }

  template <class Holds>
  bool any(Holds holds) const {
    for (int64_t j = 0; j < count; j++) {
      if (holds(terms[j].type)) return true;
    }
    return false;
  }

  bool has_batch() const {
    return any([](LossType type) { return class_of(type) == LossClass::batch; });
  }

  /** Whether some type divides the sum over an item by its length. */
  bool has_mean() const { return any(divides_by_length); }

  /** Whether ItemScore::policy is needed. */
  bool has_policy() const {
    return any([](LossType type) {
      const ScoreKind kind = score_kind(type);
      return kind == ScoreKind::policy || kind == ScoreKind::policy_mean || class_of(type) == LossClass::batch;
    });
  }
};

/** One type of weight 1 with the default parameters. */
inline PairLoss pair_loss_of(LossType type, double beta, double label_smoothing = 0) {
  return {{{type, 1}}, 1, {beta, label_smoothing, 0.5, 0.05, ScoreMap::reverse_kl, 0.5, 0}};
}

/** The term of one type; `match` is that of a batch type. */
SWEET_HOST_DEVICE inline PairTerm term_of(LossType type, const PairParameters& p, const ItemScore& chosen,
                                          const ItemScore& rejected, const RankMatch* match) {
  const ScoreKind kind = score_kind(type);
  const Score a = score_of(p, kind, chosen), b = score_of(p, kind, rejected);
  switch (type) {
#define SWEET_PAIR(name) return name##_loss(p, a, b);
#define SWEET_TERM_margin SWEET_PAIR
#define SWEET_TERM_separate SWEET_PAIR
#define SWEET_TERM_joint SWEET_PAIR
#define SWEET_TERM_nll SWEET_PAIR
#define SWEET_TERM_batch(name) return name##_loss(p, name##_keys(chosen, rejected), *match);
#define SWEET_CASE(name, class_name, ...) \
  case LossType::name:                    \
    SWEET_TERM_##class_name(name)
    SWEET_LOSS_TYPES(SWEET_CASE)
#undef SWEET_CASE
#undef SWEET_TERM_batch
#undef SWEET_TERM_nll
#undef SWEET_TERM_joint
#undef SWEET_TERM_separate
#undef SWEET_TERM_margin
#undef SWEET_PAIR
  }
  return {0, 0, 0};
}

/** What a batch type sorts. */
SWEET_HOST_DEVICE inline SortKeys sort_keys(LossType type, const ItemScore& chosen, const ItemScore& rejected) {
#define SWEET_KEYS_margin(name)
#define SWEET_KEYS_separate(name)
#define SWEET_KEYS_joint(name)
#define SWEET_KEYS_nll(name)
#define SWEET_KEYS_batch(name) \
  if (type == LossType::name) return name##_keys(chosen, rejected);
#define SWEET_KEYS(name, class_name, ...) SWEET_KEYS_##class_name(name)
  SWEET_LOSS_TYPES(SWEET_KEYS)
#undef SWEET_KEYS
#undef SWEET_KEYS_batch
#undef SWEET_KEYS_nll
#undef SWEET_KEYS_joint
#undef SWEET_KEYS_separate
#undef SWEET_KEYS_margin
  return {0, 0};
}

/** sum_j lambda_j l_j and its slopes. matches[j * stride] is that of type j where it is a batch type. */
SWEET_HOST_DEVICE inline PairTerm pair_term(const PairLoss& loss, const ItemScore& chosen, const ItemScore& rejected,
                                            const RankMatch* matches = nullptr, int64_t stride = 0) {
  PairTerm sum{-0.0, -0.0, -0.0};  // so that a sum of one term has its bits
  for (int64_t j = 0; j < loss.count; j++) {
    const LossTerm& each = loss.terms[j];
    if (each.weight == 0) continue;  // its loss may be infinite
    const PairTerm term = term_of(each.type, loss.parameters, chosen, rejected, matches + j * stride);
    sum.loss += each.weight * term.loss;
    sum.chosen += each.weight * term.chosen;
    sum.rejected += each.weight * term.rejected;
  }
  return sum;
}

/** x of the first type, of which rewards, margins and accuracy are. */
SWEET_HOST_DEVICE inline double metric_score(const PairLoss& loss, const ItemScore& item) {
  return plain_score(score_kind(loss.terms[0].type), item).x;
}

}  // namespace sweet
