#pragma once
// What ntm_step checks and hands to the kernels.
#include <array>
#include <tuple>

#include "common/checked.h"
#include "location_address/sharpen.h"
#include "location_address/shift.h"
#include "ntm_step/ntm_step.h"

namespace s2sfast {

inline constexpr char kNtmStep[] = "ntm_step";

enum NtmField : int { kKey, kStrength, kGate, kShift, kSharpen, kErase, kAdd, kNtmFields };
using NtmTensors = std::array<const Tensor*, kNtmFields>;

inline const Tensor* pointer_to(const std::optional<Tensor>& t) { return t ? &*t : nullptr; }

struct NtmNames {
  const char *head, *heads, *previous, *letter;  // heads: with what is expected of one tensor for all fields
  const char* field[kNtmFields];
};
inline constexpr NtmNames kNtmNames[] = {
    {"write_head",
     "write_head (B, W, P)=(",
     "write_previous",
     "W",
     {"write_head.key", "write_head.strength", "write_head.gate", "write_head.shift", "write_head.sharpen",
      "write_head.erase", "write_head.add"}},
    {"read_head",
     "read_head (B, R, P)=(",
     "read_previous",
     "R",
     {"read_head.key", "read_head.strength", "read_head.gate", "read_head.shift", "read_head.sharpen",
      "read_head.erase", "read_head.add"}}};

// The heads of one kind. One tensor for all of their numbers stands in the place of the key, and no strength.
struct NtmKind {
  int64_t heads = 0, taps = 0;
  bool writes = false, flat = false;
  std::array<Argument, kNtmFields> fields;
  Argument previous;
  std::vector<int64_t> offsets;

  NtmKind() = default;  // no heads
  NtmKind(int kind, const Checked& checked, const MemorySizes& s, const NtmTensors& given, const Tensor* previous_,
          const std::optional<std::vector<int64_t>>& shift_offsets)
      : writes(kind == 0), flat(!given[kStrength]) {
    const NtmNames& names = kNtmNames[kind];
    if (flat)
      take_flat(names, checked, s, *given[kKey]);
    else
      take_fields(names, checked, s, given);
    if (!located()) return;
    check(previous_, kNtmStep, ": expected ", names.previous, " (B, ", names.letter, ", N)=(", s.sentences, ", ", heads,
          ", ", s.slots, ") with a gate; got None");
    previous =
        checked.like_first(names.previous, *previous_, {{"B", s.sentences}, {names.letter, heads}, {"N", s.slots}});
    if (shifts()) offsets = checked_offsets(kNtmStep, checked.first(), taps, s.slots, shift_offsets);
  }

  bool located() const { return heads_have(kGate); }
  bool shifts() const { return located() && (flat ? taps > 0 : static_cast<bool>(fields[kShift])); }
  bool sharpens() const { return located() && heads_have(kSharpen); }

  template <class R>
  Rows<const R> previous_rows() const {
    return rows_of<R>(previous);
  }

  template <class R>
  NtmHeads<const R> given(int64_t width) const {
    if (flat) return of_flat<const R>(rows_of<R>(fields[kKey]), width);
    const auto rows = [&](NtmField field, bool wanted = true) {
      return wanted ? rows_of<R>(fields[field]) : Rows<const R>{};
    };
    return {rows(kKey),           rows(kStrength),   rows(kGate), rows(kShift, shifts()), rows(kSharpen, sharpens()),
            rows(kErase, writes), rows(kAdd, writes)};
  }

  // The fields' columns in one tensor's rows.
  template <class R>
  NtmHeads<R> of_flat(const Rows<R>& whole, int64_t width) const {
    const auto columns = [&](int64_t first, int64_t count) {
      return count ? Rows<R>{whole.data + first, count, whole.sentence_stride, whole.row_stride} : Rows<R>{};
    };
    const int64_t M = width, after = M + 3 + taps;
    return {Rows<R>{whole.data, M, whole.sentence_stride, whole.row_stride},
            columns(M, 1),
            columns(M + 1, 1),
            columns(M + 2, taps),
            columns(M + 2 + taps, 1),
            columns(after, writes ? M : 0),
            columns(after + M, writes ? M : 0)};
  }

 private:
  bool heads_have(NtmField field) const { return heads_given_ && (flat || fields[field]); }

  void take_flat(const NtmNames& names, const Checked& checked, const MemorySizes& s, const Tensor& whole) {
    const int64_t least = (writes ? 3 : 1) * s.width + 3;
    check(whole.dim() == 3 && whole.size(0) == s.sentences && whole.size(2) >= least, kNtmStep, ": expected ",
          names.heads, s.sentences, ", ", names.letter, ", P), P at least ", least, "; got ", Shape{whole});
    heads = whole.size(1);
    taps = whole.size(2) - least;
    heads_given_ = true;
    fields[kKey] =
        checked.like_first(names.head, whole, {{"B", s.sentences}, {names.letter, heads}, {"P", whole.size(2)}});
  }

  void take_fields(const NtmNames& names, const Checked& checked, const MemorySizes& s, const NtmTensors& given) {
    const auto take = [&](NtmField field, std::initializer_list<Size> sizes) {
      if (given[field]) fields[field] = checked.like_first(names.field[field], *given[field], sizes);
    };
    const Size B{"B", s.sentences}, M{"M", s.width};
    take(kKey, {B, {names.letter, kAny}, M});
    heads = fields[kKey].size(1);
    heads_given_ = true;
    const Size H{names.letter, heads};
    take(kStrength, {B, H});
    if (writes)
      for (const NtmField field : {kErase, kAdd}) {
        check(given[field], kNtmStep, ": expected ", names.field[field], " (B, W, M)=(", s.sentences, ", ", heads, ", ",
              s.width, "); got None");
        take(field, {B, H, M});
      }
    take(kGate, {B, H});
    if (!located()) return;
    take(kShift, {B, H, {"S", kAny}});
    if (fields[kShift]) taps = fields[kShift].size(2);
    take(kSharpen, {B, H});
  }

  bool heads_given_ = false;
};

struct NtmArguments {
  Checked checked;
  MemorySizes sizes;
  bool write_first, lecture;  // lecture: what has been written with is read with, from the new memory
  Composition composition;
  CosineRule rule;
  NtmActivation activation;
  Argument memory;
  NtmKind write, read;

  NtmArguments(const Tensor& memory_, const Tensor* read_previous, const Tensor* write_previous,
               const NtmTensors& read_head, const NtmTensors& write_head,
               const std::optional<std::vector<int64_t>>& shift_offsets, int64_t order, int64_t composition, double eps,
               int64_t eps_mode, int64_t activation_code)
      : checked(kNtmStep, "memory", memory_, "B, N, M"),
        sizes{checked.size(0), checked.size(1), checked.size(2)},
        write_first(order == 0),
        lecture(!read_head[kKey]),
        composition(static_cast<Composition>(composition)),
        rule(checked_rule(kNtmStep, eps, eps_mode)),
        activation{(activation_code & 1) != 0, (activation_code & 2) != 0, (activation_code & 4) != 0,
                   (activation_code & 8) != 0},
        memory(checked.real_first()),
        write(0, checked, sizes, write_head, write_previous, shift_offsets) {
    if (!lecture)
      read = NtmKind(1, checked, sizes, read_head, read_previous, shift_offsets);
    else
      check(write_first, kNtmStep, ": expected a read_head with order='read_write'; got None");
  }

  const NtmKind& of(int kind) const { return kind == 0 ? write : read; }
  int64_t readers() const { return lecture ? write.heads : read.heads; }
  const Tensor& like() const { return checked.first(); }

  // Once a call: the backward's have been seen by the forward.
  template <class R>
  void find_bad_sharpens() const {
    if (activation.any || on_cuda(like())) return;  // at least 1 by how they are made; found while heads are prepared
    for (const int kind : {0, 1})
      if (of(kind).sharpens())
        find_bad_sharpen<R>(kNtmStep, like(), of(kind).template given<R>(sizes.width).sharpen, sizes.sentences,
                            of(kind).heads, kind == 0 ? 3 : 2);
  }
};

}  // namespace s2sfast
