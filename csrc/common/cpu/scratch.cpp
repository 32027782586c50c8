#include "common/cpu/scratch.h"

#include <cstdlib>
#include <memory>

namespace s2sfast {
namespace {
struct Free {
  void operator()(void* p) const { std::free(p); }
};
}  // namespace

void* thread_scratch(size_t bytes) noexcept {
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t size = 0;
  if (bytes > size) {
    const size_t wanted = (bytes + 63) / 64 * 64;
    memory.reset();
    size = 0;
    memory.reset(std::aligned_alloc(64, wanted));
    if (memory) size = wanted;
  }
  return memory.get();
}

}  // namespace s2sfast
