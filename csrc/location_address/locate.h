#pragma once
// A row of location addressing and back.
#include "attention/softmax.h"
#include "common/cpu/log.h"
#include "location_address/location_address.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class R>
inline constexpr R kLeast = std::numeric_limits<R>::min();  // less counts as 0

// A head's part of LocationHeads.
template <class R>
struct LocationRow {
  int64_t slots, taps;
  const int64_t* offsets;
  const R *content, *previous, *shift;
  R gate, sharpen;
  bool sharpens;

  LocationRow(const LocationHeads<R>& in, int64_t sentence, int64_t head)
      : slots(in.slots),
        taps(in.shift.data ? in.taps : 0),
        offsets(in.offsets),
        content(in.content.row(sentence, head)),
        previous(in.previous.row(sentence, head)),
        shift(in.shift.data ? in.shift.row(sentence, head) : nullptr),
        gate(*in.gate.row(sentence, head)),
        sharpen(in.sharpen.data ? *in.sharpen.row(sentence, head) : R{1}),
        sharpens(in.sharpen.data) {}
};

template <class R>
inline void gate_row(const LocationRow<R>& in, R* out) {
  const V<R> gate = Lanes<R>::splat(in.gate), rest = Lanes<R>::splat(1 - in.gate);
  each_lanes<R>(in.slots, [&](int64_t n, int64_t lanes) {
    const V<R> old = load_lanes<R>(in.previous + n, lanes);
    store_lanes<R>(out + n, fma(gate, load_lanes<R>(in.content + n, lanes), rest * old), lanes);
  });
}

// Once more behind itself, so that n + N stands for n.
template <class R>
inline void repeat_row(R* row, int64_t n) {
  copy_row(row, row + n, n);
}

// out[n] = sum_s shift[s] twice[n + places[s]], with places in [0, N].
template <bool kBack, class R>
inline void convolve(const LocationRow<R>& in, const R* twice, R* out) {
  each_lanes<R>(in.slots, [&](int64_t n, int64_t lanes) {
    V<R> sum = Lanes<R>::splat(0);
    for (int64_t s = 0; s < in.taps; ++s) {
      const int64_t place = kBack ? in.offsets[s] : in.slots - in.offsets[s];
      sum = fma(Lanes<R>::splat(in.shift[s]), load_lanes<R>(twice + n + place, lanes), sum);
    }
    store_lanes<R>(out + n, sum, lanes);
  });
}

template <class R>
inline R largest_of(const R* row, int64_t count) {
  V<R> most = Lanes<R>::splat(0);
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) { most = max(load_lanes<R>(row + n, lanes), most); });
  return max_of(most);
}

// log(x / peak); anything where x counts as 0.
template <class R>
inline V<R> log_ratio(V<R> x, V<R> peak) {
  return log(max(Lanes<R>::splat(kLeast<R>), x / peak));
}

// Powers of a row, as shares of their sum, in place.
template <class R>
inline void sharpen_row(R* row, R sharpen, int64_t count) {
  const R peak = largest_of(row, count);
  const V<R> zero = Lanes<R>::splat(0), least = Lanes<R>::splat(kLeast<R>), exponent = Lanes<R>::splat(sharpen);
  const V<R> top = Lanes<R>::splat(std::max(peak, kLeast<R>));
  LongSum<R> sum;
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
    const V<R> x = load_lanes<R>(row + n, lanes);
    const V<R> power = exp_of(exponent * log_ratio<R>(x, top));
    const V<R> kept = x < least ? zero : power;
    sum.add(kept);
    store_lanes<R>(row + n, kept, lanes);
  });
  const R total = sum.total();
  if (total == 0) return;  // all are 0
  const V<R> share = Lanes<R>::splat(1 / total);
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
    const V<R> x = load_lanes<R>(row + n, lanes), y = without_subnormals<R>(x * share);
    store_lanes<R>(row + n, x == zero ? zero : y, lanes);
  });
}

template <class R>
inline void locate(const LocationWeights<R>& stage, int64_t sentence, int64_t head) {
  const LocationRow<R> in(stage.in, sentence, head);
  R* out = stage.weights.row(sentence, head);
  if (in.shift) {
    R* twice = stage.scratch.row(sentence, head);
    gate_row(in, twice);
    repeat_row(twice, in.slots);
    convolve<false>(in, twice, out);
  } else {
    gate_row(in, out);
  }
  if (in.sharpens) sharpen_row(out, in.sharpen, in.slots);
}

// From the gradient g of the sharpened row to that of the row itself; returns that of the exponent.
template <class R>
inline R sharpen_row_backward(const R* row, const R* weights, R* g, R sharpen, int64_t count) {
  const V<R> zero = Lanes<R>::splat(0), least = Lanes<R>::splat(kLeast<R>), exponent = Lanes<R>::splat(sharpen);
  const V<R> largest = Lanes<R>::splat(std::numeric_limits<R>::max());
  const V<R> top = Lanes<R>::splat(std::max(largest_of(row, count), kLeast<R>));
  LongSum<R> sum, by_exponent;
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
    const V<R> weight = load_lanes<R>(weights + n, lanes);
    sum.add(weight == zero ? zero : weight * load_lanes<R>(g + n, lanes));
  });
  const V<R> mean = Lanes<R>::splat(sum.total());
  each_lanes<R>(count, [&](int64_t n, int64_t lanes) {
    const V<R> weight = load_lanes<R>(weights + n, lanes), x = load_lanes<R>(row + n, lanes);
    const V<R> pull = load_lanes<R>(g + n, lanes) - mean;
    by_exponent.add(weight == zero ? zero : weight * log_ratio<R>(x, top) * pull);
    const V<R> slope = exponent * weight * pull / max(least, x);  // in this order: 0 where the pull is, x however small
    const V<R> finite = max(-largest, slope < largest ? slope : (slope == slope ? largest : slope));
    store_lanes<R>(g + n, weight == zero ? zero : finite, lanes);
  });
  return by_exponent.total();
}

template <class R>
inline R product_of_rows(const R* a, const R* b, int64_t count) {
  LongSum<R> sum;
  each_lanes<R>(count,
                [&](int64_t n, int64_t lanes) { sum.add(load_lanes<R>(a + n, lanes) * load_lanes<R>(b + n, lanes)); });
  return sum.total();
}

template <class R>
inline void locate_backward(const LocationBackward<R>& stage, int64_t sentence, int64_t head) {
  const LocationRow<R> in(stage.in, sentence, head);
  const int64_t N = in.slots;
  R *gated = stage.scratch.row(sentence, head), *shifted = gated + 2 * N, *twice = gated + 3 * N;
  R* g = stage.content.row(sentence, head);
  copy_row(stage.gradient.row(sentence, head), g, N);
  gate_row(in, gated);
  if (in.shift) {
    repeat_row(gated, N);
    if (in.sharpens) convolve<false>(in, gated, shifted);
  } else {
    shifted = gated;
  }
  if (in.sharpens)
    *stage.sharpen.row(sentence, head) =
        sharpen_row_backward(shifted, stage.weights.row(sentence, head), g, in.sharpen, N);
  if (in.shift) {
    copy_row(g, twice, N);
    repeat_row(twice, N);
    R* by_shift = stage.shift.row(sentence, head);
    for (int64_t s = 0; s < in.taps; ++s) by_shift[s] = product_of_rows(twice, gated + N - in.offsets[s], N);
    convolve<true>(in, twice, g);
  }
  R* previous = stage.previous.row(sentence, head);
  const V<R> gate = Lanes<R>::splat(in.gate), rest = Lanes<R>::splat(1 - in.gate);
  LongSum<R> by_gate;
  each_lanes<R>(N, [&](int64_t n, int64_t lanes) {
    const V<R> d = load_lanes<R>(g + n, lanes), old = load_lanes<R>(in.previous + n, lanes);
    by_gate.add(d * (load_lanes<R>(in.content + n, lanes) - old));
    store_lanes<R>(g + n, gate * d, lanes);
    store_lanes<R>(previous + n, rest * d, lanes);
  });
  *stage.gate.row(sentence, head) = by_gate.total();
}

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
