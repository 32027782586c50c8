#pragma once
#include <cstddef>

namespace s2sfast {

// Memory of the calling thread, aligned to 64, that lives until the thread ends and only grows: a call in a loop
// allocates once. What it held before is lost. nullptr where there is no memory.
void* thread_scratch(size_t bytes) noexcept;

}  // namespace s2sfast
