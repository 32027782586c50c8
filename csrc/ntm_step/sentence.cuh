#pragma once
// All stages of a step of one sentence, by one block of threads. The memory stays in global memory: it comes from L2
// once and from L1 then, which on these devices is the memory that shared memory is cut from; nothing is copied, and
// the stages are those of the launches apart. What one stage leaves the next one may read behind a barrier.
#include "ntm_step/stages.cuh"

namespace s2sfast::cuda {

// Of both kinds of heads.
struct BothTaps {
  ShiftTaps of[2];
};

template <class R>
struct StepShared {
  ContentShared<R> content;
  BlockJoin::Shared joins;
};

// Calls use(piece) for the pieces of a sentence.
template <class Use>
__device__ __forceinline__ void each_piece(const MemorySizes& sizes, Use use) {
#pragma unroll 1
  for (int64_t piece = 0; piece < slot_pieces(sizes); ++piece) use(piece);
}

// A thread finds the content weights that it has left itself (block.cuh).
template <class R>
__device__ __forceinline__ void address(const NtmAddress<R>& stage, const ShiftTaps& taps, int64_t b, int64_t head,
                                        BlockJoin& block) {
  weigh_content(stage.content, b, head, block);
  if (stage.located) locate(stage.location, taps, b, head, block);
}
template <class R>
__device__ __forceinline__ void address_backward(const NtmAddressBackward<R>& stage, const ShiftTaps& taps, int64_t b,
                                                 int64_t head, BlockJoin& block) {
  if (stage.located) locate_backward(stage.location, taps, b, head, block);
  weigh_content_backward(stage.content, b, head, block);
}

template <class R>
__device__ __forceinline__ void match_both(const BothKinds<ContentMatch<R>>& match, int64_t b, int64_t piece) {
#pragma unroll 1
  for (int kind = 0; kind < 2; ++kind) match_content(match.of[kind], b, slots_of(match.of[0].in.sizes, piece));
}

template <class R>
__device__ __forceinline__ void step_forward(const NtmForward<R>& step, const BothTaps& taps, int64_t b,
                                             StepShared<R>& shared) {
  const MemorySizes& sizes = step.match.of[0].in.sizes;
  BlockJoin block(shared.joins);
#pragma unroll 1
  for (int kind = 0; kind < 2; ++kind)
    for (int64_t head = warp_id(); head < step.prepare.of[kind].heads; head += kBlockWarps)
      prepare_head(step.prepare.of[kind], b, head, step.faults, sharpen_fault(kind));
  __syncthreads();
  each_piece(sizes, [&](int64_t piece) { match_both(step.match, b, piece); });
  __syncthreads();
#pragma unroll 1
  for (int turn = 0; turn < 3; ++turn) {  // late: address, write, address; else address, address, write
    if (turn == (step.late ? 1 : 2)) {
      each_piece(sizes, [&](int64_t piece) { write_and_look(step.write, b, piece, shared.content.columns); });
    } else {
      const int kind = turn == 0 ? 0 : 1;
#pragma unroll 1
      for (int64_t head = 0; head < step.prepare.of[kind].heads; ++head)
        address(step.address.of[kind], taps.of[kind], b, head, block);
    }
    __syncthreads();
  }
  if (step.late) {
    const MemoryRead<R>& read = step.read_late;
    each_piece(sizes, [&](int64_t piece) {
      read_piece(read.memory, b, slots_of(sizes, piece), read.weights, read.heads, read.parts, piece * read.heads,
                 shared.content.columns);
    });  // it ends with a barrier, behind the parts
  }
  join_reads(step.join, b, threadIdx.x, kBlockThreads);
}

template <class R>
__device__ __forceinline__ void step_backward(const NtmBackward<R>& step, const BothTaps& taps, int64_t b,
                                              StepShared<R>& shared) {
  const MemorySizes& sizes = step.write.write.in.sizes;
  BlockJoin block(shared.joins);
#pragma unroll 1
  for (int kind = 0; kind < 2; ++kind)
    for (int64_t head = warp_id(); head < step.finish.of[kind].heads.heads; head += kBlockWarps)
      prepare_head(step.finish.of[kind].heads, b, head);
  __syncthreads();
  if (step.renews) {
    each_piece(sizes, [&](int64_t piece) { rewrite_and_look(step.rewrite, b, piece); });
    __syncthreads();
  }
#pragma unroll 1
  for (int turn = 0; turn < 3; ++turn) {  // late: read heads, what is written, write heads; else the second comes first
    if (turn == (step.late ? 1 : 0)) {
      each_piece(sizes, [&](int64_t piece) { write_and_look_backward(step.write, b, piece, shared.content); });
    } else {
      const int kind = turn == 2 ? 0 : 1;
#pragma unroll 1
      for (int64_t head = 0; head < step.finish.of[kind].heads.heads; ++head)
        address_backward(step.address.of[kind], taps.of[kind], b, head, block);
    }
    __syncthreads();
  }
  each_piece(sizes, [&](int64_t piece) { spread_all(step.spread, b, piece, shared.content); });  // likewise
#pragma unroll 1
  for (int kind = 0; kind < 2; ++kind)
    for (int64_t head = 0; head < step.finish.of[kind].heads.heads; ++head) finish_head(step.finish.of[kind], b, head);
}

}  // namespace s2sfast::cuda
