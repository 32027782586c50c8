#include "fiber.h"

#ifndef PTX_USE_UCONTEXT
asm(R"(.text
.hidden ptx_switch_context
.globl ptx_switch_context
.type ptx_switch_context,@function
ptx_switch_context:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ptx_switch_context,.-ptx_switch_context
)");
#endif

namespace ptx {

void prepare_context(Context& context, char* stack, void (*entry)(), unsigned colour) {
#ifdef PTX_USE_UCONTEXT
  (void)colour;
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
#else
  void** top = reinterpret_cast<void**>(stack + kStackBytes - colour * 320 % 16384);
  *--top = nullptr;  // where a return address would be: aligns the stack as the calling convention has it
  *--top = reinterpret_cast<void*>(entry);
  for (int saved_register = 0; saved_register < 6; ++saved_register) *--top = nullptr;
  context = top;
#endif
}

}  // namespace ptx
