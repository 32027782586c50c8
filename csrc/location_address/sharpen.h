#pragma once
// That no exponent is below 1: found at once on the CPU, late on the device.
#include "common/checked.h"
#include "location_address/location_address.h"

namespace s2sfast {

inline void check_sharpen(bool ok, const char* expected, double got, int64_t sentence, int64_t head, const char* when) {
  check(ok, expected, " >= 1; got ", got, " for sentence ", sentence, ", head ", head, when);
}

inline void raise_late_sharpen(const CudaFault& fault) {
  const auto& [sentence, head, bits, a, b] = fault.details;
  check_sharpen(false, kSharpenNames[fault.what - 1], std::bit_cast<double>(bits), sentence, head, kFoundLate);
}
inline const bool kLateSharpensAreRaised = describe_faults(CudaOp::location_address, &raise_late_sharpen);

// `what`: the place in kSharpenNames, from 1.
template <class R>
void find_bad_sharpen(const char* op, const Tensor& like, const Rows<const R>& sharpen, int64_t sentences,
                      int64_t heads, int what) {
  if (!sharpen.data) return;
  if (on_cuda(like)) {
    if constexpr (kBuiltWithCuda) {
      const CudaCall call(like);
      CudaFault* faults = fault_slot(op, CudaOp::location_address, call.target().device);
      check_launch(op, location_check_cuda(sharpen, sentences, heads, what, faults, call.target()));
    }
    return;
  }
  for (int64_t b = 0; b < sentences; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      const R got = *sharpen.row(b, h);
      check_sharpen(!(got < 1), kSharpenNames[what - 1], got, b, h, "");
    }
}

}  // namespace s2sfast
