#pragma once
// Elementary functions over arrays. The kernels inline the same code (exp.h, simd.h); these entries let tests
// and the engine call it.
#include <cstdint>

#include "common/cpu/isa.h"

S2SFAST_DECLARE_KERNELS(void vector_exp(const float* x, float* y, int64_t n);
                        void vector_exp_double(const double* x, double* y, int64_t n);  // for x in [-700, 700]
                        void vector_tanh(const float* x, float* y, int64_t n);
                        void vector_log(const float* x, float* y, int64_t n);  // of normal positive numbers, or NaN
                        float vector_max(const float* x, int64_t n);           // -inf where n is 0; NaN is passed over
                        float vector_sum(const float* x, int64_t n);           // in a fixed order of its own
                        float vector_dot(const float* x, const float* y, int64_t n);  // likewise
                        // log(sum exp(x)), -inf where n is 0; a block's maximum first, then its exponentials.
                        double vector_log_sum_exp(const float* x, int64_t n);)
