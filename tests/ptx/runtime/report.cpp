#include "report.h"

#include <cxxabi.h>

#include <cstdarg>
#include <cstdlib>

namespace ptx {

std::string format(const char* pattern, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

std::string describe(u32 site) {
  const Site& found = machine.kernel->sites[site];
  const std::string in_ptx = std::string(machine.module->file) + ":" + std::to_string(found.line) + ": " + found.text;
  return *found.source ? std::string(found.source) + " (" + in_ptx + ")" : in_ptx;
}

std::string describe_thread(u32 index) {
  const Thread& thread = machine.threads[index];
  return format("thread %u (%u,%u,%u)", index, thread.tid[0], thread.tid[1], thread.tid[2]);
}

std::string describe_address(const void* address) {
  const u64 offset = reinterpret_cast<u64>(address) - reinterpret_cast<u64>(machine.shared);
  if (offset >= kSharedArenaBytes) return format("global memory at %p", address);
  const u8 number = machine.variable_at[offset];
  if (number == 0) return format("shared memory, byte %u", static_cast<u32>(offset));
  const Kernel& kernel = *machine.kernel;
  const bool dynamic = number > kernel.shared_count;
  const u32 start = dynamic ? kernel.dynamic_offset : kernel.shared[number - 1].offset;
  return "shared memory, " + (dynamic ? std::string("dynamic") : demangle(kernel.shared[number - 1].name)) +
         format(" + %u bytes", static_cast<u32>(offset) - start);
}

std::string demangle(const char* name) {
  int status = 0;
  char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  const std::string result = status == 0 && readable ? readable : name;
  std::free(readable);
  return result;
}

void fault(Thread* thread, u32 site, const std::string& kind, const std::string& details) {
  static const char* const schedules[] = {"forward", "reverse", "random"};
  std::string& report = machine.fault;
  report = kind + ": " + details;
  report += format("\n  in block (%u,%u,%u), ", machine.ctaid[0], machine.ctaid[1], machine.ctaid[2]);
  report += describe_thread(thread->index) + ", at " + describe(site);
  report += "\n  kernel " + demangle(machine.kernel->name);
  report += format(", PTX for sm_%d, schedule %s", machine.module->arch, schedules[static_cast<int>(machine.schedule)]);
  if (machine.schedule == Schedule::random)
    report += format(", seed %llu", static_cast<unsigned long long>(machine.seed));
  switch_context(thread->context, machine.scheduler);
  __builtin_unreachable();  // the scheduler drops the block's fibers after a fault
}

}  // namespace ptx
