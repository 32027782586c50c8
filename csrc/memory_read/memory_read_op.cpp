#include <tuple>

#include "common/checked.h"
#include "common/stages.h"
#include "memory_read/memory_read.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "memory_read";

struct Given {
  Checked checked;
  MemorySizes sizes;
  Argument memory, weights;
  int64_t heads;

  Given(const Tensor& memory_, const Tensor& weights_)
      : checked(kName, "memory", memory_, "B, N, M"),
        sizes{checked.size(0), checked.size(1), checked.size(2)},
        memory(checked.real_first()),
        weights(checked.like_first("weights", weights_, {{"B", sizes.sentences}, {"H", kAny}, {"N", sizes.slots}})),
        heads(weights.size(1)) {}

  double work(double passes) const { return passes * sizes.sentences * sizes.slots * sizes.width * heads; }
  Tensor rows(int64_t count) const { return checked.make({sizes.sentences, count, sizes.width}); }
};

Tensor memory_read(const Tensor& memory, const Tensor& weights) {
  const Given g(memory, weights);
  const int64_t pieces = slot_pieces(g.sizes);
  const Tensor parts = g.rows(pieces * g.heads), reads = g.rows(g.heads);
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const MemoryRead<R> read{g.sizes, g.heads, rows_of<R>(g.memory), rows_of<R>(g.weights), new_rows_of<R>(parts)};
    const MemoryReadJoin<R> join{g.sizes, g.heads, rows_of<R>(parts), new_rows_of<R>(reads)};
    run_stages(memory, kName, g.sizes.sentences, g.work(1),
               {S2SFAST_STAGE(memory_read, read, pieces), S2SFAST_STAGE(memory_read_join, join, g.heads)});
  });
  return reads;
}

std::tuple<Tensor, Tensor> memory_read_backward(const Tensor& grad_, const Tensor& memory, const Tensor& weights) {
  const Given g(memory, weights);
  const auto& [B, N, M] = g.sizes;
  const Argument grad = g.checked.returned("the gradient", grad_, {{"B", B}, {"H", g.heads}, {"M", M}});
  Tensor dmemory = g.checked.make({B, N, M}), dweights = g.checked.make({B, g.heads, N});
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const MemoryReadBackward<R> back{g.sizes,
                                     g.heads,
                                     rows_of<R>(g.memory),
                                     rows_of<R>(g.weights),
                                     rows_of<R>(grad),
                                     new_rows_of<R>(dmemory),
                                     new_rows_of<R>(dweights)};
    run_stages(memory, kName, B, g.work(2), {S2SFAST_STAGE(memory_read_backward, back, slot_pieces(g.sizes))});
  });
  return {std::move(dmemory), std::move(dweights)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def("memory_read(Tensor memory, Tensor weights) -> Tensor", {at::Tag::pt2_compliant_tag});
  m.def("memory_read_backward(Tensor grad, Tensor memory, Tensor weights) -> (Tensor, Tensor)",
        {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("memory_read", TORCH_BOX(&memory_read));
  m.impl("memory_read_backward", TORCH_BOX(&memory_read_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("memory_read", TORCH_BOX(&memory_read));
  m.impl("memory_read_backward", TORCH_BOX(&memory_read_backward));
}

}  // namespace s2sfast
