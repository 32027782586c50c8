// attention/decode.cuh with dot products.
#include "attention/decode.cuh"
#include "dot_attention/dot_attention.h"

namespace s2sfast {

template <class T>
int dot_decode_cuda(const AttentionDecode<T>& in, double scale, CudaTarget target) {
  return cuda::decode(in, cuda::DotScore<T>{scale}, target);
}

template int dot_decode_cuda(const AttentionDecode<float>&, double, CudaTarget);
template int dot_decode_cuda(const AttentionDecode<double>&, double, CudaTarget);
template int dot_decode_cuda(const AttentionDecode<BFloat16>&, double, CudaTarget);
template int dot_decode_cuda(const AttentionDecode<Half>&, double, CudaTarget);

}  // namespace s2sfast
