// S2SFAST_ISA, which ctest sets to the argument (none: empty or unset), is followed or refused.
#include <string_view>
#include <vector>

#include "check.h"
#include "common/cpu/vector.h"

namespace s2sfast::test {
namespace {

Isa expected_isa(std::string_view forced, bool& refused) {
  refused = !forced.empty();
  for (int i = 0; i <= static_cast<int>(best_isa()); ++i) {
    if (forced != kIsaNames[i]) continue;
    refused = false;
    return static_cast<Isa>(i);
  }
  return best_isa();
}

// Each build adds in an order of its own, here 2^24 and ones that are lost beside it unless they meet first: lanes of
// four lose all of them, lanes of eight save one pair, lanes of sixteen two.
float sum_that_tells_the_builds_apart() {
  std::vector<float> x(32, 0.0f);
  x[0] = 0x1p24f;
  x[4] = x[12] = 1;
  x[8] = x[24] = 1;
  return S2SFAST_DISPATCH(vector_sum, x.data(), static_cast<int64_t>(x.size()));
}

void check_choice(std::string_view forced) {
  bool refused = false;
  const int expected = static_cast<int>(expected_isa(forced, refused));
  check_same(static_cast<int>(isa()), expected, "isa()");
  check_same(std::string_view(isa_name()), std::string_view(kIsaNames[expected]), "isa_name()");
  check((isa_error() != nullptr) == refused, "isa_error(): expected ", refused ? "a reason" : "none", "; got ",
        isa_error() ? isa_error() : "none");
  check_same(sum_that_tells_the_builds_apart(), 0x1p24f + 2.0f * static_cast<float>(expected), "the build called");
}

}  // namespace
}  // namespace s2sfast::test

int main(int argc, char** argv) {
  s2sfast::test::check_choice(argc > 1 ? argv[1] : "");
  return s2sfast::test::exit_code();
}
