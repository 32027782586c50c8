// The elementary functions of one build, and the conversions of numbers.h, against long double. S2SFAST_EXHAUSTIVE=1
// takes exp, tanh and log at every float instead of every 97th.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "check.h"
#include "common/cpu/vector.h"
#include "common/numbers.h"

namespace s2sfast::test {
namespace {

constexpr float kInf = INFINITY, kNan = NAN;

using Function = decltype(&baseline::vector_exp);

struct Build {
  Function exp, tanh, log;
  decltype(&baseline::vector_exp_double) exp_double;
  decltype(&baseline::vector_max) max;
  decltype(&baseline::vector_sum) sum;
  decltype(&baseline::vector_dot) dot;
};

Build build_of(Isa isa) {
  switch (isa) {
#ifdef __x86_64__
    case Isa::avx512:
      return {avx512::vector_exp, avx512::vector_tanh, avx512::vector_log, avx512::vector_exp_double,
              avx512::vector_max, avx512::vector_sum,  avx512::vector_dot};
    case Isa::avx2:
      return {avx2::vector_exp, avx2::vector_tanh, avx2::vector_log, avx2::vector_exp_double,
              avx2::vector_max, avx2::vector_sum,  avx2::vector_dot};
#endif
    default:
      return {baseline::vector_exp, baseline::vector_tanh, baseline::vector_log, baseline::vector_exp_double,
              baseline::vector_max, baseline::vector_sum,  baseline::vector_dot};
  }
}

// --- exp, float64 ------------------------------------------------------------------------------------

constexpr long double kExpDoubleBound = 2;  // ulp; exp_double.h says so too

void check_exp_double(const Build& build, Isa isa) {
  std::vector<double> x{0.0, -0.0, 700, -700, kNan, -double{kInf}, 88, -1e-300, 0.34657359027997264};
  for (int i = -700'000; i <= 88'000; ++i) x.push_back(1e-3 * i + 1e-7 * (i % 1000));
  for (double tiny = 1; tiny > 1e-300; tiny *= 0.37) x.insert(x.end(), {tiny, -tiny});
  std::vector<double> y(x.size());
  build.exp_double(x.data(), y.data(), static_cast<int64_t>(x.size()));
  long double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      check(std::isnan(y[i]), "exp in float64 of NaN: got ", y[i]);
      continue;
    }
    const long double exact = std::exp(static_cast<long double>(std::max(x[i], -700.0)));
    const long double ulp = std::ldexp(1.0L, std::ilogb(exact) - 52), error = std::fabs(y[i] - exact) / ulp;
    largest = std::max(largest, error);
    check(error <= kExpDoubleBound, "exp in float64 of ", x[i], ": ", static_cast<double>(error), " ulp");
  }
  std::cout << kIsaNames[static_cast<int>(isa)] << ": exp in float64 at " << x.size() << " numbers; largest error "
            << largest << " ulp\n";
  for (int64_t n = 0; n < 40; ++n) {  // tails: what is written, and what is not
    std::vector<double> out(n + 1, -5);
    build.exp_double(x.data() + 9, out.data(), n);
    check(out[n] == -5, "exp in float64 wrote beyond ", n);
    for (int64_t i = 0; i < n; ++i) check(out[i] == y[9 + i], "exp in float64, n ", n, ", element ", i);
  }
}

// --- functions over all floats -----------------------------------------------------------------------

// Distance in units in the last place of the exact number; infinity stands for 2^128, where float32 overflows.
long double ulps(float got, long double exact) {
  if (got == kInf && exact >= 0x1p128L) return 0;
  const long double number = got == kInf ? 0x1p128L : static_cast<long double>(got);
  return std::ldexp(std::fabs(number - exact), 23 - std::max(std::ilogb(exact), -126));
}

struct Worst {
  long double ulp = 0;
  float x = 0;
  void take(long double error, float at) {
    if (error > ulp) *this = {error, at};
  }
};

template <class Errors>
void check_at(Function function, const std::vector<float>& x, Errors& errors) {
  std::vector<float> y(x.size());
  function(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) errors.add(x[i], y[i]);
}

template <class Errors>
void check_over_all_floats(Function function, Errors& errors) {
  const char* exhaustive = std::getenv("S2SFAST_EXHAUSTIVE");
  const uint64_t stride = exhaustive && std::string_view(exhaustive) == "1" ? 1 : 97;
  std::vector<float> x;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32;) {
    x.clear();
    for (; x.size() < 4096 && bits < uint64_t{1} << 32; bits += stride)
      x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
    check_at(function, x, errors);
  }
}

// Zeros, infinities, NaNs, and the 2000 floats on either side of each point.
std::vector<float> special_floats(const std::vector<float>& points) {
  std::vector<float> x = {0.0f, -0.0f, kInf, -kInf, kNan, -kNan, FLT_MAX, -FLT_MAX};
  for (float point : points) {
    float up = point, down = point;
    x.push_back(point);
    for (int i = 0; i < 2000; ++i) {
      x.push_back(up = std::nextafter(up, kInf));
      x.push_back(down = std::nextafter(down, -kInf));
    }
  }
  return x;
}

void check_writes_n_and_no_more(Function function, const char* name) {
  std::vector<float> all(70), y(70);
  for (int i = 0; i < 70; ++i) all[i] = static_cast<float>(i) * 0.37f - 20;
  function(all.data(), y.data(), 70);
  for (int n = 0; n <= 70; ++n) {
    const std::vector<float> x(all.begin(), all.begin() + n);
    std::vector<float> out(n + 1, -1.0f);
    function(x.data(), out.data(), n);
    for (int i = 0; i < n; ++i) check_same(out[i], y[i], name, " in an array of ", n, ", at ", i);
    check_same(out[n], -1.0f, name, ": what stands behind an array of ", n);
  }
}

// --- exp -------------------------------------------------------------------------------------------

constexpr long double kExpBound = 1.01L;  // ulp, where the result is normal; exp.h says so too

class ExpErrors {
 public:
  void add(float x, float got) {
    ++count_;
    if (std::isnan(x)) return check(std::isnan(got), "exp of NaN: got ", got);
    if (x >= 89.0f) return check(got == kInf, "exp(", x, "): expected inf; got ", got);
    if (x <= -104.0f) return check(std::bit_cast<uint32_t>(got) == 0, "exp(", x, "): expected 0; got ", got);
    const long double exact = std::exp(static_cast<long double>(x));
    if (exact >= FLT_MIN)
      add_normal(x, got, exact);
    else
      add_subnormal(x, got, exact);
  }

  void print(const char* isa) const {
    std::cout << isa << ": exp at " << count_ << " floats; largest error " << normal_.ulp << " ulp at x=" << normal_.x
              << " where normal, " << subnormal_.ulp << " ulp at x=" << subnormal_.x << " where subnormal\n";
  }

 private:
  void add_normal(float x, float got, long double exact) {
    const long double error = ulps(got, exact);
    normal_.take(error, x);
    check(error <= kExpBound, "exp(", x, "): expected ", exact, "; got ", got, ", off by ", error, " ulp");
  }
  void add_subnormal(float x, float got, long double exact) {
    const float rounded = static_cast<float>(exact);
    subnormal_.take(ulps(got, exact), x);
    check(std::fabs(got - rounded) <= FLT_TRUE_MIN && !std::signbit(got), "exp(", x, "): expected ", rounded,
          " or its neighbour; got ", got);
  }

  int64_t count_ = 0;
  Worst normal_, subnormal_;
};

// Where something changes, or is worst.
const std::vector<float> kExpPoints = {
    0.0f,        FLT_MIN, -FLT_MIN,     0x1p-24f,    -0x1p-24f, 0.346573590f, -0.346573590f, 1.0f,
    -1.0f,       88.0f,   88.722839f,   89.0f,       -87.0f,    -87.336548f,  -88.0f,        -103.27893f,
    -103.97208f, -104.0f, -27.3791351f, 5.19933558f, -5.86065f, 59.2974052f,  // the largest errors of all floats
};

void check_exp(const Build& build, Isa isa) {
  ExpErrors errors;
  check_at(build.exp, special_floats(kExpPoints), errors);
  check_over_all_floats(build.exp, errors);
  errors.print(kIsaNames[static_cast<int>(isa)]);
  check_writes_n_and_no_more(build.exp, "exp");
  float zero = 0, one = 0;
  build.exp(&zero, &one, 1);
  check_same(one, 1.0f, "exp(0)");
}

// --- tanh ------------------------------------------------------------------------------------------

constexpr long double kTanhBound = 6.1L;  // ulp; with fma 5.6

class TanhErrors {
 public:
  explicit TanhErrors(Function tanh) : tanh_(tanh) {}

  void add(float x, float got) {
    ++count_;
    if (std::isnan(x)) return check(std::isnan(got), "tanh of NaN: got ", got);
    const float opposite = -x;
    float mirrored = 0;
    tanh_(&opposite, &mirrored, 1);
    check(mirrored == -got, "tanh(", -x, "): expected ", -got, "; got ", mirrored);
    if (x == 0) return check(got == 0, "tanh(", x, "): expected 0; got ", got);
    const long double exact = std::tanh(static_cast<long double>(x)), error = ulps(got, exact);
    check(std::fabs(got) <= 1, "tanh(", x, "): expected at most 1; got 1+", std::fabs(got) - 1);
    (std::fabs(x) < FLT_MIN ? subnormal_ : normal_).take(error, x);
    check(error <= kTanhBound, "tanh(", x, "): expected ", exact, "; got ", got, ", off by ", error, " ulp");
  }

  void print(const char* isa) const {
    std::cout << isa << ": tanh at " << count_ << " floats; largest error " << normal_.ulp << " ulp at x=" << normal_.x
              << ", " << subnormal_.ulp << " ulp at x=" << subnormal_.x << " where subnormal\n";
  }

 private:
  Function tanh_;
  int64_t count_ = 0;
  Worst normal_, subnormal_;
};

void check_tanh(const Build& build, Isa isa) {
  TanhErrors errors(build.tanh);
  check_at(build.tanh,
           special_floats({0.0f, FLT_MIN, -FLT_MIN, 0x1p-12f, -0x1p-12f, 0.5493061443f, 1.0f, -1.0f, 8.6f, -8.6f,
                           9.0109131f, 20.0f, -20.0f}),
           errors);
  check_over_all_floats(build.tanh, errors);
  errors.print(kIsaNames[static_cast<int>(isa)]);
  check_writes_n_and_no_more(build.tanh, "tanh");
}

// --- log -------------------------------------------------------------------------------------------

constexpr long double kLogBound = 0.92L;  // ulp; log.h says so too

class LogErrors {
 public:
  void add(float x, float got) {
    if (std::isnan(x)) return check(std::isnan(got), "log of NaN: got ", got);
    if (!(x >= FLT_MIN && x <= FLT_MAX)) return;
    ++count_;
    if (x == 1) return check(std::bit_cast<uint32_t>(got) == 0, "log(1): expected 0; got ", got);
    const long double exact = std::log(static_cast<long double>(x)), error = ulps(got, exact);
    worst_.take(error, x);
    check(error <= kLogBound, "log(", x, "): expected ", exact, "; got ", got, ", off by ", error, " ulp");
  }

  void print(const char* isa) const {
    std::cout << isa << ": log at " << count_ << " floats; largest error " << worst_.ulp << " ulp at x=" << worst_.x
              << '\n';
  }

 private:
  int64_t count_ = 0;
  Worst worst_;
};

const std::vector<float> kLogPoints = {
    1.0f,        0.5f,    2.0f,    0.70710678f, 1.41421356f,
    0.35355339f, FLT_MIN, FLT_MAX, 0.70694232f, 0.706659257f,  // the largest errors of all floats
};

void check_log(const Build& build, Isa isa) {
  LogErrors errors;
  check_at(build.log, special_floats(kLogPoints), errors);
  check_over_all_floats(build.log, errors);
  errors.print(kIsaNames[static_cast<int>(isa)]);
  check_writes_n_and_no_more(build.log, "log");
}

// --- max, sum, dot ----------------------------------------------------------------------------------

std::vector<float> random_floats(Random& random, int64_t n) {
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(std::ldexp(random.uniform(-1, 1), static_cast<int>(random.below(24))));
  return x;
}

int64_t size_of(const std::vector<float>& x) { return static_cast<int64_t>(x.size()); }

float naive_max(const std::vector<float>& x) {
  float best = -kInf;
  for (float v : x)
    if (v > best) best = v;
  return best;
}

void check_max(const Build& build) {
  Random random(1);
  for (int64_t n = 0; n <= 70; ++n) {
    std::vector<float> x = random_floats(random, n);
    check_same(build.max(x.data(), n), naive_max(x), "max of ", n);
    for (int64_t i = 0; i < n; ++i) {
      for (float special : {kNan, -kNan, -kInf, kInf, FLT_MAX, -FLT_MAX}) {
        const float before = std::exchange(x[i], special);
        check_same(build.max(x.data(), n), naive_max(x), "max of ", n, " with ", special, " at ", i);
        x[i] = before;
      }
    }
    for (float fill : {kNan, -kInf, -FLT_MAX}) {
      const std::vector<float> filled(n, fill);
      check_same(build.max(filled.data(), n), naive_max(filled), "max of ", n, " times ", fill);
    }
  }
}

// Any order of n additions of products is within this much of the exact sum (Higham 2002, section 3.1).
long double rounding_bound(int64_t n, long double sum_of_magnitudes) {
  return static_cast<long double>(n + 1) * 0x1p-24L * sum_of_magnitudes * (1 + 1e-3L);
}

void check_sum_and_dot_of(const Build& build, const std::vector<float>& x, const std::vector<float>& y) {
  long double sum = 0, dot = 0, sum_magnitude = 0, dot_magnitude = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const long double product = static_cast<long double>(x[i]) * y[i];
    sum += x[i], sum_magnitude += std::fabs(x[i]);
    dot += product, dot_magnitude += std::fabs(product);
  }
  const int64_t n = size_of(x);
  const float got_sum = build.sum(x.data(), n), got_dot = build.dot(x.data(), y.data(), n);
  check(std::fabs(got_sum - sum) <= rounding_bound(n, sum_magnitude), "sum of ", n, ": expected ", sum, "; got ",
        got_sum);
  check(std::fabs(got_dot - dot) <= rounding_bound(n, dot_magnitude), "dot of ", n, ": expected ", dot, "; got ",
        got_dot);
}

// At any address and in any call: the same bits.
void check_sum_and_dot_repeat(const Build& build, const std::vector<float>& x, const std::vector<float>& y) {
  const int64_t n = size_of(x);
  const float sum = build.sum(x.data(), n), dot = build.dot(x.data(), y.data(), n);
  for (int shift = 0; shift < 4; ++shift) {
    std::vector<float> moved_x(shift, kNan), moved_y(2 * shift, kNan);
    moved_x.insert(moved_x.end(), x.begin(), x.end());
    moved_y.insert(moved_y.end(), y.begin(), y.end());
    check_same(build.sum(moved_x.data() + shift, n), sum, "sum of the same ", n, ", moved by ", shift);
    check_same(build.dot(moved_x.data() + shift, moved_y.data() + 2 * shift, n), dot, "dot of the same ", n,
               ", moved by ", shift);
  }
}

void check_sum_and_dot_propagate(const Build& build, int64_t n) {
  const std::vector<float> ones(n, 1.0f);
  std::vector<float> x = ones;
  for (int64_t i = 0; i < n; ++i) {
    for (float special : {kNan, kInf, -kInf}) {
      x[i] = special;
      check_same(build.sum(x.data(), n), special, "sum of ", n, " with ", special, " at ", i);
      check_same(build.dot(x.data(), ones.data(), n), special, "dot of ", n, " with ", special, " on the left at ", i);
      check_same(build.dot(ones.data(), x.data(), n), special, "dot of ", n, " with ", special, " on the right at ", i);
      if (n == 1) continue;
      const int64_t next = (i + 1) % n;
      x[next] = -special;
      check_same(build.sum(x.data(), n), kNan, "sum of ", n, " with both infinities or NaN at ", i);
      x[next] = 1;
    }
    std::vector<float> zero = ones;
    zero[i] = 0;
    check_same(build.dot(x.data(), zero.data(), n), kNan, "dot of ", n, " with 0 * inf at ", i);
    x[i] = 1;
  }
}

void check_sum_and_dot(const Build& build) {
  Random random(2);
  std::vector<int64_t> lengths = {100, 127, 1000, 4096, 16385, 100003};
  for (int64_t n = 0; n <= 70; ++n) lengths.push_back(n);
  for (int64_t n : lengths) {
    const std::vector<float> x = random_floats(random, n), y = random_floats(random, n);
    check_sum_and_dot_of(build, x, y);
    check_sum_and_dot_repeat(build, x, y);
    if (n <= 70) check_sum_and_dot_propagate(build, n);
  }
}

// --- numbers.h ----------------------------------------------------------------------------------------

// An IEEE-like number of `fraction` stored bits, from its definition.
double decode(uint32_t bits, int exponent_bits, int fraction_bits) {
  const int top = (1 << exponent_bits) - 1, bias = top / 2;
  const int exponent = static_cast<int>(bits >> fraction_bits) & top;
  const double fraction = bits & ((1u << fraction_bits) - 1);
  const double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
  if (exponent == top) return fraction != 0 ? kNan : sign * kInf;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + std::ldexp(1.0, fraction_bits), exponent - bias - fraction_bits);
}

void check_sixteen_bits() {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const double half = decode(bits, 5, 10), bfloat = decode(bits, 8, 7);
    const float got_half = to_float(Half{bits}), got_bfloat = to_float(BFloat16{bits});
    check_same(static_cast<double>(got_half), half, "to_float(Half) of the bits ", i);
    check_same(static_cast<double>(got_bfloat), bfloat, "to_float(BFloat16) of the bits ", i);
    if (std::isnan(half)) continue;
    check(std::signbit(got_half) == std::signbit(half), "sign of to_float(Half) of the bits ", i);
    check(std::isnan(bfloat) || std::signbit(got_bfloat) == std::signbit(bfloat),
          "sign of to_float(BFloat16) of the bits ", i);
  }
}

void check_double() {
  const struct {
    double x;
    float expected;
  } cases[] = {
      {0.0, 0.0f},
      {1 + 0x1p-24, 1.0f},  // a tie goes to even
      {1 + 0x1.8p-23, 1 + 0x1p-22f},
      {1 + 0x1.000001p-24, 1 + 0x1p-23f},
      {0x1p-149, 0x1p-149f},
      {0x1p-150, 0.0f},
      {0x1.8p-150, 0x1p-149f},
      {5e-324, 0.0f},
      {FLT_MAX, FLT_MAX},
      {0x1.fffffe8p127, FLT_MAX},  // below the middle of FLT_MAX and 2^128
      {0x1.ffffffp127, FLT_MAX},   // the middle, and above: finite stays finite
      {0x1.ffffff8p127, FLT_MAX},
      {0x1p128, FLT_MAX},
      {1e300, FLT_MAX},
      {DBL_MAX, FLT_MAX},
      {kInf, kInf},
  };
  for (const auto& c : cases) {
    check_same(to_float(c.x), c.expected, "to_float(double) of ", c.x);
    check_same(to_float(-c.x), -c.expected, "to_float(double) of ", -c.x);
  }
  check_same(to_float(std::numeric_limits<double>::quiet_NaN()), kNan, "to_float(double) of NaN");
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  using namespace s2sfast::test;
  const s2sfast::Isa isa = isa_argument(argc, argv);
  const Build build = build_of(isa);
  check_exp(build, isa);
  check_exp_double(build, isa);
  check_tanh(build, isa);
  check_log(build, isa);
  check_max(build);
  check_sum_and_dot(build);
  check_sixteen_bits();
  check_double();
  return exit_code();
}
