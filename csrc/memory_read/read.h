#pragma once
// Weighted sums of slots, and multiples of vectors added to slots.
#include "common/cpu/lanes.h"
#include "common/slots.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

// out[h][m, m + kVectors vectors) = sum over the range of weights[h][n] slots[n]; the last vector has `lanes`.
template <int kHeads, int kVectors, class R>
[[gnu::flatten]] inline void read_columns(const Rows<const R>& memory, int64_t sentence, SlotRange range,
                                          const R* const* weights, int64_t m, int64_t lanes, R* const* out) {
  const auto lanes_of = [&](int v) { return v == kVectors - 1 ? lanes : kCount<R>; };
  V<R> sums[kHeads][kVectors] = {};
  for (int64_t n = range.begin; n < range.end; ++n) {
    const R* slot = memory.row(sentence, n) + m;
    for (int v = 0; v < kVectors; ++v) {
      const V<R> x = load_lanes<R>(slot + v * kCount<R>, lanes_of(v));
      for (int h = 0; h < kHeads; ++h) sums[h][v] = fma(Lanes<R>::splat(weights[h][n]), x, sums[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h)
    for (int v = 0; v < kVectors; ++v) store_lanes<R>(out[h] + m + v * kCount<R>, sums[h][v], lanes_of(v));
}

// out.row(first + h) = sum over the range of weights.row(h)[n] memory.row(n)
template <class R>
inline void read_slots(const Rows<const R>& memory, int64_t sentence, SlotRange range, const Rows<const R>& weights,
                       int64_t heads, const Rows<R>& out, int64_t first_row) {
  constexpr int kVectors = kLanes >= 16 ? 4 : 2;
  in_blocks<4>(0, heads, [&]<int kHeads>(int64_t first) {
    const R* rows[kHeads];
    R* lines[kHeads];
    for (int h = 0; h < kHeads; ++h) {
      rows[h] = weights.row(sentence, first + h);
      lines[h] = out.row(sentence, first_row + first + h);
    }
    int64_t m = 0;
    const int64_t width = memory.width;
    for (; m + kVectors * kCount<R> <= width; m += kVectors * kCount<R>)
      read_columns<kHeads, kVectors>(memory, sentence, range, rows, m, kCount<R>, lines);
    for (; m + kCount<R> < width; m += 2 * kCount<R>)
      read_columns<kHeads, 2>(memory, sentence, range, rows, m, std::min<int64_t>(width - m - kCount<R>, kCount<R>),
                              lines);
    if (m < width)
      read_columns<kHeads, 1>(memory, sentence, range, rows, m, std::min<int64_t>(width - m, kCount<R>), lines);
  });
}

// Adds multiples of vectors to the slots of a range, many vectors in one pass: to.row(n) = from.row(n) + sum of
// factors[n] vector. `from` and `to` may be the same.
template <class R>
class Additions {
 public:
  Additions(const Rows<const R>& from, const Rows<R>& to, int64_t sentence, SlotRange range)
      : from_(from), to_(to), sentence_(sentence), range_(range) {}

  void add(const R* factors, const R* vector) {
    if (count_ == kMost) run();
    factors_[count_] = factors;
    vectors_[count_++] = vector;
  }
  void add(const Rows<const R>& factors, const Rows<const R>& vectors, int64_t heads) {
    for (int64_t h = 0; h < heads; ++h) add(factors.row(sentence_, h), vectors.row(sentence_, h));
  }
  // own[n - begin] slots.row(n), once.
  void add_own(const R* own, const Rows<const R>& slots) {
    own_ = own;
    slots_ = slots;
  }
  void run() {
    if (count_ || own_) in_blocks<4>(range_.begin, range_.end, [&]<int kAtOnce>(int64_t n) { some<kAtOnce>(n); });
    count_ = 0;
    own_ = nullptr;
    from_ = to_;
  }

 private:
  static constexpr int kMost = 16;

  template <int kAtOnce>
  [[gnu::flatten]] void some(int64_t n) const {
    const R *from[kAtOnce], *slots[kAtOnce];
    R* to[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) {
      from[i] = from_.row(sentence_, n + i);
      to[i] = to_.row(sentence_, n + i);
      slots[i] = own_ ? slots_.row(sentence_, n + i) : nullptr;
    }
    each_lanes<R>(to_.width, [&](int64_t m, int64_t lanes) {
      V<R> x[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) x[i] = load_lanes<R>(from[i] + m, lanes);
      for (int j = 0; j < count_; ++j) {
        const V<R> vector = load_lanes<R>(vectors_[j] + m, lanes);
        for (int i = 0; i < kAtOnce; ++i) x[i] = fma(Lanes<R>::splat(factors_[j][n + i]), vector, x[i]);
      }
      for (int i = 0; own_ && i < kAtOnce; ++i)
        x[i] = fma(Lanes<R>::splat(own_[n + i - range_.begin]), load_lanes<R>(slots[i] + m, lanes), x[i]);
      for (int i = 0; i < kAtOnce; ++i) store_lanes<R>(to[i] + m, x[i], lanes);
    });
  }

  Rows<const R> from_;
  Rows<R> to_;
  int64_t sentence_;
  SlotRange range_;
  const R *factors_[kMost], *vectors_[kMost], *own_ = nullptr;
  Rows<const R> slots_;
  int count_ = 0;
};

// Rows of a range, in another place.
template <class R>
inline void copy_slots(const Rows<const R>& from, const Rows<R>& to, int64_t sentence, SlotRange range) {
  for (int64_t n = range.begin; n < range.end; ++n) copy_row(from.row(sentence, n), to.row(sentence, n), to.width);
}
template <class R>
inline void clear_slots(const Rows<R>& slots, int64_t sentence, SlotRange range) {
  for (int64_t n = range.begin; n < range.end; ++n) std::fill_n(slots.row(sentence, n), slots.width, R{0});
}

// out.row(h) = sum over the pieces of parts.row(piece heads + h), in their order.
template <class R>
inline void join_parts(const Rows<const R>& parts, int64_t sentence, int64_t pieces, int64_t heads, int64_t head,
                       R* out) {
  each_lanes<R>(parts.width, [&](int64_t m, int64_t lanes) {
    V<R> sum = Lanes<R>::splat(0);
    for (int64_t piece = 0; piece < pieces; ++piece)
      sum += load_lanes<R>(parts.row(sentence, piece * heads + head) + m, lanes);
    store_lanes<R>(out + m, sum, lanes);
  });
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
