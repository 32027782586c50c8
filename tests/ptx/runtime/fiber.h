// Switching between stacks: hand-written on x86-64, ucontext elsewhere (or with PTX_UCONTEXT defined).
#pragma once
#include <cstddef>

#if !defined(__x86_64__) || defined(PTX_UCONTEXT)
#define PTX_USE_UCONTEXT 1
#include <ucontext.h>
#endif

namespace ptx {

#ifdef PTX_USE_UCONTEXT
using Context = ucontext_t;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
#else
using Context = void*;  // the saved stack pointer
extern "C" __attribute__((visibility("hidden"))) void ptx_switch_context(void** from, void* to);
inline void switch_context(Context& from, Context& to) { ptx_switch_context(&from, to); }
#endif

constexpr size_t kStackBytes = 256 * 1024;

// Makes `context` run `entry`, which never returns, on the stack at `stack`. Stacks start at different cache sets if
// `colour` differs: else the same variable of all fibers would compete for the same few lines.
void prepare_context(Context& context, char* stack, void (*entry)(), unsigned colour);

}  // namespace ptx
