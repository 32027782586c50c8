#pragma once
// The memory of a Neural Turing Machine: B sentences, N slots of M numbers.
#include <algorithm>
#include <cstdint>

#include "common/rows.h"

namespace s2sfast {

struct MemorySizes {
  int64_t sentences, slots, width;
};

// The work on a sentence's slots is cut into pieces of this many, whatever the number of threads.
inline constexpr int64_t kSlots = 64;
constexpr int64_t slot_pieces(const MemorySizes& s) { return (s.slots + kSlots - 1) / kSlots; }

struct SlotRange {
  int64_t begin, end;
};
constexpr SlotRange slots_of(const MemorySizes& s, int64_t piece) {
  return {piece * kSlots, std::min((piece + 1) * kSlots, s.slots)};
}

}  // namespace s2sfast
