// Arithmetic under a directed rounding mode. Compiled with -frounding-math.
#include <cfenv>
#include <limits>

#include "floats.h"

namespace ptx {
namespace {

class Mode {
 public:
  explicit Mode(Rounding rounding) : before_(std::fegetround()) {
    constexpr int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    std::fesetround(modes[static_cast<int>(rounding)]);
  }
  ~Mode() { std::fesetround(before_); }

 private:
  int before_;
};

// Keeps the operation between the two changes of the mode: the compiler knows no dependence between them.
template <typename T>
T opaque(T value) {
  asm volatile("" : "+m"(value));
  return value;
}

}  // namespace

template <typename T>
T rounded_add(Rounding rounding, T a, T b) {
  const Mode mode(rounding);
  return canonical(opaque(opaque(a) + opaque(b)));
}
template <typename T>
T rounded_multiply(Rounding rounding, T a, T b) {
  const Mode mode(rounding);
  return canonical(opaque(opaque(a) * opaque(b)));
}
template <typename T>
T rounded_divide(Rounding rounding, T a, T b) {
  const Mode mode(rounding);
  return canonical(opaque(opaque(a) / opaque(b)));
}
template <typename T>
T rounded_fma(Rounding rounding, T a, T b, T c) {
  const Mode mode(rounding);
  return canonical(opaque(std::fma(opaque(a), opaque(b), opaque(c))));
}
template <typename T>
T rounded_root(Rounding rounding, T a) {
  const Mode mode(rounding);
  return canonical(opaque(std::sqrt(opaque(a))));
}
template <typename To, typename From>
To rounded_convert(Rounding rounding, From value) {
  const Mode mode(rounding);
  return canonical(opaque(static_cast<To>(opaque(value))));
}

template f32 rounded_add(Rounding, f32, f32);
template f64 rounded_add(Rounding, f64, f64);
template f32 rounded_multiply(Rounding, f32, f32);
template f64 rounded_multiply(Rounding, f64, f64);
template f32 rounded_divide(Rounding, f32, f32);
template f64 rounded_divide(Rounding, f64, f64);
template f32 rounded_fma(Rounding, f32, f32, f32);
template f64 rounded_fma(Rounding, f64, f64, f64);
template f32 rounded_root(Rounding, f32);
template f64 rounded_root(Rounding, f64);
template f32 rounded_convert(Rounding, f64);
template f32 rounded_convert(Rounding, s32);
template f32 rounded_convert(Rounding, u32);
template f32 rounded_convert(Rounding, s64);
template f32 rounded_convert(Rounding, u64);
template f64 rounded_convert(Rounding, s64);
template f64 rounded_convert(Rounding, u64);

}  // namespace ptx
