// The words of a fault's report.
#pragma once
#include <string>

#include "machine.h"

namespace ptx {

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);

// "kernels.cu:12 (kernels.ptx:340: st.shared.f32 [%r5], %f2)", of the kernel that runs.
std::string describe(u32 site);

// "thread 33 (33,0,0)", of the block that runs.
std::string describe_thread(u32 index);

// "shared memory, byte 132 (row + 4)" or "global memory at 0x7f...".
std::string describe_address(const void* address);

std::string demangle(const char* name);

}  // namespace ptx
