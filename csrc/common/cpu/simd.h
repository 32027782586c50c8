#pragma once
// The widest float vector of the instruction set being compiled, and the dozen operations the kernels need on it.
// + - * are the compiler's own on vector types. Include only from files that are compiled once per instruction set:
// everything here has internal linkage, so that no AVX code can leak into another build.
#include <cstdint>
#include <cstring>

#include "common/numbers.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace s2sfast::S2SFAST_ISA {
namespace {

#if defined(__AVX512F__)

using Vec = __m512;
constexpr int kLanes = 16;

inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec load(const Half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Vec load(const BFloat16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
// max(a, b) is b when either is NaN; so max(bound, x) keeps a NaN in x.
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec scale_by_power_of_two(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }
// x 2^n for a normal result, with n + 127 in the lowest 8 bits of `shifted`, whichever is faster to use.
inline Vec scale_to_normal(Vec x, Vec n, Vec /*shifted*/) { return _mm512_scalef_ps(x, n); }
inline uint32_t lanes_at_least(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline uint32_t lanes_not_below(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }  // NaN counts

// Sums of vectors in float64, lane by lane.
struct WideSum {
  __m512d low = _mm512_setzero_pd(), high = low;
  void add(Vec x) {
    low += _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    high += _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  }
};

#elif defined(__AVX2__)

using Vec = __m256;
constexpr int kLanes = 8;

inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec load(const Half* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec load(const BFloat16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
// In two steps, each by a normal number: a single 2^n would leave the exponent range where the result is subnormal.
inline Vec scale_by_power_of_two(Vec x, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
  return x * _mm256_castsi256_ps(first) * _mm256_castsi256_ps(second);
}
inline Vec scale_to_normal(Vec x, Vec /*n*/, Vec shifted) {
  return x * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
}
inline uint32_t lanes_at_least(Vec a, Vec b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
inline uint32_t lanes_not_below(Vec a, Vec b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)); }

struct WideSum {
  __m256d low = _mm256_setzero_pd(), high = low;
  void add(Vec x) {
    low += _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    high += _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  }
};

#else  // any processor, by the compiler's portable vectors

using Vec = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr int kLanes = 4;

inline Vec splat(float x) { return Vec{x, x, x, x}; }
inline Vec load(const float* p) {
  Vec x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <class T>
inline Vec load(const T* p) {
  return Vec{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
}
inline void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec scale_by_power_of_two(Vec x, Vec n) {
  const Ints whole = __builtin_convertvector(n, Ints), half = whole >> 1;
  return x * reinterpret_cast<Vec>((half + 127) << 23) * reinterpret_cast<Vec>((whole - half + 127) << 23);
}
inline Vec scale_to_normal(Vec x, Vec /*n*/, Vec shifted) {
  return x * reinterpret_cast<Vec>(reinterpret_cast<Ints>(shifted) << 23);
}
inline uint32_t bits(Ints mask) { return (mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8); }
inline uint32_t lanes_at_least(Vec a, Vec b) { return bits(a >= b); }
inline uint32_t lanes_not_below(Vec a, Vec b) { return bits(~(a < b)); }

struct WideSum {
  using Doubles = double __attribute__((vector_size(16)));
  Doubles low{}, high{};
  void add(Vec x) {
    low += Doubles{x[0], x[1]};
    high += Doubles{x[2], x[3]};
  }
};

#endif

constexpr int kDoubles = kLanes / 2;
using Doubles = double __attribute__((vector_size(kDoubles * 8)));
using Longs = int64_t __attribute__((vector_size(kDoubles * 8)));

inline Doubles load_doubles(const double* p) {
  Doubles x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

inline Doubles splat_double(double x) { return Doubles{} + x; }

// Beyond float's range: its largest number instead, as in to_float(double).
inline Doubles finite_in_float(Doubles x) {
  const Doubles largest = splat_double(std::numeric_limits<float>::max()), infinity = splat_double(__builtin_inf());
  x = x > largest ? (x < infinity ? largest : x) : x;
  return x < -largest ? (x > -infinity ? -largest : x) : x;
}

// A double is rounded to float, finite ones to finite ones: good for a filter, not for a sum.
inline Vec load(const double* p) {
  using HalfVec = float __attribute__((vector_size(kDoubles * 4)));
  const HalfVec halves[] = {__builtin_convertvector(finite_in_float(load_doubles(p)), HalfVec),
                            __builtin_convertvector(finite_in_float(load_doubles(p + kDoubles)), HalfVec)};
  Vec x;
  std::memcpy(&x, halves, sizeof x);
  return x;
}

// The first n < kLanes of them; the other lanes hold `fill`.
template <class T>
inline Vec load_part(const T* p, int64_t n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? to_float(p[i]) : fill;
  return load(lanes);
}

// Calls each(vector of `p`, index) over n elements; the last vector is filled up.
template <class T, class Each>
inline void each_vector(const T* p, int64_t n, float fill, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) each(load(p + i), i);
  if (i < n) each(load_part(p + i, n - i, fill), i);
}

// Joins the lanes of a vector by folding halves onto each other: a fixed order, the same for every call.
template <class Number, class Vector, class Join>
inline Number fold(const Vector& x, Join join) {
  constexpr int count = sizeof(Vector) / sizeof(Number);
  Number lanes[count];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int width = count / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = join(lanes[i], lanes[i + width]);
  return lanes[0];
}

inline float sum_of(Vec x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(x);  // by halves too
#else
  return fold<float>(x, [](float a, float b) { return a + b; });
#endif
}
inline double sum_of(Doubles x) {
  return fold<double>(x, [](double a, double b) { return a + b; });
}
inline double sum_of(const WideSum& sum) {
  return fold<double>(sum, [](double a, double b) { return a + b; });
}
inline double max_of(Doubles x) {
  return fold<double>(x, [](double a, double b) { return a > b ? a : b; });
}
inline float max_of(Vec x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(x);
#else
  return fold<float>(x, [](float a, float b) { return a > b ? a : b; });
#endif
}

inline Vec sqrt(Vec x) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
inline Doubles sqrt(Doubles x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
}

inline void scale(WideSum& sum, double factor) {
  sum.low *= factor;
  sum.high *= factor;
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
