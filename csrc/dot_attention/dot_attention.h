#pragma once
// Attention by dot products, score[b, q, t] = scale query[b, q] . keys[b, t]: stages of attention/attention.h, or for a
// few queries on the device:
#include "attention/decode.h"

namespace s2sfast {

template <class T>
int dot_decode_cuda(const AttentionDecode<T>&, double scale, CudaTarget);

}  // namespace s2sfast
