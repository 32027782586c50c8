#pragma once
// One step of beam search: the k best continuations of a sentence's beams.
//
//   score[p, t] = float32( scores[p] + log_softmax(logits[p])[t] + bias[p, t] )
//
// best first; ties go to the lower beam p, then to the lower column t. Four pruning rules (Freitag & Al-Onaizan 2017,
// "Beam Search Strategies for Neural Machine Translation", section 3) act on all candidates before the ranking.
//
// How: one pass over the logits (`scan`) yields each row's log-sum-exp and the largest logit of every group of 32; the
// k-th largest of those group maxima is a lower bound of the k-th best score, so that the second step (`select`) reads
// again only the few groups that can hold a winner. Pruning raises the same bound: it costs
// nothing, and beams that it kills cost the model nothing either.
#include <cstddef>
#include <cstdint>
#include <limits>

#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/numbers.h"

namespace s2sfast {

struct BeamTopkSizes {
  int64_t sentences, beams, vocab, k;
};

// Absent rules are the limits that drop nothing.
struct BeamTopkPruning {
  double log_relative = -std::numeric_limits<double>::infinity();
  double absolute = std::numeric_limits<double>::infinity();
  double log_relative_local = -std::numeric_limits<double>::infinity();
  int64_t max_per_beam = std::numeric_limits<int64_t>::max();
};

// A (B, K, V) array whose last dimension is contiguous; strides in elements, 0 where it is broadcast.
template <class T>
struct BeamTopkPlane {
  const T* data = nullptr;
  int64_t sentence_stride = 0, beam_stride = 0;
  constexpr const T* row(int64_t sentence, int64_t beam) const {
    return data + sentence * sentence_stride + beam * beam_stride;
  }
};

template <class T>
struct BeamTopkInputs {
  BeamTopkSizes sizes;
  BeamTopkPlane<T> logits;
  const float* scores32;             // (B, K); this one
  const double* scores64;            // or this one, the other is null
  BeamTopkPlane<Real<T>> bias;       // null: none
  BeamTopkPlane<int64_t> token_ids;  // null: the column is the token
  bool normalized;                   // the logits are log-probabilities already
  bool check_nan;  // off: a NaN is no candidate, and a beam with a NaN among its logits or as its score offers nothing
  BeamTopkPruning pruning;

  constexpr double score(int64_t sentence, int64_t beam) const {
    const int64_t i = sentence * sizes.beams + beam;
    return scores32 ? scores32[i] : scores64[i];
  }
};

struct BeamTopkOutputs {  // each (B, k), contiguous
  float* scores;
  int64_t *parents, *tokens;
};

// What a sentence was found to hold that has no place in a search; the lowest beam is named.
struct BeamTopkFault {
  enum What : int { none, logits, scores, bias } what = none;
  int64_t beam = 0;
};

// The work on one sentence's logits is cut into pieces of at most this many columns of one beam. Fixed, whatever the
// number of threads, so that the sums are the same bits.
inline constexpr int64_t kBeamTopkPiece = 16384;
inline int64_t beam_topk_pieces_per_beam(const BeamTopkSizes& s) {
  return (s.vocab + kBeamTopkPiece - 1) / kBeamTopkPiece;
}

// On the device: what the kernels have room for, and where they work.
inline constexpr int64_t kBeamTopkCudaMostK = 1024;
inline constexpr int64_t kBeamTopkCudaMostColumns = int64_t{1} << 26;  // of V; and K * V stays below 2^32
size_t beam_topk_cuda_workspace_bytes(const BeamTopkSizes&, const BeamTopkPruning&);
// Launches on the target's stream and returns a cudaError_t. Faults, where they are asked for, are left in `faults`.
template <class T>
int beam_topk_cuda(const BeamTopkInputs<T>&, const BeamTopkOutputs&, void* workspace, CudaFault* faults, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // Bytes of scratch, aligned to 64, that one sentence needs from its first scan to the end of its select.
    size_t beam_topk_scratch_bytes(const BeamTopkSizes&, const BeamTopkPruning&);
    // Pieces [begin, end) of a sentence; piece = beam * pieces_per_beam + part.
    template <class T>
    void beam_topk_scan(const BeamTopkInputs<T>&, int64_t sentence, void* scratch, int64_t begin, int64_t end);
    // After all pieces of the sentence: its k best.
    template <class T>
    BeamTopkFault beam_topk_select(const BeamTopkInputs<T>&, int64_t sentence, void* scratch, const BeamTopkOutputs&);)
