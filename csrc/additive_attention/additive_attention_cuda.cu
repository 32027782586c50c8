// attention/decode.cuh with additive scores.
#include "additive_attention/additive_attention.h"
#include "attention/decode.cuh"
#include "common/cuda/tanh.cuh"

namespace s2sfast {
namespace cuda {

// score = sum_d v[d] tanh(x[d]); see DotScore
template <class T, bool kFeatures>
struct AdditiveScore {
  using R = Real<T>;
  static constexpr int64_t kReading = kDecodeComputing;
  static constexpr bool kSquares = false;
  static constexpr int kStaged = 1;
  AdditiveInputs<T> in;

  __device__ R staged(int64_t column) const { return in.v[column]; }
  __device__ R partial(int64_t b, int64_t q, int64_t t, int64_t first, int loads, const KeyPart<T>& key, const R* query,
                       const R* v) const {
    KeyPart<T> x;
    each_of_part<T>(loads, [&](int i, int j, int column) { x[i][j] = query[column] + key[i][j]; });
    if constexpr (kFeatures) {
      const T* features = in.features_of(b, q, t);
      for (int64_t c = 0; c < in.channels; ++c) {
        const R feature = real(features[c]);
        const R* weight = in.feature_weight + c * in.width + first;
        each_of_part<T>(loads, [&](int i, int j, int column) {
          if (first + column < in.width) x[i][j] = fma(feature, weight[column], x[i][j]);
        });
      }
    }
    R sum = 0;
    each_of_part<T>(loads, [&](int i, int j, int column) { sum = fma(v[column], tanh_of(x[i][j]), sum); });
    return sum;
  }
  __device__ R finish(int64_t, int64_t, R sum, R, R) const { return sum; }
};

}  // namespace cuda

template <class T>
int additive_decode_cuda(const AttentionDecode<T>& in, const AdditiveInputs<T>& additive, CudaTarget target) {
  if (additive.channels) return cuda::decode(in, cuda::AdditiveScore<T, true>{additive}, target);
  return cuda::decode(in, cuda::AdditiveScore<T, false>{additive}, target);
}

template int additive_decode_cuda(const AttentionDecode<float>&, const AdditiveInputs<float>&, CudaTarget);
template int additive_decode_cuda(const AttentionDecode<double>&, const AdditiveInputs<double>&, CudaTarget);
template int additive_decode_cuda(const AttentionDecode<BFloat16>&, const AdditiveInputs<BFloat16>&, CudaTarget);
template int additive_decode_cuda(const AttentionDecode<Half>&, const AdditiveInputs<Half>&, CudaTarget);

}  // namespace s2sfast
