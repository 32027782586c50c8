// A step of a Neural Turing Machine on the device: in one launch, or in as few as wait for each other.
#include "common/cuda/launch.cuh"
#include "ntm_step/sentence.cuh"

namespace s2sfast {
namespace cuda {

// Which of the heads of both kinds: the i-th of `count` a sentence, those that write first.
struct HeadOf {
  int64_t b, head;
  int kind;
  __device__ __forceinline__ HeadOf(int64_t i, int64_t writers, int64_t count) : b(i / count), head(i % count) {
    kind = head < writers ? 0 : 1;
    head -= kind == 0 ? 0 : writers;
  }
};

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_prepare_heads(const __grid_constant__ BothKinds<NtmPrepare<R>> stage, int64_t sentences, CudaFault* faults) {
  const int64_t count = stage.of[0].heads + stage.of[1].heads, i = int64_t{blockIdx.x} * kBlockWarps + warp_id();
  if (i >= sentences * count) return;
  const HeadOf one(i, stage.of[0].heads, count);
  prepare_head(stage.of[one.kind], one.b, one.head, faults, sharpen_fault(one.kind));
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_match_pieces(const __grid_constant__ BothKinds<ContentMatch<R>> stage, int64_t pieces) {
  match_both(stage, blockIdx.x / pieces, blockIdx.x % pieces);
}

// Of `writers` and then of others, `count` together.
template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_address_heads(const __grid_constant__ BothKinds<NtmAddress<R>> stage, const __grid_constant__ BothTaps taps,
                      int64_t writers, int64_t count) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  const HeadOf one(blockIdx.x, writers, count);
  address(stage.of[one.kind], taps.of[one.kind], one.b, one.head, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_write_pieces(const __grid_constant__ NtmWrite<R> stage, int64_t pieces) {
  __shared__ ColumnSums<R> shared;
  write_and_look(stage, blockIdx.x / pieces, blockIdx.x % pieces, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_rewrite_pieces(const __grid_constant__ NtmRewrite<R> stage, int64_t pieces) {
  rewrite_and_look(stage, blockIdx.x / pieces, blockIdx.x % pieces);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_address_backward_heads(const __grid_constant__ BothKinds<NtmAddressBackward<R>> stage,
                               const __grid_constant__ BothTaps taps, int64_t writers, int64_t count) {
  __shared__ BlockJoin::Shared shared;
  BlockJoin block(shared);
  const HeadOf one(blockIdx.x, writers, count);
  address_backward(stage.of[one.kind], taps.of[one.kind], one.b, one.head, block);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_write_backward_pieces(const __grid_constant__ NtmWriteBackward<R> stage, int64_t pieces) {
  __shared__ ContentShared<R> shared;
  write_and_look_backward(stage, blockIdx.x / pieces, blockIdx.x % pieces, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_spread_pieces(const __grid_constant__ NtmSpread<R> stage, int64_t pieces) {
  __shared__ ContentShared<R> shared;
  spread_all(stage, blockIdx.x / pieces, blockIdx.x % pieces, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_finish_heads(const __grid_constant__ BothKinds<NtmFinish<R>> stage, int64_t writers, int64_t count) {
  const HeadOf one(blockIdx.x, writers, count);
  finish_head(stage.of[one.kind], one.b, one.head);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_forward_sentence(const __grid_constant__ NtmForward<R> step, const __grid_constant__ BothTaps taps) {
  __shared__ StepShared<R> shared;
  step_forward(step, taps, blockIdx.x, shared);
}

template <class R>
__global__ void __launch_bounds__(kBlockThreads, 1)
    ntm_backward_sentence(const __grid_constant__ NtmBackward<R> step, const __grid_constant__ BothTaps taps) {
  __shared__ StepShared<R> shared;
  step_backward(step, taps, blockIdx.x, shared);
}

}  // namespace cuda

namespace {

// What a block may have on an SM of the smallest of the devices, an A100: 163 KiB, less what the sums take. A memory
// that is larger would come from L2 at every look, by one SM of a hundred.
constexpr int64_t kBlockMemory = 152 << 10;

template <class R>
bool fits_block(const MemorySizes& sizes) {
  return sizes.slots * sizes.width <= kBlockMemory / static_cast<int64_t>(sizeof(R));
}

// The launches of a step, up to the first error.
class Launches {
 public:
  Launches(const MemorySizes& sizes, CudaTarget target) : sizes_(sizes), pieces_(slot_pieces(sizes)), target_(target) {}

  // `count` things a sentence, `per_block` of them in a block.
  template <class... Parameters, class... Arguments>
  void of(int64_t count, int per_block, void (*kernel)(Parameters...), const Arguments&... arguments) {
    if (!error_)
      error_ = cuda::launch(kernel, sizes_.sentences * count, per_block, cuda::kBlockThreads, target_, arguments...);
  }
  template <class Stage>
  void of_pieces(void (*kernel)(Stage, int64_t), const Stage& stage) {
    of(pieces_, 1, kernel, stage, pieces_);
  }
  int error() const { return error_; }

 private:
  MemorySizes sizes_;
  int64_t pieces_;
  CudaTarget target_;
  int error_ = cudaSuccess;
};

}  // namespace

template <class R>
int ntm_forward_cuda(const NtmForward<R>& step, CudaTarget target) {
  const MemorySizes& sizes = step.match.of[0].in.sizes;
  const cuda::BothTaps taps{
      {cuda::ShiftTaps(step.address.of[0].location.in), cuda::ShiftTaps(step.address.of[1].location.in)}};
  const int64_t writers = step.prepare.of[0].heads, readers = step.prepare.of[1].heads, first = step.late ? 0 : readers;
  Launches launch(sizes, target);
  if (fits_block<R>(sizes)) {
    launch.of(1, 1, cuda::ntm_forward_sentence<R>, step, taps);
    return launch.error();
  }
  launch.of(writers + readers, cuda::kBlockWarps, cuda::ntm_prepare_heads<R>, step.prepare, sizes.sentences,
            step.faults);
  launch.of_pieces(cuda::ntm_match_pieces<R>, step.match);
  launch.of(writers + first, 1, cuda::ntm_address_heads<R>, step.address, taps, writers, writers + first);
  launch.of_pieces(cuda::ntm_write_pieces<R>, step.write);
  launch.of(readers - first, 1, cuda::ntm_address_heads<R>, step.address, taps, int64_t{0}, readers - first);
  if (launch.error()) return launch.error();
  if (step.late && step.read_late.heads)
    if (const int error = memory_read_cuda(step.read_late, target)) return error;
  return memory_read_join_cuda(step.join, target);
}

template <class R>
int ntm_backward_cuda(const NtmBackward<R>& step, CudaTarget target) {
  const MemorySizes& sizes = step.write.write.in.sizes;
  const cuda::BothTaps taps{
      {cuda::ShiftTaps(step.address.of[0].location.in), cuda::ShiftTaps(step.address.of[1].location.in)}};
  const BothKinds<NtmPrepare<R>> prepare{{step.finish.of[0].heads, step.finish.of[1].heads}};
  const int64_t writers = prepare.of[0].heads, readers = prepare.of[1].heads, last = step.late ? 0 : readers;
  Launches launch(sizes, target);
  if (fits_block<R>(sizes)) {
    launch.of(1, 1, cuda::ntm_backward_sentence<R>, step, taps);
    return launch.error();
  }
  launch.of(writers + readers, cuda::kBlockWarps, cuda::ntm_prepare_heads<R>, prepare, sizes.sentences,
            static_cast<CudaFault*>(nullptr));
  if (step.renews) launch.of_pieces(cuda::ntm_rewrite_pieces<R>, step.rewrite);
  launch.of(readers - last, 1, cuda::ntm_address_backward_heads<R>, step.address, taps, int64_t{0}, readers - last);
  launch.of_pieces(cuda::ntm_write_backward_pieces<R>, step.write);
  launch.of(writers + last, 1, cuda::ntm_address_backward_heads<R>, step.address, taps, writers, writers + last);
  launch.of_pieces(cuda::ntm_spread_pieces<R>, step.spread);
  launch.of(writers + readers, 1, cuda::ntm_finish_heads<R>, step.finish, writers, writers + readers);
  return launch.error();
}

template int ntm_forward_cuda(const NtmForward<float>&, CudaTarget);
template int ntm_forward_cuda(const NtmForward<double>&, CudaTarget);
template int ntm_backward_cuda(const NtmBackward<float>&, CudaTarget);
template int ntm_backward_cuda(const NtmBackward<double>&, CudaTarget);

}  // namespace s2sfast
