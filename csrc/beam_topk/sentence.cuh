#pragma once
// What the kernels know of one sentence after the scan, and how they look at its candidates a second time. Internal to
// beam_topk_cuda.cu.
//
// The scan leaves the largest logit (plus bias) of each group and of each tile. A candidate can only reach a score
// where its group and its tile do, so that the second look reads few of them. (docs/decisions/006 tells why not lists
// of the best.)
#include <cfloat>

#include "beam_topk/beam_topk.h"
#include "common/cuda/tile.cuh"

namespace s2sfast::cuda {

struct BeamTopkTile {  // of one tile's logits, without bias
  double sum, max;     // of exp(logit - max); max
  bool bad_logit, bad_bias;
};

struct BeamTopkRow {  // of one beam; offers nothing where score is -inf
  double score, max, log_sum;
  int fault;  // BeamTopkFault::What
};

// Rows are (sentence, beam), sentence-major.
struct BeamTopkWorkspace {
  int64_t tiles;  // of one row
  BeamTopkTile* partials;
  BeamTopkRow* rows;
  uint64_t* limits;  // the key of each row's max_per_beam-th candidate
  float *tops, *groups;
};

// The rules as they stand for one sentence.
struct BeamTopkFloors {
  double score = -INFINITY, token = -INFINITY;
};

// Larger keys are better: the score, then the lower place in (parent, column). 0: no candidate.
__device__ __forceinline__ uint64_t key_of(float score, uint32_t place) {
  return static_cast<uint64_t>(ordered(score + 0.0f)) << 32 | ~place;  // -0 and 0 tie
}
__device__ __forceinline__ float score_of(uint64_t key) { return from_ordered(static_cast<uint32_t>(key >> 32)); }
__device__ __forceinline__ uint32_t place_of(uint64_t key) { return ~static_cast<uint32_t>(key); }

template <class T>
class Sentence {
 public:
  __device__ __forceinline__ Sentence(const BeamTopkInputs<T>& in, const BeamTopkWorkspace& work, int64_t sentence)
      : in_(in),
        work_(work),
        sentence_(sentence),
        first_row_(sentence * in.sizes.beams),
        lossy_(in.bias.data || sizeof(T) == 8) {}

  __device__ __forceinline__ BeamTopkRow& row(int64_t beam) const { return work_.rows[first_row_ + beam]; }
  __device__ __forceinline__ uint64_t& limit(int64_t beam) const { return work_.limits[first_row_ + beam]; }
  __device__ __forceinline__ uint32_t beams() const { return static_cast<uint32_t>(in_.sizes.beams); }
  __device__ __forceinline__ uint32_t vocab() const { return static_cast<uint32_t>(in_.sizes.vocab); }

  // The k-th largest of the tiles' maxima bounds the k-th best of all nearly as well as that of the groups' does, at a
  // 32nd of the looks; unless there are too few tiles.
  __device__ __forceinline__ bool needs_groups(int64_t beams, int64_t k) const { return beams * work_.tiles < 8 * k; }

  // Score and last-token log-probability of a column, as the contract words them.
  struct Value {
    float score, token;
  };
  __device__ __forceinline__ Value value(const BeamTopkRow& row, double logit, double bias) const {
    const double token = (in_.normalized ? logit : (logit - row.max) - row.log_sum) + bias;
    return {static_cast<float>(row.score + token), static_cast<float>(token)};
  }

  // The least that a candidate behind a group's or tile's maximum is worth: a maximum that was rounded is lowered.
  __device__ __forceinline__ Value least_value(const BeamTopkRow& row, float top) const {
    return value(row, lossy_ ? top - (fabsf(top) * 0x1p-22f + FLT_MIN) : top, 0);
  }

  // The smallest logit (plus bias) that a column needs to reach `score` and `token`; never too large, a little too
  // small: the slack covers every rounding on the way, and what passes is judged by value().
  __device__ __forceinline__ float bound(const BeamTopkRow& row, float score, double token) const {
    const double shift = in_.normalized ? 0 : row.max + row.log_sum;
    const double by_score = score - row.score, need = fmax(by_score, token) + shift;
    const double slack = (fabs(need) + fabs(by_score) + fabs(row.score) + fabs(row.max)) * 0x1p-21;
    const double low = need - slack - FLT_MIN;  // NaN where nothing is finite: then everything passes
    return low > -FLT_MAX ? static_cast<float>(fmin(low, FLT_MAX)) : -FLT_MAX;
  }

  // A warp joins what the scan found in the tiles of one row; all lanes get it.
  __device__ __forceinline__ BeamTopkRow join_tiles(int64_t beam) const;

  // Calls visit(beam, largest logit) for every tile, or every group where `by_group`, of beams [first, last) that offer
  // something. The block's warps share the tiles; the lanes of a warp come together, with present = false where they
  // have none.
  template <class Visit>
  __device__ __forceinline__ void each_maximum(uint32_t first, uint32_t last, bool by_group, Visit visit) const;

  // Calls visit(beam, column, logit, bias, present) for every column of beams [first, last) whose logit (plus bias) is
  // at or above bound(row), lanes together; others come too.
  template <class Bound, class Visit>
  __device__ __forceinline__ void each_column(uint32_t first, uint32_t last, Bound bound, Visit visit) const;

 private:
  const BeamTopkInputs<T>& in_;
  const BeamTopkWorkspace& work_;
  const int64_t sentence_, first_row_;
  const bool lossy_;
};

template <class T>
__device__ __forceinline__ BeamTopkRow Sentence<T>::join_tiles(int64_t beam) const {
  BeamTopkRow row{in_.score(sentence_, beam), -INFINITY, 0, BeamTopkFault::none};
  if (in_.check_nan && !(row.score < INFINITY)) row.fault = BeamTopkFault::scores;
  if (!(row.score > -INFINITY)) row.score = -INFINITY;
  if (row.fault != BeamTopkFault::none || row.score == -INFINITY) return row;

  const BeamTopkTile* tiles = work_.partials + (first_row_ + beam) * work_.tiles;
  bool bad_logit = false, bad_bias = false;
  for (int64_t i = lane_id(); i < work_.tiles; i += kWarp) {
    bad_logit |= tiles[i].bad_logit, bad_bias |= tiles[i].bad_bias;
    row.max = fmax(row.max, tiles[i].max);
  }
  row.max = warp_max(row.max);
  bad_logit = __any_sync(kAllLanes, bad_logit), bad_bias = __any_sync(kAllLanes, bad_bias);
  double sum = 0;
  for (int64_t i = lane_id(); i < work_.tiles; i += kWarp)
    if (tiles[i].max > -INFINITY) sum += tiles[i].sum * exp(tiles[i].max - row.max);
  sum = warp_sum(sum);

  if (in_.check_nan && (bad_logit || bad_bias))
    row.fault = bad_logit ? BeamTopkFault::logits : BeamTopkFault::bias;
  else if (row.max == -INFINITY || (bad_logit && !in_.normalized))
    row.score = -INFINITY;  // nothing on offer
  else if (!in_.normalized)
    row.log_sum = fmax(0.0, log(sum));  // the largest logit's own term is 1
  return row;
}

template <class T>
template <class Visit>
__device__ __forceinline__ void Sentence<T>::each_maximum(uint32_t first, uint32_t last, bool by_group,
                                                          Visit visit) const {
  const uint32_t per_row = static_cast<uint32_t>(work_.tiles) * (by_group ? kWarp : 1);  // all below 2^31, see the op
  const float* maxima = by_group ? work_.groups : work_.tops;
  for (uint32_t i = first * per_row + warp_id() * kWarp; i < last * per_row; i += blockDim.x) {
    const uint32_t at = i + lane_id(), beam = at / per_row;
    const bool present = at < last * per_row && row(beam).score > -INFINITY;
    visit(beam, present ? maxima[first_row_ * per_row + at] : -kInf, present);
  }
}

template <class T>
template <class Bound, class Visit>
__device__ __forceinline__ void Sentence<T>::each_column(uint32_t first, uint32_t last, Bound bound,
                                                         Visit visit) const {
  const uint32_t tiles = static_cast<uint32_t>(work_.tiles);
  for (uint32_t i = first * tiles + warp_id() * kWarp; i < last * tiles; i += blockDim.x) {
    const uint32_t mine = i + lane_id(), beam = mine / tiles;
    bool reaches = mine < last * tiles && row(beam).score > -INFINITY;
    if (reaches) reaches = work_.tops[first_row_ * tiles + mine] >= bound(row(beam));
    for (uint32_t waiting = __ballot_sync(kAllLanes, reaches); waiting; waiting &= waiting - 1) {
      const uint32_t at = i + __ffs(waiting) - 1, p = at / tiles;
      const float low = bound(row(p));
      const float group = work_.groups[(first_row_ * tiles + at) * kWarp + lane_id()];
      const T* logits = in_.logits.row(sentence_, p);
      const Real<T>* biases = in_.bias.data ? in_.bias.row(sentence_, p) : nullptr;
      for (uint32_t groups = __ballot_sync(kAllLanes, group >= low); groups; groups &= groups - 1) {
        const int64_t column = column_of<T>(at % tiles, __ffs(groups) - 1, lane_id());
        const bool present = column < in_.sizes.vocab;
        const double logit = present ? static_cast<double>(real(logits[column])) : -INFINITY;
        visit(p, static_cast<uint32_t>(column), logit, present && biases ? static_cast<double>(biases[column]) : 0.0,
              present);
      }
    }
  }
}

}  // namespace s2sfast::cuda
