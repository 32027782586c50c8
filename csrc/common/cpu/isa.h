#pragma once
// Which build of the CPU kernels runs. Each *_cpu.cpp is compiled once per instruction set, into a namespace of that
// name; code outside of it calls the build in use through S2SFAST_DISPATCH.

namespace s2sfast {

enum class Isa { baseline, avx2, avx512 };
inline constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

Isa isa();       // chosen once, at the first call: the best this processor has, or what S2SFAST_ISA names
Isa best_isa();  // the best this processor has
const char* isa_name();
const char* isa_error();  // nullptr, or why S2SFAST_ISA cannot be followed; the Python package raises it at import

}  // namespace s2sfast

// Declares the same functions in the namespace of every build. One list, one place.
#ifdef __x86_64__
#define S2SFAST_DECLARE_KERNELS(...) \
  namespace s2sfast::baseline {      \
  __VA_ARGS__                        \
  }                                  \
  namespace s2sfast::avx2 {          \
  __VA_ARGS__                        \
  }                                  \
  namespace s2sfast::avx512 {        \
  __VA_ARGS__                        \
  }
#define S2SFAST_DISPATCH(kernel, ...)                                                  \
  (::s2sfast::isa() == ::s2sfast::Isa::avx512 ? ::s2sfast::avx512::kernel(__VA_ARGS__) \
   : ::s2sfast::isa() == ::s2sfast::Isa::avx2 ? ::s2sfast::avx2::kernel(__VA_ARGS__)   \
                                              : ::s2sfast::baseline::kernel(__VA_ARGS__))
#else
#define S2SFAST_DECLARE_KERNELS(...) \
  namespace s2sfast::baseline {      \
  __VA_ARGS__                        \
  }
#define S2SFAST_DISPATCH(kernel, ...) ::s2sfast::baseline::kernel(__VA_ARGS__)
#endif
