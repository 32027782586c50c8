#pragma once
// The loss of a pointer-generator (formula and source: pointer_mixture/pointer.h): -log P(target), without P's other
// V - 1 numbers. The forward pass reads the logits once, for their log-sum-exp, which is all it keeps. With
//
//   s = exp(generated - log P):   dlogits_v = grad s (softmax_v - [v = target]),   dweights_t = -grad (1 - p) / P
//
// where ids_t = target; the backward pass reads the logits once more and writes their gradient.
#include "common/saturated.h"
#include "pointer_mixture/pointer.h"

namespace s2sfast {

template <class T>
struct PointerNllInputs : PointerInputs<T> {
  const int64_t* targets;  // (R,) of at least 0, or ignored
  int64_t ignore_index;
};

// A negative target that is not ignored is left in `faults`, with row, what was found and ignore_index; its loss is
// NaN.
enum PointerNllCudaFault : int { kPointerNllBadTarget = 1 };
template <class T>
int pointer_nll_cuda(const PointerNllInputs<T>&, Real<T>* losses, Real<T>* lse, void* workspace, CudaFault* faults,
                     CudaTarget);
template <class T>
int pointer_nll_backward_cuda(const PointerNllInputs<T>&, const Real<T>* lse, const Real<T>* grad,
                              const PointerGradients<T>&, Real<T>* factors, CudaTarget);

namespace {

// What a row's loss is made of.
template <class R>
struct PointerTarget {
  R generated, log_copy, mass;
};

}  // namespace
}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(
    // After pointer_scan of all the row's pieces: its loss and log-sum-exp.
    template <class T>
    void pointer_nll(const PointerNllInputs<T>&, int64_t row, const SumOfExps* partials, Real<T>* losses, Real<T>* lse);
    // The row's gradients but that of the logits, whose factor is returned; then pieces [begin, end) of that one.
    template <class T> Real<T> pointer_nll_weigh(const PointerNllInputs<T>&, int64_t row, const Real<T>* lse,
                                                 const Real<T>* grad, const PointerGradients<T>&);
    template <class T> void pointer_nll_spread(const PointerNllInputs<T>&, int64_t row, const Real<T>* lse,
                                               Real<T> factor, T* out, int64_t begin, int64_t end);)
