#include "memory.h"

#include "report.h"

namespace ptx {
namespace {

constexpr u64 kLowestAddress = 65536;  // no host maps memory below: a null pointer and an index

void check_alignment(Thread* thread, u64 address, u32 bytes, const char* address_kind, u32 site) {
  if (address & (bytes - 1)) {
    fault(thread, site, "misaligned access",
          format("%u bytes at %s address 0x%llx", bytes, address_kind, static_cast<unsigned long long>(address)));
  }
}

[[noreturn]] void out_of_bounds(Thread* thread, u64 address, u32 bytes, u32 site) {
  const Kernel& kernel = *machine.kernel;
  std::string text = format("%u bytes at shared address %lld; the kernel has", bytes, static_cast<long long>(address));
  for (u32 v = 0; v < kernel.shared_count; ++v) {
    const SharedVariable& variable = kernel.shared[v];
    text += format(" %s at %u of %u bytes,", demangle(variable.name).c_str(), variable.offset, variable.size);
  }
  text += format(" dynamic at %u of %u bytes (offsets with gaps)", kernel.dynamic_offset, machine.dynamic_bytes);
  fault(thread, site, "shared memory out of bounds", text);
}

}  // namespace

char* check_shared(Thread* thread, u64 address, u32 bytes, Access access, u32 site) {
  check_alignment(thread, address, bytes, "shared", site);
  const u64 end = address + bytes;
  const bool inside = address < kSharedArenaBytes && end <= kSharedArenaBytes && machine.variable_at[address] &&
                      machine.variable_at[address] == machine.variable_at[end - 1];
  if (!inside) out_of_bounds(thread, address, bytes, site);
  if (machine.check_races) record_access(thread, machine.shared + address, bytes, access, true, site);
  return machine.shared + address;
}

char* check_global(Thread* thread, u64 address, u32 bytes, Access access, u32 site) {
  check_alignment(thread, address, bytes, "global", site);
  if (address < kLowestAddress || !is_global(address)) {
    fault(thread, site, "invalid address",
          format("0x%llx is not one of global memory", static_cast<unsigned long long>(address)));
  }
  char* host = reinterpret_cast<char*>(address);
  if (machine.check_races) record_access(thread, host, bytes, access, false, site);
  return host;
}

char* check_generic(Thread* thread, u64 address, u32 bytes, Access access, u32 site) {
  if (is_shared(address)) return check_shared(thread, generic_to_shared(address), bytes, access, site);
  if (!is_local(address)) return check_global(thread, address, bytes, access, site);
  check_alignment(thread, address, bytes, "local", site);
  const u64 own = reinterpret_cast<u64>(machine.stacks) + u64(thread->index) * kStackBytes;
  if (address - own >= kStackBytes) fault(thread, site, "invalid address", "local memory of another thread");
  return reinterpret_cast<char*>(address);
}

char* check_range(Thread* thread, u64 address, u32 bytes, const void* start, u64 size, const char* what, u32 site) {
  check_alignment(thread, address, bytes, what, site);
  const u64 offset = address - reinterpret_cast<u64>(start);
  if (offset + bytes > size || offset > size) {
    fault(thread, site, std::string(what) + " memory out of bounds",
          format("%u bytes at offset %lld of %llu bytes", bytes, static_cast<long long>(offset),
                 static_cast<unsigned long long>(size)));
  }
  return reinterpret_cast<char*>(address);
}

char* check_constant(Thread* thread, u64 address, u32 bytes, u32 site) {
  check_alignment(thread, address, bytes, "constant", site);
  return reinterpret_cast<char*>(address);
}

}  // namespace ptx
