// A vocabulary cut into shards, of which each is looked at where it is: a shard's words of every row come down to a
// partial, and the partials of all shards to the results of token_logps.h.
//
//   t_iv = log2(e) * (x_iv - pivot_i) / temperature,  sum_v 2^t_iv,  sum_v t_iv * 2^t_iv over the shard's words v
//
// A shard's partials are kPartialsHead + N * kPartial numbers: what they are of, then row after row. Shards are joined
// in the order of their words, wherever each of them lies among the others.
#pragma once

#include <algorithm>

#include "head.h"
#include "softmax.h"

namespace sweet {

struct PartialsHead {
  double rows, first_word, words, all_words, temperature, entropy, none[2];
};

struct Partial {
  Sums64 sums;         // weighted only with entropy
  double label_logit;  // 0 where the label is no word of the shard
};

/** Of a row that is not read. */
SWEET_HOST_DEVICE inline Partial no_partial() { return {{-INFINITY, 0, 0}, 0}; }

constexpr int64_t kPartialsHead = sizeof(PartialsHead) / sizeof(double);
constexpr int64_t kPartial = sizeof(Partial) / sizeof(double);

SWEET_HOST_DEVICE inline PartialsHead head_of_partials(const Head& head, const Words& words, bool entropy) {
  return {static_cast<double>(head.rows),
          static_cast<double>(words.first),
          static_cast<double>(words.count),
          static_cast<double>(words.all),
          head.temperature,
          entropy ? 1.0 : 0.0,
          {0, 0}};
}

/** Results of a row from its partials, of which partial(s) gives those of the s-th shard. */
template <class Get>
SWEET_HOST_DEVICE inline RowEnd merged_row(int64_t shards, int32_t label, double temperature, Get partial) {
  const auto sums = [&](int64_t s) -> const Sums64& { return partial(s).sums; };
  double label_logit = 0;
  for (int64_t s = 0; s < shards; s++) label_logit += partial(s).label_logit;
  return end_of_row(join(shards, temperature, sums), label, static_cast<float>(label_logit), temperature);
}

/** Whether these are the shards of one vocabulary over so many rows. order: of their words. */
inline Status check_shards(const PartialsHead* heads, int64_t shards, int64_t rows, bool entropy, int64_t* order) {
  for (int64_t s = 0; s < shards; s++) {
    const PartialsHead& head = heads[s];
    if (!(head.rows == static_cast<double>(rows))) return {Code::partial_rows, s};
    const bool whole = head.first_word >= 0 && head.words >= 0 && head.all_words <= INT32_MAX &&
                       head.first_word + head.words <= head.all_words && floor(head.words) == head.words;
    const bool alike = head.all_words == heads[0].all_words && head.temperature == heads[0].temperature;
    if (!whole || !alike || !(head.temperature > 0)) return {Code::partial_shard, s};
    if (entropy && head.entropy != 1) return {Code::partial_entropy, s};
    order[s] = s;
  }
  if (rows == 0) return {};
  std::sort(order, order + shards, [&](int64_t a, int64_t b) {
    return heads[a].first_word != heads[b].first_word ? heads[a].first_word < heads[b].first_word : a < b;
  });
  double next = 0;
  for (int64_t k = 0; k < shards; k++) {
    const PartialsHead& head = heads[order[k]];
    if (head.first_word != next) {
      return {Code::partial_words, order[k], static_cast<int64_t>(std::min(next, head.first_word))};
    }
    next += head.words;
  }
  if (next != heads[0].all_words) return {Code::partial_words, shards - 1, static_cast<int64_t>(next)};
  return {};
}

/** Of a head that is a shard, or all there is. */
Status partials(const Head& head, const Labels& labels, bool entropy, double* out);

/** partials: those of all shards, one after the other. */
Status merge_partials(const double* partials, int64_t shards, int64_t rows, const Labels& labels, const LogpsOut& out);

}  // namespace sweet
