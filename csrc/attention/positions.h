#pragma once
// The positions of a block that a query attends to, listed: what is masked is never read.
#include <algorithm>

#include "attention/attention.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

struct Positions {
  int32_t at[kAttentionPositions];  // ascending
  int count = 0;
};

inline void list_positions(const AttentionMask& mask, int64_t sentence, int64_t query, int64_t begin, int64_t end,
                           int64_t positions, Positions& list) {
  const int64_t last = std::min(end, mask.length(sentence, positions));
  list.count = 0;
  for (int64_t t = begin; t < last; ++t)
    if (mask.allows(sentence, query, t)) list.at[list.count++] = static_cast<int32_t>(t);
}

struct PairBlock {
  int64_t first_query, last_query, first_position, last_position;
};

// The block of queries and positions that is a score stage's piece.
inline PairBlock pair_block(const AttentionSizes& s, int64_t piece) {
  const int64_t blocks = attention_blocks(s.positions, kAttentionPositions);
  const int64_t q = piece / blocks * kAttentionQueries, t = piece % blocks * kAttentionPositions;
  return {q, std::min(q + kAttentionQueries, s.queries), t, std::min(t + kAttentionPositions, s.positions)};
}

// Calls each(first query, last query, positions) for queries of the block that attend to the same positions.
template <class Each>
inline void each_group(const AttentionSizes& s, const AttentionMask& mask, int64_t sentence, const PairBlock& block,
                       Each each) {
  Positions list;
  const int64_t step = mask.one_for_all_queries() ? block.last_query - block.first_query : 1;
  for (int64_t q = block.first_query; q < block.last_query; q += step) {
    list_positions(mask, sentence, q, block.first_position, block.last_position, s.positions, list);
    each(q, q + step, list);
  }
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
