// backtrace of one build against the loop that its header states.
#include <utility>
#include <vector>

#include "backtrace/backtrace.h"
#include "check.h"

namespace s2sfast::test {
namespace {

using Backtrace = decltype(&baseline::backtrace);
constexpr int64_t kUntouched = -77;

Backtrace build_of(Isa isa) {
  switch (isa) {
#ifdef __x86_64__
    case Isa::avx512:
      return avx512::backtrace;
    case Isa::avx2:
      return avx2::backtrace;
#endif
    default:
      return baseline::backtrace;
  }
}

std::vector<int64_t> random_numbers(Random& random, int64_t n, int64_t limit) {
  std::vector<int64_t> x(n);
  for (int64_t& v : x) v = random.below(limit);
  return x;
}

struct Problem {
  BacktraceSizes sizes;
  std::vector<int64_t> parents, tokens, ends, steps;

  Problem(Random& random, BacktraceSizes s) : sizes(s) {
    const int64_t slots = s.length * s.sentences * s.beams;
    parents = random_numbers(random, slots, s.beams);
    tokens = random_numbers(random, slots, int64_t{1} << 40);
    ends = random_numbers(random, rows(), s.beams);
    if (random.chance(0.7)) steps = random_numbers(random, rows(), s.length + 1);
  }

  int64_t rows() const { return sizes.sentences * sizes.hypotheses; }
  int64_t steps_of(int64_t row) const { return steps.empty() ? sizes.length : steps[row]; }
  int64_t at(int64_t step, int64_t row, int64_t slot) const {
    return (step * sizes.sentences + row / sizes.hypotheses) * sizes.beams + slot;
  }
  BacktraceInputs inputs() const {
    return {sizes, parents.data(), tokens.data(), ends.data(), steps.empty() ? nullptr : steps.data()};
  }
};

std::vector<int64_t> naive(const Problem& p) {
  std::vector<int64_t> out(p.rows() * p.sizes.length, -1);
  for (int64_t row = 0; row < p.rows(); ++row) {
    int64_t slot = p.ends[row];
    for (int64_t l = p.steps_of(row) - 1; l >= 0; --l) {
      out[row * p.sizes.length + l] = p.tokens[p.at(l, row, slot)];
      slot = p.parents[p.at(l, row, slot)];
    }
  }
  return out;
}

void check_rows(Backtrace backtrace, const Problem& p, int64_t begin, int64_t end) {
  const std::vector<int64_t> expected = naive(p);
  std::vector<int64_t> out(expected.size(), kUntouched);
  const BacktraceFault fault = backtrace(p.inputs(), out.data(), begin, end);
  check(!fault.found, "a fault where there is none, in row ", fault.row);
  for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
    const int64_t row = i / p.sizes.length;
    check_same(out[i], row >= begin && row < end ? expected[i] : kUntouched, "rows ", begin, " to ", end, ", row ", row,
               ", step ", i % p.sizes.length);
  }
}

void check_random(Backtrace backtrace) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const Problem p(random, {random.between(0, 9), random.between(0, 4), random.between(1, 6), random.between(0, 4)});
    const int64_t begin = random.between(0, p.rows());
    check_rows(backtrace, p, 0, p.rows());
    check_rows(backtrace, p, begin, random.between(begin, p.rows()));
  }
}

void check_fault(Backtrace backtrace, const Problem& p, BacktraceFault expected, Place place) {
  std::vector<int64_t> out(p.rows() * p.sizes.length, kUntouched);
  const BacktraceFault got = backtrace(p.inputs(), out.data(), 0, p.rows());
  check(got.found, place, ": expected a fault; got none");
  check_same(got.row, expected.row, place, ", row");
  check_same(got.step, expected.step, place, ", step");
  check_same(got.beam, expected.beam, place, ", beam");
  for (size_t i = (expected.row + 1) * p.sizes.length; i < out.size(); ++i)
    check_same(out[i], kUntouched, place, ", a row behind the fault");
}

// Step l of row 3 is reached through the parent at l + 1, or through `ends`.
int64_t& slot_on_the_way(Problem& p, int64_t row, int64_t step) {
  int64_t* slot = &p.ends[row];
  for (int64_t l = p.steps_of(row) - 1; l > step; --l) slot = &p.parents[p.at(l, row, *slot)];
  return *slot;
}

void check_faults(Backtrace backtrace) {
  Random random(2);
  for (int i = 0; i < 200; ++i) {
    Problem p(random, {7, 3, 4, 1});  // one hypothesis: what is planted in a sentence is on one way only
    const int64_t row = random.below(3), steps = p.steps_of(row);
    for (int64_t bad : {int64_t{-1}, int64_t{4}, INT64_MIN, INT64_MAX}) {
      for (int64_t step = 0; step < steps; ++step) {
        int64_t& slot = slot_on_the_way(p, row, step);
        const int64_t before = std::exchange(slot, bad);
        check_fault(backtrace, p, {true, row, step, bad}, "a slot out of range");
        slot = before;
      }
    }
    if (p.steps.empty()) continue;
    for (int64_t bad : {int64_t{-1}, int64_t{8}, INT64_MIN, INT64_MAX}) {
      p.steps[row] = bad;
      check_fault(backtrace, p, {true, row, -1, bad}, "steps out of range");
    }
  }
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  using namespace s2sfast::test;
  const Backtrace backtrace = build_of(isa_argument(argc, argv));
  check_random(backtrace);
  check_faults(backtrace);
  return exit_code();
}
