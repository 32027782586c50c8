// The second launch of attention of few queries: the parts of every sentence, joined in their order.
#include <cuda_runtime.h>

#include "attention/decode_merge.cuh"
#include "attention/softmax.cuh"

namespace s2sfast::cuda {

inline constexpr int kMergeThreads = 256, kMergePositions = 1024;

// Context and weights of a query: a block for 256 columns, or for 1,024 positions.
template <class T>
__global__ void __launch_bounds__(kMergeThreads)
    attention_decode_merge(const AttentionDecode<T> in, const DecodeParts<Real<T>> parts) {
  using R = Real<T>;
  __shared__ R factors[kMergeThreads];  // of some parts; -1 where nothing is attended to
  const AttentionSizes& s = in.sizes;
  const int64_t b = blockIdx.x / s.queries, q = blockIdx.x % s.queries, E = in.values.width;
  const auto at = [&](int64_t part) { return (b * parts.parts + part) * s.queries + q; };

  R top = -INFINITY;
  for (int64_t part = lane_id(); part < parts.parts; part += kWarp) top = max_of(top, parts.tops[at(part)]);
  top = warp_max(top);
  const R pivot = max_of(top, lowest(top));
  R sum = 0;
  bool any = false;
  for (int64_t part = lane_id(); part < parts.parts; part += kWarp) {
    const R own = parts.sums[at(part)];
    if (own < 0) continue;
    any = true, sum = fma(own, exp_or_zero(parts.tops[at(part)] - pivot), sum);
  }
  any = __any_sync(kAllLanes, any);
  const R share = any ? 1 / warp_sum(sum) : R(0);

  const int64_t column_blocks = attention_blocks(E, kMergeThreads);
  if (blockIdx.y >= column_blocks) {
    const int64_t begin = (blockIdx.y - column_blocks) * kMergePositions;
    const int64_t end = min(begin + kMergePositions, s.positions), length = length_of(in.mask, b, s.positions);
    R* row = in.weights + (b * s.queries + q) * s.positions;
    for (int64_t t = begin + threadIdx.x; t < end; t += kMergeThreads)
      row[t] = attends(in.mask, b, q, t, length) ? without_subnormal(exp_or_zero(row[t] - pivot) * share) : R(0);
    return;
  }
  const int64_t column = int64_t{blockIdx.y} * kMergeThreads + threadIdx.x;
  R context = 0;
  for (int64_t first = 0; first < parts.parts; first += kMergeThreads) {
    const int count = static_cast<int>(min(int64_t{kMergeThreads}, parts.parts - first));
    __syncthreads();
    if (threadIdx.x < count) {
      const int64_t part = at(first + threadIdx.x);
      factors[threadIdx.x] = parts.sums[part] < 0 ? R(-1) : exp_or_zero(parts.tops[part] - pivot);
    }
    __syncthreads();
    if (column < E)
#pragma unroll 4
      for (int i = 0; i < count; ++i)
        if (factors[i] >= 0) context = fma(factors[i], parts.contexts[at(first + i) * E + column], context);
  }
  if (column < E) in.context[(b * s.queries + q) * E + column] = context * share;
}

template <class T>
int merge_parts(const AttentionDecode<T>& in, const DecodeParts<Real<T>>& parts, CudaTarget target) {
  const AttentionSizes& s = in.sizes;
  const int64_t blocks = attention_blocks(in.values.width, kMergeThreads) +
                         (in.weights ? attention_blocks(s.positions, kMergePositions) : 0);
  if (blocks == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(s.sentences * s.queries), static_cast<unsigned>(blocks));
  attention_decode_merge<T><<<grid, kMergeThreads, 0, static_cast<cudaStream_t>(target.stream)>>>(in, parts);
  return cudaGetLastError();
}

template int merge_parts(const AttentionDecode<float>&, const DecodeParts<float>&, CudaTarget);
template int merge_parts(const AttentionDecode<double>&, const DecodeParts<double>&, CudaTarget);
template int merge_parts(const AttentionDecode<BFloat16>&, const DecodeParts<float>&, CudaTarget);
template int merge_parts(const AttentionDecode<Half>&, const DecodeParts<float>&, CudaTarget);

}  // namespace s2sfast::cuda
