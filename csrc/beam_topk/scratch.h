#pragma once
// What scan leaves for select, laid out in one piece of memory. Internal to the kernel of one instruction set.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "beam_topk/beam_topk.h"
#include "common/cpu/normalizer.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// The k-best lists: sorted by insertion up to this k, a buffer of 2k halved by nth_element above. The crossover was
// measured, see docs/beam_topk.md.
constexpr int64_t kInsertionLimit = 32;
inline int64_t list_capacity(int64_t k) { return k <= kInsertionLimit ? k : 2 * k; }

struct Candidate {
  float score;
  uint32_t parent, column;
};

struct BeamTopkPartial : SumOfExps {  // of one piece; bad: its logits
  double max;
  bool bad_bias;  // a NaN or +inf was seen
};

struct BeamTopkRow {  // of one beam
  double score, max, log_sum;
};

static_assert(kBeamTopkPiece % kBlock == 0);
inline int64_t groups_per_beam(int64_t vocab) { return (vocab + kBlock - 1) / kBlock * kLanes; }

class BeamTopkScratch {
 public:
  BeamTopkScratch(const BeamTopkSizes& s, const BeamTopkPruning& pruning, void* memory)
      : groups_per_beam_(groups_per_beam(s.vocab)), memory_(static_cast<std::byte*>(memory)) {
    const int64_t candidates = s.beams * s.vocab;  // the op has checked that this is no overflow
    best_k = std::min(s.k, candidates);
    // Beyond k it matters too where a beam's best by score may fall by their tokens.
    const bool by_token = pruning.log_relative_local > -std::numeric_limits<double>::infinity();
    limited = pruning.max_per_beam < (by_token ? s.vocab : std::min(best_k, s.vocab));
    beam_k = limited ? pruning.max_per_beam : 0;
    rows = take<BeamTopkRow>(s.beams);
    partials = take<BeamTopkPartial>(s.beams * beam_topk_pieces_per_beam(s));
    best = take<Candidate>(list_capacity(best_k));
    beam_best = take<Candidate>(list_capacity(beam_k));
    groups_ = take<float>(s.beams * groups_per_beam_);
  }

  float* groups(int64_t beam) const { return groups_ + beam * groups_per_beam_; }
  size_t bytes() const { return offset_; }

  bool limited;            // max_per_beam matters
  int64_t best_k, beam_k;  // lengths of the lists: best_k is no more than there are candidates
  BeamTopkRow* rows;
  BeamTopkPartial* partials;
  Candidate *best, *beam_best;

 private:
  template <class T>
  T* take(int64_t count) {
    T* place = reinterpret_cast<T*>(memory_ + offset_);
    offset_ = (offset_ + count * sizeof(T) + 63) / 64 * 64;
    return place;
  }

  int64_t groups_per_beam_;
  std::byte* memory_;
  size_t offset_ = 0;
  float* groups_;
};

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
