#pragma once
// Location addressing (Graves, Wayne & Danihelka 2014, arXiv:1410.5401, equations 7 to 9), of one head:
//
//   gated[n]   = gate content[n] + (1 - gate) previous[n]
//   shifted[n] = sum_s shift[s] gated[n - offsets[s]]                      (modulo N)
//   weights[n] = shifted[n]^sharpen / sum_m shifted[m]^sharpen
//
// The powers of small weights are nothing in float32: it is exp(sharpen log(shifted[n] / max)) / sum, which keeps the
// mass. What is below the smallest normal number counts as 0: its weight and its gradient are 0. Back, with
// l = log(shifted / max), g the gradient of the weights and E the mean under them:
//
//   dsharpen = sum_n weights l (g - E g);   dshifted = sharpen (weights / shifted) (g - E g)
#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/rows.h"

namespace s2sfast {

template <class R>
struct LocationHeads {
  int64_t sentences, heads, slots, taps;  // no taps: no shift
  Rows<const R> content, previous;        // (B, H, N)
  Rows<const R> gate, shift, sharpen;     // (B, H, 1), (B, H, S), (B, H, 1); no data: no shift, no sharpening
  const int64_t* offsets;                 // (S,) in [0, N), on the host
};

inline constexpr int64_t kCudaTaps = 16;  // more are an error on CUDA, where offsets go to the kernels by value

// A piece is a head.
template <class R>
struct LocationWeights {
  LocationHeads<R> in;
  Rows<R> weights;
  Rows<R> scratch;  // (B, H, 2 N)
};

// From the gradient of the weights to the others. A piece is a head.
template <class R>
struct LocationBackward {
  LocationHeads<R> in;
  Rows<const R> weights, gradient;
  Rows<R> content, previous, gate, shift, sharpen;  // content may be the gradient's rows
  Rows<R> scratch;                                  // (B, H, 5 N)
};

template <class R>
int location_weights_cuda(const LocationWeights<R>&, CudaTarget);
template <class R>
int location_backward_cuda(const LocationBackward<R>&, CudaTarget);

// Kernels take a sharpen below 1 as it is. This one reports it, as the fault `what`: sentence, head, and the number's
// bits as a double. The ops in whose name one may come: its place in this list, from 1.
inline constexpr const char* kSharpenNames[] = {"location_address: expected sharpen",
                                                "ntm_step: expected read_head.sharpen",
                                                "ntm_step: expected write_head.sharpen"};
template <class R>
int location_check_cuda(const Rows<const R>& sharpen, int64_t sentences, int64_t heads, int what, CudaFault* faults,
                        CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(template <class R>
                        void location_weights(const LocationWeights<R>&, int64_t sentence, int64_t begin, int64_t end);
                        template <class R> void location_backward(const LocationBackward<R>&, int64_t sentence,
                                                                  int64_t begin, int64_t end);)
