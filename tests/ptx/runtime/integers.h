// What PTX's integer instructions compute, where C++ has no operator for it. (PTX ISA, "Integer Arithmetic
// Instructions", "Logic and Shift Instructions".) Translated code is compiled with -fwrapv: signed overflow wraps.
#pragma once
#include <algorithm>
#include <type_traits>

#include "types.h"

namespace ptx {

template <typename T>
constexpr u32 width = 8 * sizeof(T);

// Only ever asked for 32 and 64 bits and for 16: the product fits the wider type.
template <typename T>
inline T multiply_high(T a, T b) {
  using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
  return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> width<T>);
}

// Division by zero is undefined in PTX; sm_80 and later answer with all bits set, and with the dividend for rem.
template <typename T>
inline T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(0 - static_cast<u64>(a));  // MIN / -1
  return static_cast<T>(a / b);
}

template <typename T>
inline T remainder(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
  return static_cast<T>(a % b);
}

template <typename T>
inline T shift_left(T value, u32 count) {
  return count >= width<T> ? T(0) : static_cast<T>(static_cast<std::make_unsigned_t<T>>(value) << count);
}

// Arithmetic for signed types; counts past the width fill with the sign (or zeros).
template <typename T>
inline T shift_right(T value, u32 count) {
  if (count >= width<T>) return std::is_signed_v<T> && value < 0 ? static_cast<T>(-1) : T(0);
  return static_cast<T>(value >> count);
}

// shf: the upper (left) or lower (right) half of the shifted pair; counts are taken mod 32 (wrap) or stop at 32
// (clamp).
inline u32 funnel_left(u32 low, u32 high, u32 count) { return ((static_cast<u64>(high) << 32 | low) << count) >> 32; }
inline u32 funnel_right(u32 low, u32 high, u32 count) { return (static_cast<u64>(high) << 32 | low) >> count; }
inline u32 shf_l_wrap(u32 low, u32 high, u32 count) { return funnel_left(low, high, count & 31); }
inline u32 shf_r_wrap(u32 low, u32 high, u32 count) { return funnel_right(low, high, count & 31); }
inline u32 shf_l_clamp(u32 low, u32 high, u32 count) { return funnel_left(low, high, std::min(count, 32u)); }
inline u32 shf_r_clamp(u32 low, u32 high, u32 count) { return funnel_right(low, high, std::min(count, 32u)); }

inline u32 lop3(u32 a, u32 b, u32 c, u32 table) {
  u32 result = 0;
  for (u32 row = 0; row < 8; ++row) {
    if (table >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  return result;
}

// Position and length are the low bytes of their operands. The sign of a field that reaches past the top is the top
// bit.
template <typename T>
inline T extract_field(T value, u32 position, u32 length) {
  using Unsigned = std::make_unsigned_t<T>;
  position &= 255, length &= 255;
  if (length == 0) return 0;
  const Unsigned source = static_cast<Unsigned>(value);
  const bool negative = std::is_signed_v<T> && (source >> std::min(position + length - 1, width<T> - 1) & 1);
  const Unsigned kept = length >= width<T> ? ~Unsigned(0) : (Unsigned(1) << length) - 1;
  Unsigned field = position < width<T> ? source >> position : 0;
  if (negative && position > 0) field |= position >= width<T> ? ~Unsigned(0) : ~(~Unsigned(0) >> position);
  field &= kept;
  return static_cast<T>(negative ? field | ~kept : field);
}

template <typename T>
inline T insert_field(T value, T into, u32 position, u32 length) {
  position &= 255, length &= 255;
  if (length == 0 || position >= width<T>) return into;
  const T mask = (length >= width<T> ? ~T(0) : (T(1) << length) - 1) << position;
  return (into & ~mask) | (value << position & mask);
}

// Each nibble of the selector picks one of the eight bytes {b, a}; its top bit repeats that byte's sign instead.
inline u32 permute_bytes(u32 a, u32 b, u32 selector) {
  const u64 source = static_cast<u64>(b) << 32 | a;
  u32 result = 0;
  for (u32 byte = 0; byte < 4; ++byte) {
    const u32 choice = selector >> (4 * byte) & 15;
    u32 picked = source >> (8 * (choice & 7)) & 255;
    if (choice & 8) picked = picked & 128 ? 255 : 0;
    result |= picked << (8 * byte);
  }
  return result;
}

template <typename T>
inline T reverse_bits(T value) {
  T result = 0;
  for (u32 bit = 0; bit < width<T>; ++bit) result |= (value >> bit & 1) << (width<T> - 1 - bit);
  return result;
}

template <typename T>
inline u32 count_leading_zeros(T value) {
  return value ? __builtin_clzll(value) - (64 - width<T>) : width<T>;
}

// The highest bit that differs from the sign, or all ones if there is none; `shift` asks for the shift that brings it
// up.
template <typename T>
inline u32 find_leading_bit(T value, bool shift) {
  using Unsigned = std::make_unsigned_t<T>;
  const Unsigned source =
      std::is_signed_v<T> && value < 0 ? ~static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  if (source == 0) return ~0u;
  const u32 position = 63 - __builtin_clzll(source);
  return shift ? width<T> - 1 - position : position;
}

template <typename T>
inline T saturate_to_s32(T sum) {
  return std::min<T>(std::max<T>(sum, INT32_MIN), INT32_MAX);
}

// Arithmetic in several words: `carry` is PTX's condition code.
template <typename T>
inline T add_carry(T a, T b, bool carry_in, bool& carry) {
  using Unsigned = std::make_unsigned_t<T>;
  Unsigned sum;
  const bool first = __builtin_add_overflow(static_cast<Unsigned>(a), static_cast<Unsigned>(b), &sum);
  const bool second = __builtin_add_overflow(sum, static_cast<Unsigned>(carry_in), &sum);
  carry = first || second;
  return static_cast<T>(sum);
}
template <typename T>
inline T subtract_borrow(T a, T b, bool borrow_in, bool& borrow) {
  using Unsigned = std::make_unsigned_t<T>;
  Unsigned difference;
  const bool first = __builtin_sub_overflow(static_cast<Unsigned>(a), static_cast<Unsigned>(b), &difference);
  const bool second = __builtin_sub_overflow(difference, static_cast<Unsigned>(borrow_in), &difference);
  borrow = first || second;
  return static_cast<T>(difference);
}

}  // namespace ptx
