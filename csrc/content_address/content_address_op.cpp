#include <tuple>

#include "common/checked.h"
#include "common/stages.h"
#include "content_address/content_address.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "content_address";

// What both directions read.
struct Given {
  Checked checked;
  MemorySizes sizes;
  Argument memory, key;
  int64_t heads;
  Argument strength;
  CosineRule rule;

  Given(const Tensor& memory_, const Tensor& key_, const Tensor& strength_, double eps, int64_t mode)
      : checked(kName, "memory", memory_, "B, N, M"),
        sizes{checked.size(0), checked.size(1), checked.size(2)},
        memory(checked.real_first()),
        key(checked.like_first("key", key_, {{"B", sizes.sentences}, {"H", kAny}, {"M", sizes.width}})),
        heads(key.size(1)),
        strength(checked.like_first("strength", strength_, {{"B", sizes.sentences}, {"H", heads}})),
        rule(checked_rule(kName, eps, mode)) {}

  template <class R>
  ContentHeads<R> of() const {
    return {sizes, heads, rule, rows_of<R>(key), rows_of<R>(strength)};
  }
  double work(double passes) const {
    return passes * sizes.sentences * sizes.slots * (sizes.width * (heads + 1.0) + 20.0 * heads);
  }
  int64_t norms() const { return heads ? 1 : 0; }  // a row, if anybody asks
  Tensor pairs() const { return checked.make({sizes.sentences, heads, sizes.slots}); }
};

std::tuple<Tensor, Tensor, Tensor> content_address(const Tensor& memory, const Tensor& key, const Tensor& strength,
                                                   double eps, int64_t eps_mode) {
  const Given g(memory, key, strength, eps, eps_mode);
  Tensor weights = g.pairs(), cosines = g.pairs(),
         norms = g.checked.make({g.sizes.sentences, g.norms(), g.sizes.slots});
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const auto heads = g.of<R>();
    const ContentMatch<R> match{heads, rows_of<R>(g.memory), new_rows_of<R>(cosines), new_rows_of<R>(norms)};
    const ContentWeights<R> weigh{heads, rows_of<R>(norms), new_rows_of<R>(cosines), new_rows_of<R>(weights)};
    run_stages(
        memory, kName, g.sizes.sentences, g.work(1),
        {S2SFAST_STAGE(content_match, match, slot_pieces(g.sizes)), S2SFAST_STAGE(content_weights, weigh, g.heads)});
  });
  return {std::move(weights), std::move(cosines), std::move(norms)};
}

std::tuple<Tensor, Tensor, Tensor> content_address_backward(const Tensor& grad_, const Tensor& memory,
                                                            const Tensor& key, const Tensor& strength, double eps,
                                                            int64_t eps_mode, const Tensor& weights_,
                                                            const Tensor& cosines_, const Tensor& norms_) {
  const Given g(memory, key, strength, eps, eps_mode);
  const auto& [B, N, M] = g.sizes;
  const auto pairs = [&](const char* name, const Tensor& t) {
    return g.checked.returned(name, t, {{"B", B}, {"H", g.heads}, {"N", N}});
  };
  const Argument grad = pairs("the gradient", grad_), weights = pairs("weights", weights_);
  const Argument cosines = pairs("cosines", cosines_);
  const Argument norms = g.checked.returned("norms", norms_, {{"B", B}, {"1", g.norms()}, {"N", N}});
  const int64_t pieces = slot_pieces(g.sizes);
  Tensor dmemory = g.checked.make({B, N, M}), dkey = g.checked.make({B, g.heads, M});
  Tensor dstrength = g.checked.make({B, g.heads});
  const Tensor a = g.pairs(), pull = g.checked.make({B, g.heads}), parts = g.checked.make({B, pieces * g.heads, M});
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const auto heads = g.of<R>();
    const ContentBackward<R> back{heads,
                                  rows_of<R>(norms),
                                  rows_of<R>(cosines),
                                  rows_of<R>(weights),
                                  rows_of<R>(grad),
                                  new_rows_of<R>(a),
                                  new_rows_of<R>(dstrength),
                                  new_rows_of<R>(pull)};
    const ContentSpread<R> spread{heads,         rows_of<R>(g.memory),    rows_of<R>(norms),    rows_of<R>(cosines),
                                  rows_of<R>(a), new_rows_of<R>(dmemory), new_rows_of<R>(parts)};
    const ContentJoin<R> join{heads, rows_of<R>(parts), rows_of<R>(pull), new_rows_of<R>(dkey)};
    run_stages(memory, kName, B, g.work(2),
               {S2SFAST_STAGE(content_backward, back, g.heads), S2SFAST_STAGE(content_spread, spread, pieces),
                S2SFAST_STAGE(content_join, join, g.heads)});
  });
  return {std::move(dmemory), std::move(dkey), std::move(dstrength)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "content_address(Tensor memory, Tensor key, Tensor strength, float eps, int eps_mode) -> (Tensor, Tensor, "
      "Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "content_address_backward(Tensor grad, Tensor memory, Tensor key, Tensor strength, float eps, int eps_mode, "
      "Tensor weights, Tensor cosines, Tensor norms) -> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("content_address", TORCH_BOX(&content_address));
  m.impl("content_address_backward", TORCH_BOX(&content_address_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("content_address", TORCH_BOX(&content_address));
  m.impl("content_address_backward", TORCH_BOX(&content_address_backward));
}

}  // namespace s2sfast
