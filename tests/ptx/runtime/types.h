// PTX's types, and reading the bits of one as another.
#pragma once
#include <cstdint>
#include <cstring>

namespace ptx {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;
using f32 = float;
using f64 = double;
// Untyped bits and halves live in unsigned integers of their size.
using b8 = uint8_t;
using b16 = uint16_t;
using b32 = uint32_t;
using b64 = uint64_t;
using f16 = uint16_t;
using bf16 = uint16_t;
using f16x2 = uint32_t;
using bf16x2 = uint32_t;

inline u32 bits(f32 value) { return __builtin_bit_cast(u32, value); }
inline u64 bits(f64 value) { return __builtin_bit_cast(u64, value); }
inline f32 as_f32(u32 value) { return __builtin_bit_cast(f32, value); }
inline f64 as_f64(u64 value) { return __builtin_bit_cast(f64, value); }

}  // namespace ptx
