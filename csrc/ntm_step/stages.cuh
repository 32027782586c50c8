#pragma once
// The stages of a step, each for one piece of one sentence. The whole block calls, but for activation.cuh's.
#include "content_address/content.cuh"
#include "location_address/locate.cuh"
#include "memory_read/read.cuh"
#include "memory_write/write.cuh"
#include "ntm_step/activation.cuh"

namespace s2sfast::cuda {

// The fault of a sharpen below 1 of a kind of heads: kSharpenNames.
__device__ __forceinline__ int sharpen_fault(int kind) { return kind == 0 ? 3 : 2; }

// A thread finds what it has written itself (slots.cuh), so that there is no barrier between.
template <class R>
__device__ __forceinline__ void write_and_look(const NtmWrite<R>& stage, int64_t b, int64_t piece,
                                               ColumnSums<R>& shared) {
  const SlotRange range = slots_of(stage.write.in.sizes, piece);
  write_piece(stage.write, b, range);
  match_content(stage.match, b, range);
  const MemoryRead<R>& read = stage.read;
  read_piece(read.memory, b, range, read.weights, read.heads, read.parts, piece * read.heads, shared);
}

template <class R>
__device__ __forceinline__ void read_weights(const NtmReadWeights<R>& of, int64_t b, SlotRange range) {
  match_piece<false>(
      of.memory, b, range, of.gradient, of.heads,
      [&](int64_t h, int64_t n, R dot) { of.dweights.row(b, h)[n] = of.more.data ? dot + of.more.row(b, h)[n] : dot; },
      [](int64_t, R) {});
}

template <class R>
__device__ __forceinline__ void rewrite_and_look(const NtmRewrite<R>& stage, int64_t b, int64_t piece) {
  const SlotRange range = slots_of(stage.write.in.sizes, piece);
  write_piece(stage.write, b, range);
  read_weights(stage.read, b, range);
}

template <class R>
__device__ __forceinline__ void spread_looked(const NtmLooked<R>& by, const Rows<const R>& base, int64_t b,
                                              int64_t piece, ContentShared<R>& shared) {
  const ContentSpread<R>& content = by.content;
  spread_piece({content.in, content.memory, content.norms, content.cosines, content.a, by.readers, by.weights,
                by.gradient, content.dmemory, content.key_parts},
               base, b, piece, shared);
}

template <class R>
__device__ __forceinline__ void write_and_look_backward(const NtmWriteBackward<R>& stage, int64_t b, int64_t piece,
                                                        ContentShared<R>& shared) {
  const MemoryWriteBackward<R>& write = stage.write;
  const SlotRange range = slots_of(write.in.sizes, piece);
  spread_looked(stage.after, stage.given, b, piece, shared);
  read_weights(stage.before, b, range);
  write_piece_backward(write, b, piece, shared.columns);
  for (int64_t h = 0; h < write.in.heads; ++h)
    each_own_slot(range, [&](int, int64_t n) {
      R d = write.dweights.row(b, h)[n];
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (stage.more[i].data) d += stage.more[i].row(b, h)[n];
      write.dweights.row(b, h)[n] = d;
    });
}

template <class R>
__device__ __forceinline__ void spread_all(const NtmSpread<R>& stage, int64_t b, int64_t piece,
                                           ContentShared<R>& shared) {
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    const NtmLooked<R>& by = stage.by[i];
    if (by.readers || by.content.in.heads) spread_looked(by, Rows<const R>(by.content.dmemory), b, piece, shared);
  }
}

// The fields that are vectors are a thread's number each, as they come from the pieces; then a warp has the rest.
template <class R>
__device__ __forceinline__ void finish_head(const NtmFinish<R>& stage, int64_t b, int64_t head) {
  const NtmPrepare<R>& heads = stage.heads;
  const NtmHeads<R>&to = stage.gradient, &ready = heads.ready;
  const NtmActivation& active = heads.activation;
  const int64_t width = stage.key.in.sizes.width;
  const auto of_tanh = [](R y) { return 1 - y * y; };
  const auto of_sigmoid = [](R y) { return y * (1 - y); };
  for (int64_t i = threadIdx.x; i < (stage.erase.heads ? 3 : 1) * width; i += kBlockThreads) {
    if (i < width) {
      const R d = join_key(stage.key.in, stage.key.key_parts, stage.key.key_pull, b, head, i);
      to.key.row(b, head)[i] = active.any && active.tanh_key ? d * of_tanh(ready.key.row(b, head)[i]) : d;
      continue;
    }
    const bool erases = i < 2 * width;
    const int64_t m = i - (erases ? width : 2 * width);
    const MemoryReadJoin<R>& join = erases ? stage.erase : stage.add;
    const R d = join_parts(join.parts, b, slot_pieces(join.sizes), join.heads, head, m);
    const R y = (erases ? ready.erase : ready.add).row(b, head)[m];
    (erases ? to.erase : to.add).row(b, head)[m] = active.any && erases            ? d * of_sigmoid(y)
                                                   : active.any && active.tanh_add ? d * of_tanh(y)
                                                                                   : d;
  }
  if (!active.any || warp_id() != 0) return;
  if (to.shift.data) softmax_of_taps_backward(ready.shift.row(b, head), to.shift.row(b, head), to.shift.width);
  if (lane_id() != 0) return;
  const auto scale = [&](const Rows<R>& gradient, R slope) { *gradient.row(b, head) *= slope; };
  if (to.strength.data) scale(to.strength, sigmoid_of(*heads.given.strength.row(b, head)));
  if (to.gate.data) scale(to.gate, of_sigmoid(*ready.gate.row(b, head)));
  if (to.sharpen.data) scale(to.sharpen, sigmoid_of(*heads.given.sharpen.row(b, head)));
}

}  // namespace s2sfast::cuda
