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

// --- on the device: the stages of a step together, which shares them out to launches itself -------------------
//
// Where a sentence's memory fits what a block of threads has on its SM, one launch: a block does all stages of a
// sentence. Else a launch for each thing that all of a sentence has to wait for, the softmax over its slots above all:
//
//   forward    prepare, match, address, write, address, read, join                 7 launches
//   back       prepare, rewrite, address, write, address, spread, finish           7
//
// where "address" is content and location in one. Where all heads look at the old memory, one launch has all
// addressing, and what is written is read at once, and not written again: 5 and 5. Where there are no read heads but
// what has been written with is read with: 5 and 6.
template <class T>
struct BothKinds {
  T of[2];  // of write heads, of read heads
};

template <class R>
struct NtmAddress {
  ContentWeights<R> content;
  LocationWeights<R> location;
  bool located;
};

template <class R>
struct NtmForward {
  BothKinds<NtmPrepare<R>> prepare;
  BothKinds<ContentMatch<R>> match;  // of the old memory
  BothKinds<NtmAddress<R>> address;
  NtmWrite<R> write;
  bool late;  // read heads look at the new memory, and read it by read_late
  MemoryRead<R> read_late;
  MemoryReadJoin<R> join;
  CudaFault* faults;  // where a sharpen below 1 is reported, as by location_check_cuda; or null
};

template <class R>
struct NtmAddressBackward {
  LocationBackward<R> location;
  ContentBackward<R> content;
  bool located;
};

template <class R>
struct NtmBackward {
  BothKinds<NtmFinish<R>> finish;  // and what is prepared
  bool renews, late;               // the new memory is needed again; read heads look at it
  NtmRewrite<R> rewrite;
  BothKinds<NtmAddressBackward<R>> address;
  NtmWriteBackward<R> write;
  NtmSpread<R> spread;
};

template <class R>
int ntm_forward_cuda(const NtmForward<R>&, CudaTarget);
template <class R>
int ntm_backward_cuda(const NtmBackward<R>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    template <class R> void ntm_prepare(const NtmPrepare<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_write(const NtmWrite<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_rewrite(const NtmRewrite<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R>
    void ntm_write_backward(const NtmWriteBackward<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_spread(const NtmSpread<R>&, int64_t sentence, int64_t begin, int64_t end);
    template <class R> void ntm_finish(const NtmFinish<R>&, int64_t sentence, int64_t begin, int64_t end);)
