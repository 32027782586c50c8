#include <tuple>

#include "common/checked.h"
#include "common/stages.h"
#include "memory_read/memory_read.h"
#include "memory_write/memory_write.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "memory_write";

struct Given {
  Checked checked;
  MemorySizes sizes;
  Argument memory, weights;
  int64_t heads;
  Argument erase, add;
  Composition composition;

  Given(const Tensor& memory_, const Tensor& weights_, const Tensor& erase_, const Tensor& add_, int64_t composition_)
      : checked(kName, "memory", memory_, "B, N, M"),
        sizes{checked.size(0), checked.size(1), checked.size(2)},
        memory(checked.real_first()),
        weights(checked.like_first("weights", weights_, {{"B", sizes.sentences}, {"H", kAny}, {"N", sizes.slots}})),
        heads(weights.size(1)),
        erase(checked.like_first("erase", erase_, {{"B", sizes.sentences}, {"H", heads}, {"M", sizes.width}})),
        add(checked.like_first("add", add_, {{"B", sizes.sentences}, {"H", heads}, {"M", sizes.width}})),
        composition(static_cast<Composition>(composition_)) {}

  double work(double passes) const { return passes * sizes.sentences * sizes.slots * sizes.width * (heads + 1); }
  Tensor slots() const { return checked.make({sizes.sentences, sizes.slots, sizes.width}); }

  template <class R>
  WriteHeads<R> of() const {
    return {sizes, heads, composition, rows_of<R>(weights), rows_of<R>(erase), rows_of<R>(add)};
  }
};

Tensor memory_write(const Tensor& memory, const Tensor& weights, const Tensor& erase, const Tensor& add,
                    int64_t composition) {
  const Given g(memory, weights, erase, add, composition);
  const Tensor written = g.slots();
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const MemoryWrite<R> write{g.of<R>(), rows_of<R>(g.memory), new_rows_of<R>(written)};
    run_stages(memory, kName, g.sizes.sentences, g.work(3), {S2SFAST_STAGE(memory_write, write, slot_pieces(g.sizes))});
  });
  return written;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> memory_write_backward(const Tensor& grad_, const Tensor& memory,
                                                                 const Tensor& weights, const Tensor& erase,
                                                                 const Tensor& add, int64_t composition) {
  const Given g(memory, weights, erase, add, composition);
  const auto& [B, N, M] = g.sizes;
  const int64_t H = g.heads, pieces = slot_pieces(g.sizes);
  const Argument grad = g.checked.returned("the gradient", grad_, {{"B", B}, {"N", N}, {"M", M}});
  const auto vectors = [&](int64_t count) { return g.checked.make({B, count, M}); };
  Tensor dmemory = g.slots(), dweights = g.checked.make({B, H, N}), derase = vectors(H), dadd = vectors(H);
  const Tensor erase_parts = vectors(pieces * H), add_parts = vectors(pieces * H);
  const Tensor scratch = g.checked.make({B, pieces, write_scratch(H)});
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const MemoryWriteBackward<R> back{g.of<R>(),
                                      rows_of<R>(g.memory),
                                      rows_of<R>(grad),
                                      new_rows_of<R>(dmemory),
                                      new_rows_of<R>(dweights),
                                      new_rows_of<R>(erase_parts),
                                      new_rows_of<R>(add_parts),
                                      new_rows_of<R>(scratch)};
    const MemoryReadJoin<R> join_erase{g.sizes, H, rows_of<R>(erase_parts), new_rows_of<R>(derase)};
    const MemoryReadJoin<R> join_add{g.sizes, H, rows_of<R>(add_parts), new_rows_of<R>(dadd)};
    run_stages(memory, kName, B, g.work(10),
               {S2SFAST_STAGE(memory_write_backward, back, pieces), S2SFAST_STAGE(memory_read_join, join_erase, H),
                S2SFAST_STAGE(memory_read_join, join_add, H)});
  });
  return {std::move(dmemory), std::move(dweights), std::move(derase), std::move(dadd)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def("memory_write(Tensor memory, Tensor weights, Tensor erase, Tensor add, int composition) -> Tensor",
        {at::Tag::pt2_compliant_tag});
  m.def(
      "memory_write_backward(Tensor grad, Tensor memory, Tensor weights, Tensor erase, Tensor add, int composition) "
      "-> (Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("memory_write", TORCH_BOX(&memory_write));
  m.impl("memory_write_backward", TORCH_BOX(&memory_write_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("memory_write", TORCH_BOX(&memory_write));
  m.impl("memory_write_backward", TORCH_BOX(&memory_write_backward));
}

}  // namespace s2sfast
