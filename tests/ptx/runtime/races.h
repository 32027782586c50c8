// A happens-before race detector for shared and global memory.
//
// Two accesses of the same bytes by different threads of a launch, at least one of them a plain write (or one a plain
// access and the other an atomic write), race unless something orders them:
//   - a barrier of the block between them: every barrier begins a new *phase*;
//   - within a warp, a __syncwarp whose mask holds both (or a chain of such): lanes carry vector clocks.
// Nothing orders accesses of different blocks of a launch. Shuffles and votes order no memory; nor do fences or
// atomics.
//
// After FastTrack (Flanagan and Freund 2009): the last write of a place is enough, of reads the last one and as many
// others as a later write may race with.
#pragma once
#include <algorithm>

#include "types.h"

namespace ptx {

struct Thread;

enum class Access : u8 { read, write, atomic_read, atomic_write };

// clock[a][b]: up to which of lane b's intervals between warp barriers lane a has seen its accesses.
struct LaneClocks {
  u32 clock[32][32];
  bool fresh;
};
void reset_clocks(LaneClocks& clocks);
void join_clocks(LaneClocks& clocks, u32 mask);

void begin_launch();
void begin_block();
void next_phase();

// Checks an aligned access of `bytes` (a power of two) and remembers it.
void record_access(Thread* thread, const char* address, u32 bytes, Access access, bool shared, u32 site);

}  // namespace ptx
