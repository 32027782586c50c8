// Loads, stores and atomics: every address is checked before it is used.
#pragma once
#include <cstring>

#include "floats.h"
#include "machine.h"

namespace ptx {

// Each returns the host address of an access that is in order.
char* check_shared(Thread* thread, u64 address, u32 bytes, Access access, u32 site);
char* check_global(Thread* thread, u64 address, u32 bytes, Access access, u32 site);
// A generic address may be one of shared, global, local or constant memory.
char* check_generic(Thread* thread, u64 address, u32 bytes, Access access, u32 site);
// Memory of the thread alone, or that nobody writes: a range of host addresses.
char* check_range(Thread* thread, u64 address, u32 bytes, const void* start, u64 size, const char* what, u32 site);
char* check_constant(Thread* thread, u64 address, u32 bytes, u32 site);

inline u64 shared_to_generic(u64 address) { return reinterpret_cast<u64>(machine.shared) + address; }
inline u64 generic_to_shared(u64 address) { return address - reinterpret_cast<u64>(machine.shared); }
inline bool is_shared(u64 address) { return generic_to_shared(address) < kSharedArenaBytes; }
inline bool is_local(u64 address) {
  return address - reinterpret_cast<u64>(machine.stacks) < u64(kMaxThreads) * kStackBytes;
}
inline bool is_global(u64 address) { return !is_shared(address) && !is_local(address); }

template <typename T>
inline T load(const char* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}
template <typename T>
inline void store(char* address, T value) {
  std::memcpy(address, &value, sizeof value);
}

// Reads, applies the operation, writes; returns what was there. Fibers do not interrupt each other.
template <typename T, typename Operation>
inline T update(char* address, Operation operation) {
  const T before = load<T>(address);
  store<T>(address, operation(before));
  return before;
}

template <typename T>
inline T atomic_add(char* address, T value) {
  return update<T>(address, [=](T before) { return static_cast<T>(before + value); });
}
template <>
inline f32 atomic_add(char* address, f32 value) {
  return update<f32>(address, [=](f32 before) { return canonical(before + value); });
}
template <typename T>
inline T atomic_min(char* address, T value) {
  return update<T>(address, [=](T before) { return before < value ? before : value; });
}
template <typename T>
inline T atomic_max(char* address, T value) {
  return update<T>(address, [=](T before) { return before > value ? before : value; });
}
template <typename T>
inline T atomic_and(char* address, T value) {
  return update<T>(address, [=](T before) { return before & value; });
}
template <typename T>
inline T atomic_or(char* address, T value) {
  return update<T>(address, [=](T before) { return before | value; });
}
template <typename T>
inline T atomic_xor(char* address, T value) {
  return update<T>(address, [=](T before) { return before ^ value; });
}
template <typename T>
inline T atomic_exch(char* address, T value) {
  return update<T>(address, [=](T) { return value; });
}
template <typename T>
inline T atomic_inc(char* address, T limit) {
  return update<T>(address, [=](T before) { return before >= limit ? T(0) : before + 1; });
}
template <typename T>
inline T atomic_dec(char* address, T limit) {
  return update<T>(address, [=](T before) { return before == 0 || before > limit ? limit : before - 1; });
}
template <typename T>
inline T atomic_cas(char* address, T expected, T value) {
  return update<T>(address, [=](T before) { return before == expected ? value : before; });
}

}  // namespace ptx
