#pragma once
// Where the taps of a shift move the focus to.
#include <optional>
#include <vector>

#include "common/torch.h"

namespace s2sfast {

// One offset for each tap, in [0, slots).
inline std::vector<int64_t> checked_offsets(const char* op, int64_t taps, int64_t slots,
                                            const std::optional<std::vector<int64_t>>& given) {
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
