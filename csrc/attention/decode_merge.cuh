#pragma once
// What the blocks of a sentence leave to be joined. Internal to decode.cuh and decode_cuda.cu.
#include "attention/decode.h"

namespace s2sfast::cuda {

template <class R>
struct DecodeParts {
  R* contexts;  // (B, parts, Q, E)
  R* tops;      // (B, parts, Q)
  R* sums;      // (B, parts, Q): of exponentials of scores less the top; -1: nothing is attended to; NaN: no number
  int64_t parts;

  template <class T>
  constexpr static DecodeParts in(const AttentionDecode<T>& in, int64_t parts) {
    const int64_t rows = in.sizes.sentences * parts * in.sizes.queries;
    R* const all = static_cast<R*>(in.workspace);
    return {all, all + rows * in.values.width, all + rows * (in.values.width + 1), parts};
  }
};

template <class T>
int merge_parts(const AttentionDecode<T>&, const DecodeParts<Real<T>>&, CudaTarget);

}  // namespace s2sfast::cuda
