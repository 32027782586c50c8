#include "common/cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace s2sfast {
namespace {

struct Choice {
  Isa isa;
  const char* error;
};

Choice choose() {
  const char* forced = std::getenv("S2SFAST_ISA");
  if (!forced || !*forced) return {best_isa(), nullptr};
  for (int i = 0; i < 3; ++i) {
    if (std::strcmp(forced, kIsaNames[i])) continue;
    if (i <= static_cast<int>(best_isa())) return {static_cast<Isa>(i), nullptr};
    return {best_isa(), "this processor does not have it"};
  }
  return {best_isa(), "expected baseline, avx2 or avx512"};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

Isa best_isa() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return Isa::avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa isa() { return choice().isa; }
const char* isa_name() { return kIsaNames[static_cast<int>(isa())]; }
const char* isa_error() { return choice().error; }

}  // namespace s2sfast
