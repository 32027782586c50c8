#pragma once
// What the native tests share. A failed check prints where it stands, what was expected and what came instead; main
// ends with exit_code().
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <random>
#include <source_location>
#include <string_view>

#include "common/cpu/isa.h"

namespace s2sfast::test {

inline constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in CMakeLists.txt
inline constexpr int kPrinted = 20;  // failures beyond these are only counted
inline int failures = 0;

// What is checked, and where: the conversion from the text takes the location of the call.
struct Place {
  Place(const char* what, std::source_location at = std::source_location::current()) : what(what), at(at) {}
  const char* what;
  std::source_location at;
};

template <class... Parts>
void check(bool ok, Place place, const Parts&... parts) {
  if (ok || ++failures > kPrinted) return;
  std::cerr << std::setprecision(17) << place.at.file_name() << ':' << place.at.line() << ": " << place.what;
  ((std::cerr << parts), ...);
  std::cerr << '\n';
}

// NaN is the same as NaN.
template <class T>
bool same(T a, T b) {
  return a == b || (a != a && b != b);
}

template <class T, class... Parts>
void check_same(T got, T expected, Place place, const Parts&... parts) {
  check(same(got, expected), place, parts..., ": expected ", expected, "; got ", got);
}

inline int exit_code() {
  if (failures) std::cerr << failures << " checks failed\n";
  return failures ? 1 : 0;
}

// The instruction set that the only argument names; ends the program where it is unknown or this processor lacks it.
inline Isa isa_argument(int argc, char** argv) {
  const std::string_view name = argc == 2 ? argv[1] : "";
  for (int i = 0; i < 3; ++i) {
    if (name != kIsaNames[i]) continue;
    if (i <= static_cast<int>(best_isa())) return static_cast<Isa>(i);
    std::cout << "skipped: this processor does not have " << name << '\n';
    std::exit(kSkipped);
  }
  std::cerr << "expected one argument: baseline, avx2 or avx512; got \"" << name << "\"\n";
  std::exit(2);
}

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(bits_() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  double uniform(double low, double high) { return low + (high - low) * static_cast<double>(bits_() >> 11) * 0x1p-53; }
  bool chance(double probability) { return uniform(0, 1) < probability; }

 private:
  std::mt19937_64 bits_;
};

}  // namespace s2sfast::test
