#include "../partials.h"

#include <cstring>

#include "../backend.h"
#include "../scratch.h"
#include "parallel.h"
#include "rows.h"

namespace sweet {

Status partials(const Head& head, const Labels& labels, bool entropy, double* out) {
  const Words words = words_of(head);
  Scratch<int32_t> checked(head.rows);
  if (!checked.ok()) return {Code::memory};
  if (const Status status = check_labels(labels, head.rows, words, checked.get()); !status.ok()) return status;

  const PartialsHead start = head_of_partials(head, words, entropy);
  memcpy(out, &start, sizeof(start));
  RowsOut rows{};
  rows.partials = reinterpret_cast<Partial*>(out + kPartialsHead);
  rows.weighted = entropy;
  return forward_of(head, checked.get(), rows);
}

Status merge_partials(const double* partials, int64_t shards, int64_t rows, const Labels& labels, const LogpsOut& out) {
  const int64_t size = kPartialsHead + rows * kPartial;
  Scratch<PartialsHead> heads(shards);
  Scratch<int64_t> order(shards);
  Scratch<int32_t> checked(rows);
  if (!heads.ok() || !order.ok() || !checked.ok()) return {Code::memory};
  for (int64_t s = 0; s < shards; s++) memcpy(&heads[s], partials + s * size, sizeof(PartialsHead));
  Status status = check_shards(heads.get(), shards, rows, out.entropy != nullptr, order.get());
  if (!status.ok()) return status;
  const int64_t all = static_cast<int64_t>(heads[0].all_words);
  status = check_labels(labels, rows, {0, all, all}, checked.get());
  if (!status.ok()) return status;

  parallel_for(threads(), rows, rows * shards * 16, [&](int64_t i, int) {
    const auto partial = [&](int64_t s) -> const Partial& {
      return *reinterpret_cast<const Partial*>(partials + order[s] * size + kPartialsHead + i * kPartial);
    };
    RowEnd end{0, 0, 0};
    if (is_read(checked[i], false)) end = merged_row(shards, checked[i], heads[0].temperature, partial);
    out.logps[i] = end.logp;
    out.lse[i] = static_cast<float>(end.lse);
    if (out.entropy) out.entropy[i] = end.entropy;
  });
  return ended();
}

}  // namespace sweet
