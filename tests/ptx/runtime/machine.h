// The machine that translated kernels run on: one block at a time, each CUDA thread a fiber.
//
// A fiber runs until it has to wait for others, so everything here is single-threaded; launches hold a lock.
#pragma once
#include <string>
#include <vector>

#include "fiber.h"
#include "module.h"
#include "races.h"
#include "types.h"

namespace ptx {

constexpr u32 kWarpSize = 32;
constexpr u32 kMaxThreads = 1024;
constexpr u32 kMaxSharedBytes = 227 * 1024;        // sm_90's opt-in limit per block
constexpr u32 kSharedArenaBytes = 2 * 256 * 1024;  // the same with gaps between the variables

// Every operation that lanes of a warp do together. Lanes must meet in the same one.
enum class Collective : u8 {
  sync,
  ballot,
  vote_any,
  vote_all,
  vote_uniform,
  match_any,
  match_all,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  shuffle_index,
  add_u32,
  min_u32,
  max_u32,
  min_s32,
  max_s32,
  and_b32,
  or_b32,
  xor_b32,
};

struct Warp;

struct Thread {
  u32 tid[3];
  u32 index;  // in the block
  u32 lane;
  Warp* warp;
  s64 steps;  // backward branches left (PTX_STEPS)
  u32 site;   // where it waits
  bool exited;
  bool in_barrier;
  Context context;
};

// Several collectives may be waited for at once: lanes that leave one early wait in a later one of a larger mask. A
// lane waits in one at a time, so those that wait for the same mask wait for each other.
struct Warp {
  Thread* threads;  // its first
  u32 exists, alive, runnable, waiting;
  u32 waiting_mask[kWarpSize];       // of each waiting lane
  Collective waiting_in[kWarpSize];  // likewise
  u64 values[kWarpSize], results[kWarpSize];
  u32 sources[kWarpSize];  // the lane that a shuffle reads
  LaneClocks clocks;
};

enum class Schedule { forward, reverse, random };

struct Machine {
  u32 ntid[3], nctaid[3], ctaid[3];
  char* stacks;
  char* shared;      // the arena's address; shared address 0
  u32 shared_bytes;  // in use by this launch, gaps included
  u32 dynamic_bytes;
  u8 variable_at[kSharedArenaBytes];  // number of the shared variable that owns a byte; 0: a gap
  bool check_races;

  const Module* module;
  const Kernel* kernel;
  const u8* parameters;
  Schedule schedule;
  u64 seed, random_state;

  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<u32> order;
  Context scheduler;
  Thread* current;
  u32 live, exited;

  u32 barrier_arrived, barrier_predicates, barrier_result, barrier_id, barrier_site, barrier_first_thread;

  std::string fault;  // not empty: the launch has failed
};
extern Machine machine;

struct Dimensions {
  u32 x, y, z;
};

// Runs the whole grid; "" or the report of the first fault.
std::string launch(const Module& module, const Kernel& kernel, Dimensions grid, Dimensions block, u32 dynamic_bytes,
                   const u8* parameters);

// --- what translated code calls ---------------------------------------------------------------------

void barrier(Thread* thread, u32 id, u32 site);
u32 barrier_count(Thread* thread, u32 id, bool predicate, u32 site);
inline bool barrier_and(Thread* thread, u32 id, bool predicate, u32 site) {
  return barrier_count(thread, id, predicate, site) == machine.threads.size();
}
inline bool barrier_or(Thread* thread, u32 id, bool predicate, u32 site) {
  return barrier_count(thread, id, predicate, site) != 0;
}

// All lanes of `mask` deposit a value; the last to arrive works out every lane's result, so no lane can see values of a
// later collective, in whatever order the fibers run.
u64 meet(Thread* thread, u32 mask, Collective operation, u64 value, u32 source, u32 site);

// The lanes that wait in the collective of this mask.
u32 waiting_for(const Warp& warp, u32 mask);

struct Shuffled {
  u32 value;
  bool in_range;
};
Shuffled shuffle(Thread* thread, Collective mode, u32 value, u32 b, u32 c, u32 mask, u32 site);

// A back edge was taken. The limit is for threads that wait for each other in a loop: here they would do so forever.
void out_of_steps(Thread* thread, u32 site);
inline void step(Thread* thread, u32 site) {
  if (--thread->steps < 0) out_of_steps(thread, site);
}

[[noreturn]] void trap(Thread* thread, u32 site);

// Leaves the fiber and with it the launch.
[[noreturn]] void fault(Thread* thread, u32 site, const std::string& kind, const std::string& details);

// Switches to the scheduler until somebody marks the thread runnable again.
void wait(Thread* thread, u32 site);
void release(Warp& warp, u32 lanes);

}  // namespace ptx
