#include "module.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ptx {
namespace {

const Module*& first() {
  static const Module* head = nullptr;
  return head;
}

int chosen_arch() {
  if (const char* wanted = std::getenv("PTX_ARCH")) return std::atoi(wanted);
  int highest = 0;
  for (const Module* module = first(); module; module = module->next) highest = std::max(highest, module->arch);
  return highest;
}

}  // namespace

Registration::Registration(Module& module) {
  module.next = first();
  first() = &module;
}

Found find_kernel(std::string_view name) {
  const int arch = chosen_arch();
  Found found;
  bool other_arch = false;
  for (const Module* module = first(); module; module = module->next) {
    for (u32 k = 0; k < module->kernel_count; ++k) {
      const Kernel& kernel = module->kernels[k];
      if (kernel.name != name) continue;
      if (module->arch != arch) {
        other_arch = true;
      } else if (found.kernel && std::strcmp(found.kernel->content, kernel.content) != 0) {
        return {nullptr, nullptr, "two different kernels of this name are linked in"};
      } else {
        found = {module, &kernel, ""};
      }
    }
  }
  if (!found.kernel) {
    found.problem = other_arch ? "it was translated, but not for the architecture in use (PTX_ARCH)"
                               : "no translated PTX holds it: it was compiled, but not linked in";
  }
  return found;
}

const GlobalVariable* find_variable(std::string_view name) {
  const int arch = chosen_arch();
  for (const Module* module = first(); module; module = module->next) {
    if (module->arch != arch) continue;
    for (u32 v = 0; v < module->variable_count; ++v) {
      if (module->variables[v].name == name) return &module->variables[v];
    }
  }
  return nullptr;
}

}  // namespace ptx
