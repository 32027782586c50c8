#pragma once
// Attention with the scores of additive_scores.h: stages of attention/attention.h, or for a few queries on the device:
#include "additive_scores/additive_scores.h"
#include "attention/decode.h"

namespace s2sfast {

template <class T>
int additive_decode_cuda(const AttentionDecode<T>&, const AdditiveInputs<T>&, CudaTarget);

}  // namespace s2sfast
