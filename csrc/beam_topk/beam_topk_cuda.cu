// beam_topk on the device: scan (a warp per 1,024 logits), then select (a block per sentence); between them, where
// beams are limited, limit (a block per row). No launch waits for the host, and nothing is allocated.
#include <cuda_runtime.h>

#include "beam_topk/beam_topk.h"
#include "beam_topk/scan.cuh"
#include "beam_topk/select_radix.cuh"
#include "beam_topk/select_registers.cuh"

namespace s2sfast {
namespace {

using cuda::BeamTopkWorkspace;

bool is_limited(const BeamTopkSizes& s, const BeamTopkPruning& rule) {
  // Beyond k the limit matters too where a beam's best by score may fall by their tokens.
  const bool by_token = rule.log_relative_local > -std::numeric_limits<double>::infinity();
  return rule.max_per_beam < (by_token ? s.vocab : std::min(s.k, s.vocab));
}

// Lays the arrays out one after the other, each aligned for 16-byte access.
class Layout {
 public:
  explicit Layout(void* memory) : memory_(reinterpret_cast<uintptr_t>(memory)) {}
  template <class U>
  void place(U*& array, int64_t count) {
    array = reinterpret_cast<U*>(memory_ + bytes_);
    bytes_ += (count * sizeof(U) + 15) / 16 * 16;
  }
  size_t bytes() const { return bytes_; }

 private:
  uintptr_t memory_;  // 0 while only the size is asked for
  size_t bytes_ = 0;
};

size_t lay_out(BeamTopkWorkspace& work, const BeamTopkSizes& s, const BeamTopkPruning& rule, void* memory) {
  const int64_t rows = s.sentences * s.beams;
  work.tiles = (s.vocab + cuda::kTile - 1) / cuda::kTile;
  Layout layout(memory);
  layout.place(work.partials, rows * work.tiles);
  layout.place(work.rows, rows);
  layout.place(work.tops, rows * work.tiles);
  layout.place(work.groups, rows * work.tiles * cuda::kWarp);
  layout.place(work.limits, is_limited(s, rule) ? rows : 0);
  if (!is_limited(s, rule)) work.limits = nullptr;
  return layout.bytes();
}

template <class T>
void scan(const BeamTopkInputs<T>& in, const BeamTopkWorkspace& work, unsigned rows, cudaStream_t stream) {
  constexpr int kTilesPerBlock = cuda::kScanThreads / cuda::kWarp;
  const dim3 grid(rows, static_cast<unsigned>((work.tiles + kTilesPerBlock - 1) / kTilesPerBlock));
  if (in.bias.data)
    cuda::beam_topk_scan<T, true><<<grid, cuda::kScanThreads, 0, stream>>>(in, work);
  else
    cuda::beam_topk_scan<T, false><<<grid, cuda::kScanThreads, 0, stream>>>(in, work);
}

}  // namespace

size_t beam_topk_cuda_workspace_bytes(const BeamTopkSizes& s, const BeamTopkPruning& rule) {
  BeamTopkWorkspace work;
  return lay_out(work, s, rule, nullptr);
}

template <class T>
int beam_topk_cuda(const BeamTopkInputs<T>& in, const BeamTopkOutputs& out, void* memory, CudaFault* faults,
                   CudaTarget target) {
  const BeamTopkSizes& s = in.sizes;
  if (s.sentences == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  BeamTopkWorkspace work;
  lay_out(work, s, in.pruning, memory);
  const auto stream = static_cast<cudaStream_t>(target.stream);
  const auto rows = static_cast<unsigned>(s.sentences * s.beams), sentences = static_cast<unsigned>(s.sentences);
  if (rows > 0 && s.vocab > 0) {
    scan(in, work, rows, stream);
    if (work.limits) cuda::beam_topk_limit<T><<<rows, cuda::kLimitThreads, 0, stream>>>(in, work);
  }
  if (s.k <= cuda::kRegisterMostK)
    cuda::beam_topk_select_registers<T><<<sentences, cuda::kRegisterThreads, 0, stream>>>(in, work, out, faults);
  else
    cuda::beam_topk_select_radix<T><<<sentences, cuda::kRadixThreads, 0, stream>>>(in, work, out, faults);
  return cudaGetLastError();
}

template int beam_topk_cuda(const BeamTopkInputs<float>&, const BeamTopkOutputs&, void*, CudaFault*, CudaTarget);
template int beam_topk_cuda(const BeamTopkInputs<double>&, const BeamTopkOutputs&, void*, CudaFault*, CudaTarget);
template int beam_topk_cuda(const BeamTopkInputs<BFloat16>&, const BeamTopkOutputs&, void*, CudaFault*, CudaTarget);
template int beam_topk_cuda(const BeamTopkInputs<Half>&, const BeamTopkOutputs&, void*, CudaFault*, CudaTarget);

}  // namespace s2sfast
