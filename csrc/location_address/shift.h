#pragma once
// Where the taps of a shift move the focus to.
#include <optional>
#include <vector>

#include "common/device.h"
#include "common/torch.h"
#include "location_address/location_address.h"

namespace s2sfast {

// One offset for each tap, in [0, slots), for a call on the device of `like`.
inline std::vector<int64_t> checked_offsets(const char* op, const Tensor& like, int64_t taps, int64_t slots,
                                            const std::optional<std::vector<int64_t>>& given) {
  check(taps <= kCudaTaps || !on_cuda(like), op, ": expected at most ", kCudaTaps, " shift taps on CUDA; got ", taps);
  check(given || taps % 2, op, ": expected shift_offsets where the number of taps is even; got None for S=", taps);
  check(!given || static_cast<int64_t>(given->size()) == taps, op, ": expected shift_offsets of S=", taps,
        " integers; got ", given ? given->size() : 0);
  std::vector<int64_t> offsets(taps);
  for (int64_t s = 0; s < taps && slots; ++s) {
    const int64_t offset = (given ? (*given)[s] : s - taps / 2) % slots;
    offsets[s] = offset < 0 ? offset + slots : offset;
  }
  return offsets;
}

}  // namespace s2sfast
