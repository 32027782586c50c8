#include "races.h"

#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "machine.h"
#include "report.h"

namespace ptx {
namespace {

// Phases are numbered through all blocks and launches, so old records need no clearing. 0: never.
u32 phase = 0, first_of_launch = 0, first_of_block = 0;

constexpr u32 kClockBits = 22;
constexpr u32 kClockLimit = 1u << kClockBits;

struct Record {
  u32 phase = 0;
  u32 who = 0;  // thread in the block, then its warp clock
  u32 site = 0;
  u32 thread() const { return who >> kClockBits; }
  u32 lane() const { return thread() % kWarpSize; }
  u32 warp() const { return thread() / kWarpSize; }
  u32 clock() const { return who & (kClockLimit - 1); }
};

// The accesses of one kind that a later access may race with.
struct Sharers {
  Record last;
  // Of another block of this launch, or of this phase by another warp than `last`. Then any conflicting access races
  // with one of the two, and no further ones need be kept.
  Record other;
  u32 lanes = 0;     // lanes of last's warp that accessed it in last's phase and at last's clock
  u32 lane_set = 0;  // index of a LaneSet, where clocks differ; it counts if its phase is last's
};

struct LaneSet {
  u32 phase, warp, lanes;
  u32 clock[kWarpSize];
};

struct Cell {
  Record write;
  Sharers reads;
};
struct AtomicCell {
  Sharers reads, writes;
};

// 4 KiB of memory. A cell covers `granule` bytes, the smallest access seen so far: every access covers whole cells.
constexpr u32 kPageBits = 12, kPageBytes = 1u << kPageBits, kCoarsest = 16;
struct Page {
  u32 shift = 4;
  std::vector<Cell> cells{kPageBytes / kCoarsest};
  std::vector<AtomicCell> atomics;  // empty until the first atomic access
};

std::unordered_map<u64, std::unique_ptr<Page>> pages;
size_t cell_count = 0;
constexpr size_t kCellLimit = 8u << 20;  // forget all between launches when there are more: some 400 MB

struct CachedPage {
  u64 number = ~u64(0);
  Page* page = nullptr;
};
constexpr u32 kCacheSize = 64;
CachedPage cache[kCacheSize];

std::vector<LaneSet> lane_sets(1);  // number 0: none

void forget_everything() {
  pages.clear();
  cell_count = 0;
  for (CachedPage& cached : cache) cached = CachedPage();
}

Page& page_of(u64 address) {
  const u64 number = address >> kPageBits;
  CachedPage& cached = cache[number % kCacheSize];
  if (cached.number != number) {
    std::unique_ptr<Page>& page = pages[number];
    if (!page) {
      page = std::make_unique<Page>();
      cell_count += page->cells.size();
    }
    cached = {number, page.get()};
  }
  return *cached.page;
}

u32 copied_lane_set(u32 number) {
  if (number == 0 || number >= lane_sets.size()) return 0;  // of an earlier phase
  lane_sets.push_back(LaneSet(lane_sets[number]));
  return static_cast<u32>(lane_sets.size() - 1);
}

void own_lane_set(Cell& cell) { cell.reads.lane_set = copied_lane_set(cell.reads.lane_set); }
void own_lane_set(AtomicCell& cell) {
  cell.reads.lane_set = copied_lane_set(cell.reads.lane_set);
  cell.writes.lane_set = copied_lane_set(cell.writes.lane_set);
}

template <typename AnyCell>
void split_cells(std::vector<AnyCell>& cells, u32 parts) {
  std::vector<AnyCell> finer;
  finer.reserve(cells.size() * parts);
  for (const AnyCell& cell : cells) {
    finer.push_back(cell);
    for (u32 part = 1; part < parts; ++part) {
      finer.push_back(cell);
      own_lane_set(finer.back());
    }
  }
  cells.swap(finer);
}

void refine(Page& page, u32 shift) {
  const u32 parts = 1u << (page.shift - shift);
  cell_count += page.cells.size() * (parts - 1);
  split_cells(page.cells, parts);
  split_cells(page.atomics, parts);
  page.shift = shift;
}

class Checker {
 public:
  Checker(Thread* thread, const char* address, u32 bytes, Access access, bool shared, u32 site)
      : thread_(thread),
        address_(address),
        bytes_(bytes),
        access_(access),
        warp_(thread->index / kWarpSize),
        seen_(thread->warp->clocks.clock[thread->lane]),
        // Each block has a shared memory of its own.
        oldest_(shared ? first_of_block : first_of_launch) {
    const u32 clock = seen_[thread->lane];
    if (clock >= kClockLimit) fault(thread, site, "limit of the race detector", "a lane met 4 million __syncwarp");
    now_ = {phase, thread->index << kClockBits | clock, site};
  }

  void read(Cell& cell) {
    if (cell.reads.last.phase == phase && cell.reads.last.who == now_.who) return;  // again: nothing new
    against(cell.write, "write");
    add(cell.reads);
  }
  void write(Cell& cell) {
    against(cell.write, "write");
    against(cell.reads, "read");
    cell.write = now_;
    cell.reads.last.phase = cell.reads.other.phase = 0;  // all ordered before this write
  }
  void read(AtomicCell& cell) { against(cell.writes, "atomic write"); }
  void write(AtomicCell& cell) {
    against(cell.reads, "atomic read");
    against(cell.writes, "atomic write");
    cell = AtomicCell();
  }
  void atomic_read(Cell& cell, AtomicCell& atomic) {
    against(cell.write, "write");
    add(atomic.reads);
  }
  void atomic_write(Cell& cell, AtomicCell& atomic) {
    against(cell.write, "write");
    against(cell.reads, "read");
    add(atomic.writes);
  }

 private:
  bool from_other_block(const Record& record) const { return record.phase >= oldest_ && record.phase < first_of_block; }

  bool unordered(const Record& record) const {
    if (record.phase != phase) return from_other_block(record);
    return record.warp() != warp_ || seen_[record.lane()] < record.clock();  // an own record is never newer than seen
  }

  void against(const Record& record, const char* earlier) const {
    if (record.phase >= oldest_ && unordered(record)) report(record, earlier);
  }

  void against(const Sharers& sharers, const char* earlier) const {
    if (sharers.last.phase < oldest_) return;
    if (from_other_block(sharers.other)) report(sharers.other, earlier);
    if (sharers.other.phase == phase && sharers.last.phase == phase) {  // two warps: one of them is not ours
      report(sharers.other.warp() != warp_ ? sharers.other : sharers.last, earlier);
    }
    against(sharers.last, earlier);
    if (sharers.last.phase != phase || sharers.last.warp() != warp_) return;
    if (const LaneSet* set = lane_set_of(sharers)) {
      for (u32 lanes = set->lanes; lanes; lanes &= lanes - 1) {
        const u32 lane = __builtin_ctz(lanes);
        if (seen_[lane] < set->clock[lane]) report(record_of(lane, set->clock[lane], sharers.last.site), earlier);
      }
    } else {
      for (u32 lanes = sharers.lanes; lanes; lanes &= lanes - 1) {
        const u32 lane = __builtin_ctz(lanes), clock = sharers.last.clock();
        if (seen_[lane] < clock) report(record_of(lane, clock, sharers.last.site), earlier);
      }
    }
  }

  Record record_of(u32 lane, u32 clock, u32 site) const {
    return {phase, (warp_ * kWarpSize + lane) << kClockBits | clock, site};
  }

  LaneSet* lane_set_of(const Sharers& sharers) const {
    if (sharers.lane_set == 0) return nullptr;
    LaneSet& set = lane_sets[sharers.lane_set];
    return set.phase == sharers.last.phase && set.warp == sharers.last.warp() ? &set : nullptr;
  }

  void add(Sharers& sharers) const {
    const u32 lane = thread_->lane;
    const Record before = sharers.last;
    sharers.last = now_;
    if (before.phase != phase) {
      if (from_other_block(before) && !from_other_block(sharers.other)) sharers.other = before;
      start_lanes(sharers);
    } else if (before.warp() != warp_) {
      if (!from_other_block(sharers.other)) sharers.other = before;
      start_lanes(sharers);
    } else if (sharers.lane_set != 0) {
      LaneSet& set = lane_sets[sharers.lane_set];
      set.lanes |= 1u << lane;
      set.clock[lane] = now_.clock();
    } else if (before.clock() == now_.clock()) {
      sharers.lanes |= 1u << lane;
    } else if (all_seen(sharers.lanes, before.clock())) {
      start_lanes(sharers);
    } else {
      start_lane_set(sharers, before);
    }
  }

  void start_lanes(Sharers& sharers) const {
    sharers.lanes = 1u << thread_->lane;
    sharers.lane_set = 0;
  }

  void start_lane_set(Sharers& sharers, const Record& before) const {
    LaneSet set{phase, warp_, sharers.lanes | 1u << thread_->lane, {}};
    for (u32 lanes = sharers.lanes; lanes; lanes &= lanes - 1) set.clock[__builtin_ctz(lanes)] = before.clock();
    set.clock[thread_->lane] = now_.clock();
    sharers.lane_set = static_cast<u32>(lane_sets.size());
    lane_sets.push_back(set);
  }

  bool all_seen(u32 lanes, u32 clock) const {
    for (; lanes; lanes &= lanes - 1) {
      if (seen_[__builtin_ctz(lanes)] < clock) return false;
    }
    return true;
  }

  [[noreturn]] void report(const Record& earlier, const char* what) const {
    static const char* const names[] = {"read", "write", "atomic read", "atomic write"};
    const char* now = names[static_cast<int>(access_)];
    const u64 offset = address_ - machine.shared;
    const char* place = offset < kSharedArenaBytes ? "shared" : "global";
    std::string text = format("%s after %s of %u bytes in ", now, what, bytes_) + describe_address(address_);
    const bool blocks = from_other_block(earlier);
    text += blocks ? format("\n  the %s before: thread %u of another block, at ", what, earlier.thread())
                   : format("\n  the %s before: ", what) + describe_thread(earlier.thread()) + ", at ";
    text += describe(earlier.site);
    fault(thread_, now_.site, blocks ? "race between blocks" : format("race in %s memory", place), text);
  }

  Thread* thread_;
  const char* address_;
  u32 bytes_;
  Access access_;
  u32 warp_;
  const u32* seen_;
  u32 oldest_;
  Record now_;
};

}  // namespace

void reset_clocks(LaneClocks& clocks) {
  if (clocks.fresh) return;
  std::memset(clocks.clock, 0, sizeof clocks.clock);
  for (u32 lane = 0; lane < kWarpSize; ++lane) clocks.clock[lane][lane] = 1;
  clocks.fresh = true;
}

void join_clocks(LaneClocks& clocks, u32 mask) {
  u32 joined[kWarpSize] = {};
  for (u32 lanes = mask; lanes; lanes &= lanes - 1) {
    const u32* seen = clocks.clock[__builtin_ctz(lanes)];
    for (u32 lane = 0; lane < kWarpSize; ++lane) joined[lane] = std::max(joined[lane], seen[lane]);
  }
  for (u32 lanes = mask; lanes; lanes &= lanes - 1) {
    const u32 lane = __builtin_ctz(lanes);
    std::memcpy(clocks.clock[lane], joined, sizeof joined);
    ++clocks.clock[lane][lane];
  }
  clocks.fresh = false;
}

void begin_launch() {
  if (cell_count > kCellLimit || phase > 1u << 31) forget_everything();
  if (phase > 1u << 31) phase = 0;
  first_of_launch = phase + 1;
}

void begin_block() {
  next_phase();
  first_of_block = phase;
}

void next_phase() {
  ++phase;
  lane_sets.erase(lane_sets.begin() + 1, lane_sets.end());
}

void record_access(Thread* thread, const char* address, u32 bytes, Access access, bool shared, u32 site) {
  const u64 start = reinterpret_cast<u64>(address);
  Page& page = page_of(start);
  if (bytes < 1u << page.shift) refine(page, static_cast<u32>(__builtin_ctz(bytes)));
  const u32 first = (start & (kPageBytes - 1)) >> page.shift, last = first + (bytes >> page.shift);
  const bool atomic = access == Access::atomic_read || access == Access::atomic_write;
  if (atomic && page.atomics.empty()) {
    page.atomics.resize(page.cells.size());
    cell_count += page.cells.size();
  }
  Checker checker(thread, address, bytes, access, shared, site);
  for (u32 c = first; c < last; ++c) {
    Cell& cell = page.cells[c];
    switch (access) {
      case Access::read:
        checker.read(cell);
        if (!page.atomics.empty()) checker.read(page.atomics[c]);
        break;
      case Access::write:
        checker.write(cell);
        if (!page.atomics.empty()) checker.write(page.atomics[c]);
        break;
      case Access::atomic_read:
        checker.atomic_read(cell, page.atomics[c]);
        break;
      case Access::atomic_write:
        checker.atomic_write(cell, page.atomics[c]);
        break;
    }
  }
}

}  // namespace ptx
