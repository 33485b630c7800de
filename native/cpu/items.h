// The items of a loss, turns or trajectories by the batch's level, and sums over their tokens. A checked copy.
#pragma once

#include <climits>

#include "../item_batch.h"
#include "token_weights.h"

namespace sweet {

/** a_i of the tokens of an item: 1 for the first `tokens` that have a weight, `rest` for the others. */
struct Prefix {
  int64_t tokens = INT64_MAX;
  double rest = 1;
};

class Items {
 public:
  Items(const ItemBatch& batch, Normalization normalization, bool allow_empty_turns, bool divides_by_length);

  bool ok() const;
  Status check_offsets();

  /** After check_offsets() returned ok. Checked labels (may be null) say which tokens count, in place of the batch's.
   */
  Status check_tokens(const int32_t* checked_labels);

  int64_t count() const { return count_; }
  const TokenWeights& tokens() const { return tokens_; }

  /** The sum of the weights of item k's tokens. */
  double weight(int64_t k) const { return weights_[k]; }

  /** What length-normalised losses divide the score by. */
  double length(int64_t k) const { return normalization_ == Normalization::sum ? weights_[k] : 1.0; }

  /** The number of item k's tokens that have a weight. */
  int64_t kept(int64_t k) const;

  /** dS_k/drho of the tokens of turn t in item k, per weight. */
  double coefficient(int64_t t, int64_t k) const {
    return score_coefficient(normalization_, turn_weights_[t], weights_[k]);
  }

  /** use(t, first, last) for the turns of item k and the tokens first ... last - 1 of each. */
  template <class Use>
  void each_turn(int64_t k, Use use) const {
    for (int64_t t = item_offsets_[k]; t < item_offsets_[k + 1] && !cancelled(); t++) {
      use(t, int64_t{turn_offsets_[t]}, int64_t{turn_offsets_[t + 1]});
    }
  }

  /** use(t, i, m_i a_i) for the tokens of item k that have a weight, in their order. */
  template <class Use>
  void each_token(int64_t k, Prefix prefix, Use use) const {
    int64_t seen = 0;
    each_turn(k, [&](int64_t t, int64_t first, int64_t last) {
      tokens_.each(first, last, [&](int64_t i, double m) { use(t, i, seen++ < prefix.tokens ? m : m * prefix.rest); });
    });
  }

  /** sum_t c_tk sum_{i in t} m_i a_i value(i); each_turn_sum(t, sum over the turn, its c_tk times that). */
  template <class Value, class EachTurn>
  double score(int64_t k, Prefix prefix, Value value, EachTurn each_turn_sum) const {
    double score = 0;
    int64_t seen = 0;
    each_turn(k, [&](int64_t t, int64_t first, int64_t last) {
      double sum = 0;
      if (prefix.rest == 1) {
        tokens_.each(first, last, [&](int64_t i, double m) { sum += m * value(i); });
      } else {
        tokens_.each(first, last, [&](int64_t i, double m) {
          const double weight = seen++ < prefix.tokens ? m : m * prefix.rest;
          if (weight != 0) sum += weight * value(i);  // 0 silences a log-prob of -inf
        });
      }
      const double of_turn = sum * coefficient(t, k);
      each_turn_sum(t, sum, of_turn);
      score += of_turn;
    });
    return score;
  }

  /** S_k, with the advantages of its turns where advantages are not null. */
  double ratio(int64_t k, Prefix prefix, const float* logps, const float* ref_logps, float* advantages) const;

  /** to[i] = m_i (c_tk grad - constant) of the tokens of item k. */
  void scatter(int64_t k, double grad, double constant, float* to) const;

  /**
   * The least m_i c_tk of a token of item k that has a weight, infinite where none has. An update in one pass
   * multiplies gradients by it in float32, before it knows their factor.
   */
  double least_coefficient(int64_t k) const;

  /** Kept tokens of item k to rows[n ...], their sign * m_i a_i c_tk to coefficients[i]; the new number of rows. */
  int64_t gather(int64_t k, double sign, Prefix prefix, int64_t n, int64_t* rows, float* coefficients) const;

 private:
  const ItemBatch& batch_;
  const Normalization normalization_;
  const bool allow_empty_turns_, divides_by_length_;
  const int64_t count_;
  TokenWeights tokens_;            // [N]
  Scratch<int32_t> turn_offsets_;  // [T+1] into tokens
  Scratch<double> turn_weights_;   // [T] sum over the tokens
  Scratch<int32_t> item_offsets_;  // [items+1] into turns
  Scratch<double> weights_;        // [items] sum over the tokens
};

}  // namespace sweet
