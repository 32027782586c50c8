#pragma once
// Vectors stored in a type of 2 bytes, or in their own.
#include "common/cpu/lanes.h"
#include "common/narrow.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

#if defined(__AVX512F__)
inline void store(Half* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__)
inline void store(Half* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
#endif

// (The compiler makes vectors of the loop where narrow() has no branches.)
template <class T>
inline void store(T* p, Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int i = 0; i < kLanes; ++i) narrow(lanes[i], p[i]);
}

template <class T>
inline void store_narrow(T* p, V<Real<T>> x, int64_t lanes) {
  if (lanes == kCount<Real<T>>) return store(p, x);
  Real<T> all[kCount<Real<T>>];
  store(all, x);
  for (int64_t i = 0; i < lanes; ++i) narrow(all[i], p[i]);
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
