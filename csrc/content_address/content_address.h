#pragma once
// Content addressing (Graves, Wayne & Danihelka 2014, arXiv:1410.5401, equations 5 and 6):
//
//   cosine[b, h, n] = key[b, h] . memory[b, n] / (|key| |memory|)      with norms as in common/cosine.h
//   weights[b, h]   = softmax over n of strength[b, h] cosine[b, h, n]
//
// The memory is read once, for the dot products and the norms together. Back, with s = d(strength cosine),
// a = s strength / denominator and |.| a norm as the mode wants it:
//
//   dstrength = sum_n s cosine;   dkey = sum_n a memory[n] - key_pull key;   dmemory[n] = sum_h a key[h] - pull[n]
//   memory[n]
//
// where the pulls are what the norms contribute: key_pull = slope(key) |key| sum_n a |memory[n]| cosine, and pull[n]
// alike.
#include "common/cosine.h"
#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/slots.h"

namespace s2sfast {

template <class R>
struct ContentHeads {
  MemorySizes sizes;
  int64_t heads;
  CosineRule rule;
  Rows<const R> key, strength;  // (B, H, M), (B, H, 1)
};

// Dot products and norms of slots. A piece is a block of slots.
template <class R>
struct ContentMatch {
  ContentHeads<R> in;
  Rows<const R> memory;
  Rows<R> dots;   // (B, H, N)
  Rows<R> norms;  // (B, 1, N)
};

// Dot products to cosines in place, and their softmax. A piece is a head.
template <class R>
struct ContentWeights {
  ContentHeads<R> in;
  Rows<const R> norms;
  Rows<R> cosines, weights;
};

// From the gradient of the weights to a. A piece is a head.
template <class R>
struct ContentBackward {
  ContentHeads<R> in;
  Rows<const R> norms, cosines, weights, gradient;
  Rows<R> a;         // (B, H, N); may be the gradient's rows
  Rows<R> strength;  // (B, H, 1), its gradient
  Rows<R> key_pull;  // (B, H, 1)
};

// The gradient of the memory, and sums of a memory over each piece. A piece is a block of slots.
template <class R>
struct ContentSpread {
  ContentHeads<R> in;
  Rows<const R> memory, norms, cosines, a;
  Rows<R> dmemory;
  Rows<R> key_parts;  // (B, pieces H, M)
};

// The gradient of the keys. A piece is a head.
template <class R>
struct ContentJoin {
  ContentHeads<R> in;
  Rows<const R> key_parts, key_pull;
  Rows<R> key;
};

// Each for all sentences, launched on the target's stream; a cudaError_t.
template <class R>
int content_match_cuda(const ContentMatch<R>&, CudaTarget);
template <class R>
int content_weights_cuda(const ContentWeights<R>&, CudaTarget);
template <class R>
int content_backward_cuda(const ContentBackward<R>&, CudaTarget);
template <class R>
int content_spread_cuda(const ContentSpread<R>&, CudaTarget);
template <class R>
int content_join_cuda(const ContentJoin<R>&, CudaTarget);

}  // namespace s2sfast

// Each works on pieces [begin, end) of one sentence.
S2SFAST_DECLARE_KERNELS(
    template <class R> void content_match(const ContentMatch<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void content_weights(const ContentWeights<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void content_backward(const ContentBackward<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void content_spread(const ContentSpread<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void content_join(const ContentJoin<R>&, int64_t sentence, int64_t begin, int64_t end);)
