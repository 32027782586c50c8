#include "common/cpu/normalizer.h"
#include "pointer_mixture/pointer.h"

namespace s2sfast::S2SFAST_ISA {

template <class T>
void pointer_scan(const PointerInputs<T>& in, int64_t row, SumOfExps* partials, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t first = piece * kPointerPiece;
    partials[piece] = sum_of_exps(in.logits.row(row) + first, std::min(kPointerPiece, in.sizes.vocab - first));
  }
}

template void pointer_scan(const PointerInputs<float>&, int64_t, SumOfExps*, int64_t, int64_t);
template void pointer_scan(const PointerInputs<double>&, int64_t, SumOfExps*, int64_t, int64_t);
template void pointer_scan(const PointerInputs<BFloat16>&, int64_t, SumOfExps*, int64_t, int64_t);
template void pointer_scan(const PointerInputs<Half>&, int64_t, SumOfExps*, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
