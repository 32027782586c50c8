#include "content_address/content.h"
#include "memory_read/read.h"
#include "memory_write/write.h"
#include "ntm_step/activation.h"
#include "ntm_step/ntm_step.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

template <class R>
inline void prepare_head(const NtmPrepare<R>& stage, int64_t b, int64_t h) {
  const NtmHeads<const R>& from = stage.given;
  const NtmHeads<R>& to = stage.ready;
  const NtmActivation& active = stage.activation;
  const auto keep = [](V<R> x) { return x; };
  const auto bend = [](V<R> x) { return tanh(x); };
  const auto map = [&](const Rows<const R>& in, const Rows<R>& out, auto function) {
    if (in.data) map_row(in.row(b, h), out.row(b, h), in.width, function);
  };
  const auto one = [&](const Rows<const R>& in, const Rows<R>& out, auto function) {
    if (in.data) *out.row(b, h) = active.any ? function(*in.row(b, h)) : *in.row(b, h);
  };
  active.any&& active.tanh_key ? map(from.key, to.key, bend) : map(from.key, to.key, keep);
  one(from.strength, to.strength, [&](R x) { return softplus_of(x) + (active.one_more_strength ? 1 : 0); });
  one(from.gate, to.gate, sigmoid_of<R>);
  one(from.sharpen, to.sharpen, [](R x) { return 1 + softplus_of(x); });
  map(from.shift, to.shift, keep);
  if (active.any && from.shift.data && !softmax_row(to.shift.row(b, h), R{1}, from.shift.width))
    std::fill_n(to.shift.row(b, h), from.shift.width, std::numeric_limits<R>::quiet_NaN());
  active.any ? map(from.erase, to.erase, sigmoid<R>) : map(from.erase, to.erase, keep);
  active.any&& active.tanh_add ? map(from.add, to.add, bend) : map(from.add, to.add, keep);
}

template <class R>
inline void read_weights(const NtmReadWeights<R>& of, int64_t sentence, SlotRange range) {
  match<R>(of.memory, sentence, range, of.gradient, of.heads, of.dweights, nullptr);
  if (!of.more.data) return;
  for (int64_t h = 0; h < of.heads; ++h) {
    R* d = of.dweights.row(sentence, h) + range.begin;
    const R* more = of.more.row(sentence, h) + range.begin;
    for (int64_t i = 0; i < range.end - range.begin; ++i) d[i] += more[i];
  }
}

// content.dmemory = from + what the heads add, for a piece; and the piece's part of the keys' gradients.
template <class R>
inline void spread_looked(const NtmLooked<R>& by, const Rows<const R>& from, int64_t sentence, int64_t piece,
                          SlotRange range) {
  const ContentSpread<R>& content = by.content;
  Additions<R> additions(from, content.dmemory, sentence, range);
  ContentPull<R> pull;
  add_content(content, sentence, range, pull, additions);
  additions.add(by.weights, by.gradient, by.readers);
  additions.run();
  read_slots(content.memory, sentence, range, content.a, content.in.heads, content.key_parts, piece * content.in.heads);
}

template <class R>
inline void finish_head(const NtmFinish<R>& stage, int64_t b, int64_t h) {
  const NtmPrepare<R>& heads = stage.heads;
  const NtmHeads<R>&to = stage.gradient, &ready = heads.ready;
  const NtmActivation& active = heads.activation;
  join_key(stage.key.key_parts, stage.key.in, stage.key.key_pull, b, h, to.key.row(b, h));
  for (const auto& [stage_of, out] : {std::pair{&stage.erase, &to.erase}, std::pair{&stage.add, &to.add}})
    if (stage_of->heads)
      join_parts(stage_of->parts, b, slot_pieces(stage_of->sizes), stage_of->heads, h, out->row(b, h));
  if (!active.any) return;

  const V<R> unit = Lanes<R>::splat(1);
  const auto of_tanh = [&](V<R> y) { return unit - y * y; };
  const auto of_sigmoid = [&](V<R> y) { return y * (unit - y); };
  const auto scale = [&](const Rows<R>& gradient, const Rows<R>& y, auto slope) {
    if (gradient.data) scale_row(gradient.row(b, h), y.row(b, h), gradient.width, slope);
  };
  const auto of_softplus = [&](const Rows<R>& gradient, const Rows<const R>& x) {
    if (gradient.data) *gradient.row(b, h) *= sigmoid_of(*x.row(b, h));
  };
  if (active.tanh_key) scale(to.key, ready.key, of_tanh);
  of_softplus(to.strength, heads.given.strength);
  scale(to.gate, ready.gate, of_sigmoid);
  of_softplus(to.sharpen, heads.given.sharpen);
  if (to.shift.data) softmax_row_backward<R>(ready.shift.row(b, h), nullptr, to.shift.row(b, h), R{1}, to.shift.width);
  scale(to.erase, ready.erase, of_sigmoid);
  if (active.tanh_add) scale(to.add, ready.add, of_tanh);
}

}  // namespace

template <class R>
void ntm_prepare(const NtmPrepare<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) prepare_head(stage, sentence, head);
}

template <class R>
void ntm_write(const NtmWrite<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const MemoryWrite<R>& write = stage.write;
  const MemoryRead<R>& read = stage.read;
  for (int64_t piece = begin; piece < end; ++piece) {
    const SlotRange range = slots_of(write.in.sizes, piece);
    write_range(write.in, write.memory, sentence, range, write.written);
    match_content(stage.match, sentence, range);
    read_slots(read.memory, sentence, range, read.weights, read.heads, read.parts, piece * read.heads);
  }
}

template <class R>
void ntm_rewrite(const NtmRewrite<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const MemoryWrite<R>& write = stage.write;
  for (int64_t piece = begin; piece < end; ++piece) {
    const SlotRange range = slots_of(write.in.sizes, piece);
    write_range(write.in, write.memory, sentence, range, write.written);
    read_weights(stage.read, sentence, range);
  }
}

template <class R>
void ntm_write_backward(const NtmWriteBackward<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  const MemoryWriteBackward<R>& write = stage.write;
  for (int64_t piece = begin; piece < end; ++piece) {
    const SlotRange range = slots_of(write.in.sizes, piece);
    const bool looked = stage.after.readers || stage.after.content.in.heads;
    if (!stage.given.data)
      clear_slots(write.dmemory, sentence, range);
    else if (!looked)
      copy_slots(stage.given, write.dmemory, sentence, range);
    const Rows<const R> from = stage.given.data ? stage.given : Rows<const R>(write.dmemory);
    spread_looked(stage.after, from, sentence, piece, range);
    read_weights(stage.before, sentence, range);
    memory_write_backward(write, sentence, piece, piece + 1);
    for (const Rows<const R>& more : stage.more)
      for (int64_t h = 0; more.data && h < write.in.heads; ++h) {
        R* d = write.dweights.row(sentence, h);
        for (int64_t n = range.begin; n < range.end; ++n) d[n] += more.row(sentence, h)[n];
      }
  }
}

template <class R>
void ntm_spread(const NtmSpread<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece)
    for (const NtmLooked<R>& by : stage.by)
      spread_looked<R>(by, by.content.dmemory, sentence, piece, slots_of(by.content.in.sizes, piece));
}

template <class R>
void ntm_finish(const NtmFinish<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) finish_head(stage, sentence, head);
}

template void ntm_prepare(const NtmPrepare<float>&, int64_t, int64_t, int64_t);
template void ntm_prepare(const NtmPrepare<double>&, int64_t, int64_t, int64_t);
template void ntm_write(const NtmWrite<float>&, int64_t, int64_t, int64_t);
template void ntm_write(const NtmWrite<double>&, int64_t, int64_t, int64_t);
template void ntm_rewrite(const NtmRewrite<float>&, int64_t, int64_t, int64_t);
template void ntm_rewrite(const NtmRewrite<double>&, int64_t, int64_t, int64_t);
template void ntm_write_backward(const NtmWriteBackward<float>&, int64_t, int64_t, int64_t);
template void ntm_write_backward(const NtmWriteBackward<double>&, int64_t, int64_t, int64_t);
template void ntm_spread(const NtmSpread<float>&, int64_t, int64_t, int64_t);
template void ntm_spread(const NtmSpread<double>&, int64_t, int64_t, int64_t);
template void ntm_finish(const NtmFinish<float>&, int64_t, int64_t, int64_t);
template void ntm_finish(const NtmFinish<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
