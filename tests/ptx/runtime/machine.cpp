// Runs a grid: fibers, schedules, barriers of the block, and what to say when nobody can go on.
#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "report.h"

namespace ptx {

Machine machine;

namespace {

constexpr s64 kDefaultSteps = 100'000'000;

u64 next_random() {
  machine.random_state = machine.random_state * 6364136223846793005ull + 1442695040888963407ull;  // Knuth's MMIX
  return machine.random_state >> 33;
}

template <typename T>
void shuffle_order(std::vector<T>& items) {
  for (size_t last = items.size(); last > 1; --last) std::swap(items[last - 1], items[next_random() % last]);
}

void read_environment() {
  const char* races = std::getenv("PTX_RACES");
  machine.check_races = !races || std::strcmp(races, "0") != 0;
  const char* name = std::getenv("PTX_SCHEDULE");
  const std::string schedule = name ? name : "forward";
  machine.schedule = schedule == "reverse"  ? Schedule::reverse
                     : schedule == "random" ? Schedule::random
                                            : Schedule::forward;
  if (machine.schedule == Schedule::forward && schedule != "forward") {
    std::fprintf(stderr, "ptx: PTX_SCHEDULE=%s is not forward, reverse or random\n", name);
    std::abort();
  }
  if (machine.schedule != Schedule::random) return;
  static u64 drawn = 0;
  if (const char* seed = std::getenv("PTX_SEED")) {
    machine.seed = std::strtoull(seed, nullptr, 10);
  } else {
    if (drawn == 0) {
      drawn = std::random_device{}();
      std::fprintf(stderr, "ptx: random schedule; repeat it with PTX_SEED=%llu\n",
                   static_cast<unsigned long long>(drawn));
    }
    machine.seed = drawn;
  }
  machine.random_state = machine.seed;
  next_random();
}

s64 step_limit() {
  const char* steps = std::getenv("PTX_STEPS");
  return steps ? std::atoll(steps) : kDefaultSteps;
}

void allocate_once() {
  if (machine.shared) return;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* arena = mmap(nullptr, kSharedArenaBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  void* stacks = mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (arena == MAP_FAILED || stacks == MAP_FAILED) {
    std::perror("ptx: mmap");
    std::abort();
  }
  machine.shared = static_cast<char*>(arena);
  machine.stacks = static_cast<char*>(stacks);
}

void lay_out_shared_memory(const Kernel& kernel, u32 dynamic_bytes) {
  machine.shared_bytes = kernel.dynamic_offset + dynamic_bytes;
  machine.dynamic_bytes = dynamic_bytes;
  std::memset(machine.variable_at, 0, sizeof machine.variable_at);
  for (u32 v = 0; v < kernel.shared_count; ++v) {
    std::memset(machine.variable_at + kernel.shared[v].offset, static_cast<int>(v + 1), kernel.shared[v].size);
  }
  std::memset(machine.variable_at + kernel.dynamic_offset, static_cast<int>(kernel.shared_count + 1), dynamic_bytes);
}

[[noreturn]] void fiber_main() {
  Thread* thread = machine.current;
  machine.kernel->body(thread, machine.parameters);
  thread->exited = true;
  thread->warp->alive &= ~(1u << thread->lane);
  thread->warp->runnable &= ~(1u << thread->lane);
  --machine.live;
  ++machine.exited;
  for (u32 lanes = thread->warp->waiting; lanes; lanes &= lanes - 1) {
    const u32 lane = __builtin_ctz(lanes);
    if (thread->warp->waiting_mask[lane] >> thread->lane & 1) {
      const Thread& waiting = thread->warp->threads[lane];
      machine.current = &thread->warp->threads[lane];
      fault(machine.current, waiting.site, "wrong warp mask",
            format("mask 0x%08x names lane %u, which has exited", thread->warp->waiting_mask[lane], thread->lane));
    }
  }
  if (machine.barrier_arrived) {
    const u32 first = machine.barrier_first_thread;
    fault(&machine.threads[first], machine.barrier_site, "divergent barrier",
          describe_thread(thread->index) + " has exited without reaching it");
  }
  switch_context(thread->context, machine.scheduler);
  __builtin_unreachable();
}

void start_block() {
  Machine& m = machine;
  const u32 count = static_cast<u32>(m.threads.size());
  std::memset(m.shared, 0xFF, m.shared_bytes);  // poison: NaN in every float format, -1 in integers
  m.live = count;
  m.exited = 0;
  m.barrier_arrived = m.barrier_predicates = 0;
  const s64 steps = step_limit();
  for (u32 w = 0; w < m.warps.size(); ++w) {
    Warp& warp = m.warps[w];
    const u32 lanes = std::min(kWarpSize, count - w * kWarpSize);
    warp.threads = &m.threads[w * kWarpSize];
    warp.exists = warp.alive = warp.runnable = lanes == kWarpSize ? ~0u : (1u << lanes) - 1;
    warp.waiting = 0;
    reset_clocks(warp.clocks);
  }
  for (u32 index = 0; index < count; ++index) {
    Thread& thread = m.threads[index];
    thread.tid[0] = index % m.ntid[0];
    thread.tid[1] = index / m.ntid[0] % m.ntid[1];
    thread.tid[2] = index / (m.ntid[0] * m.ntid[1]);
    thread.index = index;
    thread.lane = index % kWarpSize;
    thread.warp = &m.warps[index / kWarpSize];
    thread.steps = steps;
    thread.exited = thread.in_barrier = false;
    prepare_context(thread.context, m.stacks + index * kStackBytes, fiber_main, index);
  }
}

void resume(Thread& thread) {
  machine.current = &thread;
  switch_context(machine.scheduler, thread.context);
}

// A warp runs as far as it can before the next one starts.
bool run_warps(const std::vector<u32>& warps) {
  bool progress = false;
  for (u32 w : warps) {
    Warp& warp = machine.warps[w];
    while (warp.runnable) {
      const u32 lane =
          machine.schedule == Schedule::reverse ? 31 - __builtin_clz(warp.runnable) : __builtin_ctz(warp.runnable);
      resume(warp.threads[lane]);
      if (!machine.fault.empty()) return false;
      progress = true;
    }
  }
  return progress;
}

bool run_shuffled(std::vector<u32>& threads) {
  bool progress = false;
  shuffle_order(threads);
  for (u32 index : threads) {
    Thread& thread = machine.threads[index];
    if (!(thread.warp->runnable >> thread.lane & 1)) continue;
    resume(thread);
    if (!machine.fault.empty()) return false;
    progress = true;
  }
  return progress;
}

// Nobody can go on: some wait in a barrier, some for lanes of their warp.
void report_deadlock() {
  Thread *in_barrier = nullptr, *in_warp = nullptr;
  for (Thread& thread : machine.threads) {
    if (thread.exited) continue;
    Thread*& first = thread.in_barrier ? in_barrier : in_warp;
    if (!first) first = &thread;
  }
  Thread* witness = in_warp ? in_warp : in_barrier;
  std::string details;
  if (in_warp) {
    const Warp& warp = *in_warp->warp;
    const u32 mask = warp.waiting_mask[in_warp->lane];
    details = format("lanes 0x%08x of mask 0x%08x never come", mask & ~waiting_for(warp, mask), mask);
  }
  if (in_barrier && in_warp) {
    details += "; " + describe_thread(in_barrier->index) + " waits in a barrier at " + describe(in_barrier->site);
  }
  machine.current = witness;
  // fault() leaves through the scheduler's context, so it has to be called from a fiber.
  static std::string kind, text;
  kind = in_barrier ? "divergent barrier" : "deadlock";
  text = details;
  prepare_context(
      witness->context, machine.stacks + witness->index * kStackBytes,
      [] { fault(machine.current, machine.current->site, kind, text); }, 0);
  resume(*witness);
}

void run_block(std::vector<u32>& order) {
  start_block();
  begin_block();
  while (machine.live && machine.fault.empty()) {
    const bool progress = machine.schedule == Schedule::random ? run_shuffled(order) : run_warps(order);
    if (!progress && machine.fault.empty() && machine.live) report_deadlock();
  }
}

std::vector<u32> numbers(u32 count) {
  std::vector<u32> result(count);
  for (u32 i = 0; i < count; ++i) result[i] = machine.schedule == Schedule::reverse ? count - 1 - i : i;
  return result;
}

}  // namespace

void wait(Thread* thread, u32 site) {
  thread->site = site;
  thread->warp->runnable &= ~(1u << thread->lane);
  switch_context(thread->context, machine.scheduler);
}

void release(Warp& warp, u32 lanes) { warp.runnable |= lanes; }

u32 barrier_count(Thread* thread, u32 id, bool predicate, u32 site) {
  Machine& m = machine;
  if (m.exited) {
    const auto gone =
        std::find_if(m.threads.begin(), m.threads.end(), [](const Thread& other) { return other.exited; });
    fault(thread, site, "divergent barrier", describe_thread(gone->index) + " has exited without reaching it");
  }
  if (m.barrier_arrived == 0) {
    m.barrier_first_thread = thread->index;
    m.barrier_site = site;
    m.barrier_id = id;
  } else if (m.barrier_site != site || m.barrier_id != id) {
    fault(thread, site, "divergent barrier",
          "threads meet in different barriers: " + describe_thread(m.barrier_first_thread) + " waits at " +
              describe(m.barrier_site));
  }
  m.barrier_predicates += predicate;
  if (++m.barrier_arrived == m.threads.size()) {
    m.barrier_result = m.barrier_predicates;
    m.barrier_arrived = m.barrier_predicates = 0;
    for (Thread& other : m.threads) other.in_barrier = false;
    for (Warp& warp : m.warps) release(warp, warp.alive);
    next_phase();
  } else {
    thread->in_barrier = true;
    wait(thread, site);
  }
  return m.barrier_result;  // the next barrier cannot complete before this thread reaches it
}

void barrier(Thread* thread, u32 id, u32 site) { barrier_count(thread, id, false, site); }

void out_of_steps(Thread* thread, u32 site) {
  fault(thread, site, "no progress",
        format("the thread has gone back %lld times (PTX_STEPS)", (long long)step_limit()));
}

void trap(Thread* thread, u32 site) { fault(thread, site, "trap", "the kernel asked for it"); }

std::string launch(const Module& module, const Kernel& kernel, Dimensions grid, Dimensions block, u32 dynamic_bytes,
                   const u8* parameters) {
  Machine& m = machine;
  read_environment();
  allocate_once();
  m.module = &module;
  m.kernel = &kernel;
  m.parameters = parameters;
  m.ntid[0] = block.x, m.ntid[1] = block.y, m.ntid[2] = block.z;
  m.nctaid[0] = grid.x, m.nctaid[1] = grid.y, m.nctaid[2] = grid.z;
  m.fault.clear();
  const u32 threads = block.x * block.y * block.z;
  m.threads.resize(threads);
  m.warps.resize((threads + kWarpSize - 1) / kWarpSize);
  lay_out_shared_memory(kernel, dynamic_bytes);
  begin_launch();

  std::vector<u32> order = numbers(m.schedule == Schedule::random ? threads : static_cast<u32>(m.warps.size()));
  std::vector<u32> blocks = numbers(grid.x * grid.y * grid.z);
  if (m.schedule == Schedule::random) shuffle_order(blocks);
  for (u32 b : blocks) {
    m.ctaid[0] = b % grid.x;
    m.ctaid[1] = b / grid.x % grid.y;
    m.ctaid[2] = b / grid.x / grid.y;
    run_block(order);
    if (!m.fault.empty()) break;
  }
  return m.fault;
}

}  // namespace ptx
