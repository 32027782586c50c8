#pragma once
// A step of a Neural Turing Machine, made of the stages of content_address, location_address, memory_read and
// memory_write, and of these, which join what can be done to a slot while it is in the cache:
//
//   prepare          the heads' numbers through their activation, into rows of their own
//   write            writes; matches the new slots with what the read heads look for in them; reads
//   rewrite          (back) the new slots again, and the gradient of the weights they were read with
//   write backward   from the gradient of the new slots, which the reads and the read heads' addressing add to
//   spread           the rest of the old memory's gradient, and what the pieces know of the keys'
//   finish           the gradients of the heads' numbers, back through the activation
//
// Forward, the memory is read for the write heads' addressing (and the read heads', where they look at the old memory),
// then read and written; where the read heads look at the new memory, it is read once more: their weights depend on all
// of it.
#include "content_address/content_address.h"
#include "location_address/location_address.h"
#include "memory_read/memory_read.h"
#include "memory_write/memory_write.h"

namespace s2sfast {

struct NtmActivation {
  bool any, tanh_key, one_more_strength, tanh_add;
};

// Of the heads of one kind; no data: there is none.
template <class R>
struct NtmHeads {
  Rows<R> key, strength, gate, shift, sharpen, erase, add;
};

// A piece is a head.
template <class R>
struct NtmPrepare {
  int64_t heads;
  NtmActivation activation;
  NtmHeads<const R> given;
  NtmHeads<R> ready;
};

// A piece is a block of slots. What has no heads is left out; read.memory is the memory of before or of after.
template <class R>
struct NtmWrite {
  MemoryWrite<R> write;
  ContentMatch<R> match;
  MemoryRead<R> read;
};

// dweights[h][n] = gradient[h] . memory[n] + more[h][n], for the reads' gradient.
template <class R>
struct NtmReadWeights {
  int64_t heads;
  Rows<const R> memory, gradient, more;  // no data: no more
  Rows<R> dweights;
};

// A piece is a block of slots.
template <class R>
struct NtmRewrite {
  MemoryWrite<R> write;
  NtmReadWeights<R> read;
};

// What reading from a memory, and addressing in it, adds to its gradient.
template <class R>
struct NtmLooked {
  int64_t readers;
  Rows<const R> weights, gradient;  // (B, readers, N), (B, readers, M): of the reads
  ContentSpread<R> content;
};

// A piece is a block of slots.
template <class R>
struct NtmWriteBackward {
  MemoryWriteBackward<R> write;  // in place: its gradient and dmemory are the same
  Rows<const R> given;           // the gradient of the new memory; no data: 0
  NtmLooked<R> after;            // of the new memory
  NtmReadWeights<R> before;      // of the old one
  Rows<const R> more[2];         // added to the gradient of the write weights
};

// A piece is a block of slots.
template <class R>
struct NtmSpread {
  NtmLooked<R> by[2];  // of the old memory; the first has no readers
};

// A piece is a head.
template <class R>
struct NtmFinish {
  NtmPrepare<R> heads;
  ContentJoin<R> key;
  MemoryReadJoin<R> erase, add;  // no heads: none
  NtmHeads<R> gradient;  // of what is ready in strength, gate, shift and sharpen; then of what was given, in all
};

template <class R>
int ntm_prepare_cuda(const NtmPrepare<R>&, CudaTarget);
template <class R>
int ntm_write_cuda(const NtmWrite<R>&, CudaTarget);
template <class R>
int ntm_rewrite_cuda(const NtmRewrite<R>&, CudaTarget);
template <class R>
int ntm_write_backward_cuda(const NtmWriteBackward<R>&, CudaTarget);
template <class R>
int ntm_spread_cuda(const NtmSpread<R>&, CudaTarget);
template <class R>
int ntm_finish_cuda(const NtmFinish<R>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    template <class R> void ntm_prepare(const NtmPrepare<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_write(const NtmWrite<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_rewrite(const NtmRewrite<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R>
    void ntm_write_backward(const NtmWriteBackward<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_spread(const NtmSpread<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_finish(const NtmFinish<R>&, int64_t sentence, int64_t begin, int64_t end);)
