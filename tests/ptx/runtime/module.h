// What a translated PTX file tells the runtime about itself.
#pragma once
#include <string_view>

#include "types.h"

namespace ptx {

struct Thread;

// An instruction that may fault.
struct Site {
  u32 line;            // in the PTX file
  const char* text;    // the instruction
  const char* source;  // "file.cu:12", or "" without -lineinfo
};

struct Parameter {
  u32 offset, size;
};

// Static shared memory is laid out with gaps between the variables, so that running over the end of one is seen.
// `Kernel::static_bytes` is what the driver would count.
struct SharedVariable {
  const char* name;
  u32 offset, size;
};

struct Kernel {
  const char* name;     // mangled
  const char* content;  // a digest of its PTX: two different kernels of one name are refused
  void (*body)(Thread*, const u8* parameters);
  const Site* sites;
  const Parameter* parameters;
  u32 parameter_count, parameter_bytes;
  const SharedVariable* shared;
  u32 shared_count;
  u32 static_bytes;         // of shared memory, without gaps
  u32 dynamic_offset;       // where dynamic shared memory begins in our layout
  u32 max_threads;          // .maxntid; 0: not said
  u32 required_threads[3];  // .reqntid; {0, 0, 0}: not said
};

struct GlobalVariable {
  const char* name;
  void* address;
  u64 size;
};

struct Module {
  const char* file;  // of PTX
  int arch;          // 80, 90, ...
  const Kernel* kernels;
  u32 kernel_count;
  const GlobalVariable* variables;
  u32 variable_count;
  const Module* next;  // set by Registration
};

// Every translated file has one of these at namespace scope.
struct Registration {
  explicit Registration(Module& module);
};

struct Found {
  const Module* module = nullptr;
  const Kernel* kernel = nullptr;
  const char* problem = "";  // why there is no kernel
};

// In the architecture that PTX_ARCH names, or else the highest one that is linked in.
Found find_kernel(std::string_view name);
const GlobalVariable* find_variable(std::string_view name);

}  // namespace ptx
