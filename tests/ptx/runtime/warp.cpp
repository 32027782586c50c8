// Collectives of a warp.
#include "machine.h"
#include "report.h"

namespace ptx {
namespace {

const char* name_of(Collective operation) {
  static const char* const names[] = {"bar.warp.sync", "vote.ballot", "vote.any",      "vote.all",      "vote.uni",
                                      "match.any",     "match.all",   "shfl.up",       "shfl.down",     "shfl.bfly",
                                      "shfl.idx",      "redux.add",   "redux.min.u32", "redux.max.u32", "redux.min.s32",
                                      "redux.max.s32", "redux.and",   "redux.or",      "redux.xor"};
  return names[static_cast<int>(operation)];
}

std::string lane_list(u32 mask) { return format("0x%08x", mask); }

template <typename Combine>
void reduce(Warp& warp, u32 mask, Combine combine) {
  u32 total = warp.values[__builtin_ctz(mask)];
  for (u32 rest = mask & (mask - 1); rest; rest &= rest - 1)
    total = combine(total, u32(warp.values[__builtin_ctz(rest)]));
  for (u32 lanes = mask; lanes; lanes &= lanes - 1) warp.results[__builtin_ctz(lanes)] = total;
}

void broadcast(Warp& warp, u32 mask, u64 result) {
  for (u32 lanes = mask; lanes; lanes &= lanes - 1) warp.results[__builtin_ctz(lanes)] = result;
}

u32 lanes_with(const Warp& warp, u32 mask, u64 value) {
  u32 same = 0;
  for (u32 lanes = mask; lanes; lanes &= lanes - 1) {
    const u32 lane = __builtin_ctz(lanes);
    if (warp.values[lane] == value) same |= 1u << lane;
  }
  return same;
}

void complete(Warp& warp, u32 mask, Collective operation) {
  switch (operation) {
    case Collective::sync:
      join_clocks(warp.clocks, mask);
      return;
    case Collective::ballot:
      return broadcast(warp, mask, lanes_with(warp, mask, 1));
    case Collective::vote_any:
      return broadcast(warp, mask, lanes_with(warp, mask, 1) != 0);
    case Collective::vote_all:
      return broadcast(warp, mask, lanes_with(warp, mask, 1) == mask);
    case Collective::vote_uniform: {
      const u32 yes = lanes_with(warp, mask, 1);
      return broadcast(warp, mask, yes == 0 || yes == mask);
    }
    case Collective::match_any:
      for (u32 lanes = mask; lanes; lanes &= lanes - 1) {
        const u32 lane = __builtin_ctz(lanes);
        warp.results[lane] = lanes_with(warp, mask, warp.values[lane]);
      }
      return;
    case Collective::match_all:
      return broadcast(warp, mask, lanes_with(warp, mask, warp.values[__builtin_ctz(mask)]) == mask ? mask : 0);
    case Collective::shuffle_up:
    case Collective::shuffle_down:
    case Collective::shuffle_xor:
    case Collective::shuffle_index:
      for (u32 lanes = mask; lanes; lanes &= lanes - 1) {
        const u32 lane = __builtin_ctz(lanes);
        warp.results[lane] = warp.values[warp.sources[lane]];
      }
      return;
    case Collective::add_u32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a + b; });
    case Collective::min_u32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a < b ? a : b; });
    case Collective::max_u32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a > b ? a : b; });
    case Collective::min_s32:
      return reduce(warp, mask, [](u32 a, u32 b) { return s32(a) < s32(b) ? a : b; });
    case Collective::max_s32:
      return reduce(warp, mask, [](u32 a, u32 b) { return s32(a) > s32(b) ? a : b; });
    case Collective::and_b32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a & b; });
    case Collective::or_b32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a | b; });
    case Collective::xor_b32:
      return reduce(warp, mask, [](u32 a, u32 b) { return a ^ b; });
  }
}

void check_mask(Thread* thread, u32 mask, Collective operation, u32 site) {
  const Warp& warp = *thread->warp;
  if (!(mask >> thread->lane & 1)) {
    fault(thread, site, "wrong warp mask",
          format("lane %u is not in its own mask %s", thread->lane, lane_list(mask).c_str()));
  }
  if (mask & ~warp.alive) {
    const u32 lane = __builtin_ctz(mask & ~warp.alive);
    fault(thread, site, "wrong warp mask",
          format("mask %s names lane %u, which %s", lane_list(mask).c_str(), lane,
                 warp.exists >> lane & 1 ? "has exited" : "does not exist"));
  }
  // A lane of this mask may still be in an earlier collective without this lane: it comes later. With this lane in the
  // other mask, each would wait for the other.
  for (u32 lanes = mask & warp.waiting; lanes; lanes &= lanes - 1) {
    const u32 lane = __builtin_ctz(lanes), other = warp.waiting_mask[lane];
    if (other != mask && other >> thread->lane & 1) {
      fault(thread, site, "wrong warp mask",
            format("lanes disagree on the mask: lane %u says %s, ", thread->lane, lane_list(mask).c_str()) +
                format("lane %u says %s at %s", lane, lane_list(other).c_str(),
                       describe(warp.threads[lane].site).c_str()));
    }
    if (other == mask && warp.waiting_in[lane] != operation) {
      fault(thread, site, "wrong warp collective",
            format("lanes meet in different collectives: lane %u in %s, lane %u in %s at ", thread->lane,
                   name_of(operation), lane, name_of(warp.waiting_in[lane])) +
                describe(warp.threads[lane].site));
    }
  }
}

}  // namespace

u32 waiting_for(const Warp& warp, u32 mask) {
  u32 found = 0;
  for (u32 lanes = mask & warp.waiting; lanes; lanes &= lanes - 1) {
    const u32 lane = __builtin_ctz(lanes);
    if (warp.waiting_mask[lane] == mask) found |= 1u << lane;
  }
  return found;
}

u64 meet(Thread* thread, u32 mask, Collective operation, u64 value, u32 source, u32 site) {
  Warp& warp = *thread->warp;
  const u32 lane = thread->lane;
  check_mask(thread, mask, operation, site);
  warp.values[lane] = value;
  warp.sources[lane] = source;
  if ((waiting_for(warp, mask) | 1u << lane) == mask) {
    complete(warp, mask, operation);
    warp.waiting &= ~mask;
    release(warp, mask);
  } else {
    warp.waiting |= 1u << lane;
    warp.waiting_mask[lane] = mask;
    warp.waiting_in[lane] = operation;
    wait(thread, site);
  }
  return warp.results[lane];
}

// PTX ISA, "shfl.sync": c holds the clamp (bits 0-4) and the mask of the segment (bits 8-12).
Shuffled shuffle(Thread* thread, Collective mode, u32 value, u32 b, u32 c, u32 mask, u32 site) {
  const int lane = thread->lane, offset = b & 31, clamp = c & 31, segment = c >> 8 & 31;
  const int least = lane & segment, most = least | (clamp & ~segment);
  int source = 0;
  bool in_range = false;
  switch (mode) {
    case Collective::shuffle_up:
      source = lane - offset, in_range = source >= most;
      break;
    case Collective::shuffle_down:
      source = lane + offset, in_range = source <= most;
      break;
    case Collective::shuffle_xor:
      source = lane ^ offset, in_range = source <= most;
      break;
    default:
      source = least | (offset & ~segment), in_range = source <= most;
      break;
  }
  if (!in_range) source = lane;
  if ((mask >> lane & 1) && !(mask >> source & 1)) {
    fault(thread, site, "shuffle from outside the mask",
          format("lane %d reads lane %d, which is not in the mask %s", lane, source, lane_list(mask).c_str()));
  }
  return {static_cast<u32>(meet(thread, mask, mode, value, source, site)), in_range};
}

}  // namespace ptx
