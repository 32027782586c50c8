// The log-sum-exp of every row, which is all that reads the logits before they are written out or differentiated.
#include <cuda_runtime.h>

#include "pointer_mixture/pointer.cuh"

namespace s2sfast {
namespace cuda {

template <class T>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_scan(const PointerInputs<T> in, int64_t tiles, SumOfExps* partials) {
  const int64_t row = blockIdx.x, tile = own_tile();
  if (tile >= tiles) return;
  Real<T> x[kGroup];
  load_group(in.logits.row(row) + tile * kTile, in.sizes.vocab - tile * kTile, x);
  const TileTop<Real<T>> top = top_of(x);
  const double sum = sum_of_exps(x, top);
  const bool bad = __any_sync(kAllLanes, top.bad);
  if (lane_id() == 0) partials[row * tiles + tile] = {sum, static_cast<double>(top.all), bad};
}

template <class R>
__global__ void __launch_bounds__(kPointerThreads)
    pointer_join(int64_t rows, int64_t tiles, const SumOfExps* partials, R* lse) {
  const int64_t row = own_row();
  if (row >= rows) return;
  const SumOfExps* mine = partials + row * tiles;
  double top = -INFINITY;
  bool bad = false;
  for (int64_t tile = lane_id(); tile < tiles; tile += kWarp) {
    top = max_of(top, mine[tile].pivot);
    bad |= mine[tile].bad;
  }
  top = warp_max(top);
  bad = __any_sync(kAllLanes, bad);
  double sum = 0;
  for (int64_t tile = lane_id(); tile < tiles; tile += kWarp)
    if (mine[tile].pivot > -INFINITY) sum += mine[tile].sum * exp(mine[tile].pivot - top);
  sum = warp_sum(sum);
  if (lane_id() == 0)
    lse[row] = bad ? static_cast<R>(NAN) : top > -INFINITY ? static_cast<R>(top + log(sum)) : static_cast<R>(top);
}

}  // namespace cuda

size_t pointer_scan_cuda_workspace_bytes(const PointerSizes& s) {
  return s.rows * cuda::tiles_of(s.vocab) * sizeof(SumOfExps);
}

template <class T>
int pointer_scan_cuda(const PointerInputs<T>& in, Real<T>* lse, void* workspace, CudaTarget target) {
  const PointerSizes& s = in.sizes;
  if (s.rows == 0) return cudaSuccess;  // a grid of zero blocks is an error
  if (const int error = cuda_set_device(target.device)) return error;
  const auto stream = static_cast<cudaStream_t>(target.stream);
  auto* partials = static_cast<SumOfExps*>(workspace);
  const int64_t tiles = cuda::tiles_of(s.vocab);
  if (tiles)
    cuda::pointer_scan<T>
        <<<cuda::grid_of_tiles(s.rows, s.vocab), cuda::kPointerThreads, 0, stream>>>(in, tiles, partials);
  cuda::pointer_join<Real<T>>
      <<<cuda::grid_of_rows(s.rows), cuda::kPointerThreads, 0, stream>>>(s.rows, tiles, partials, lse);
  return cudaGetLastError();
}

template int pointer_scan_cuda(const PointerInputs<float>&, float*, void*, CudaTarget);
template int pointer_scan_cuda(const PointerInputs<double>&, double*, void*, CudaTarget);
template int pointer_scan_cuda(const PointerInputs<BFloat16>&, float*, void*, CudaTarget);
template int pointer_scan_cuda(const PointerInputs<Half>&, float*, void*, CudaTarget);

}  // namespace s2sfast
