#include <tuple>

#include "common/stages.h"
#include "location_address/location_address.h"
#include "location_address/sharpen.h"
#include "location_address/shift.h"

namespace s2sfast {
namespace {

constexpr char kName[] = "location_address";

// What both directions read.
struct Given {
  Checked checked;
  int64_t sentences, heads, slots;
  Argument content, previous, gate, shift, sharpen;
  std::vector<int64_t> offsets;

  Given(const Tensor& content_, const Tensor& previous_, const Tensor& gate_, const std::optional<Tensor>& shift_,
        const std::optional<Tensor>& sharpen_, const std::optional<std::vector<int64_t>>& offsets_)
      : checked(kName, "content", content_, "B, H, N"),
        sentences(checked.size(0)),
        heads(checked.size(1)),
        slots(checked.size(2)),
        content(checked.real_first()),
        previous(checked.like_first("previous", previous_, {{"B", sentences}, {"H", heads}, {"N", slots}})),
        gate(checked.like_first("gate", gate_, {{"B", sentences}, {"H", heads}})) {
    if (shift_) {
      shift = checked.like_first("shift", *shift_, {{"B", sentences}, {"H", heads}, {"S", kAny}});
      offsets = checked_offsets(kName, content_, taps(), slots, offsets_);
    }
    if (sharpen_) sharpen = checked.like_first("sharpen", *sharpen_, {{"B", sentences}, {"H", heads}});
  }

  int64_t taps() const { return shift ? shift.size(2) : 0; }
  double work(double passes) const { return passes * sentences * heads * slots * (40.0 + taps()); }
  Tensor rows(int64_t width) const { return checked.make({sentences, heads, width}); }

  template <class R>
  LocationHeads<R> of() const {
    return {sentences,
            heads,
            slots,
            taps(),
            rows_of<R>(content),
            rows_of<R>(previous),
            rows_of<R>(gate),
            rows_of<R>(shift),
            rows_of<R>(sharpen),
            offsets.data()};
  }
};

Tensor location_address(const Tensor& content, const Tensor& previous, const Tensor& gate, std::optional<Tensor> shift,
                        std::optional<Tensor> sharpen, std::optional<std::vector<int64_t>> shift_offsets) {
  const Given g(content, previous, gate, shift, sharpen, shift_offsets);
  Tensor weights = g.rows(g.slots), scratch = g.rows(2 * g.slots);
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const LocationWeights<R> stage{g.of<R>(), new_rows_of<R>(weights), new_rows_of<R>(scratch)};
    find_bad_sharpen(kName, content, stage.in.sharpen, g.sentences, g.heads, 1);
    run_stages(content, kName, g.sentences, g.work(1), {S2SFAST_STAGE(location_weights, stage, g.heads)});
  });
  return weights;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> location_address_backward(
    const Tensor& grad_, const Tensor& content, const Tensor& previous, const Tensor& gate, std::optional<Tensor> shift,
    std::optional<Tensor> sharpen, std::optional<std::vector<int64_t>> shift_offsets, const Tensor& weights_) {
  const Given g(content, previous, gate, shift, sharpen, shift_offsets);
  const auto& [B, H, N] = std::tie(g.sentences, g.heads, g.slots);
  const Argument grad = g.checked.returned("the gradient", grad_, {{"B", B}, {"H", H}, {"N", N}});
  const Argument weights = g.checked.returned("weights", weights_, {{"B", B}, {"H", H}, {"N", N}});
  Tensor dcontent = g.rows(N), dprevious = g.rows(N), dgate = g.checked.make({B, H});
  Tensor dshift = g.rows(g.taps()), dsharpen = g.checked.make({B, g.sharpen ? H : 0});
  const Tensor scratch = g.rows(5 * N);
  with_type(g.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    const LocationBackward<R> stage{g.of<R>(),
                                    rows_of<R>(weights),
                                    rows_of<R>(grad),
                                    new_rows_of<R>(dcontent),
                                    new_rows_of<R>(dprevious),
                                    new_rows_of<R>(dgate),
                                    new_rows_of<R>(dshift),
                                    new_rows_of<R>(dsharpen),
                                    new_rows_of<R>(scratch)};
    run_stages(content, kName, B, g.work(2), {S2SFAST_STAGE(location_backward, stage, H)});
  });
  return {std::move(dcontent), std::move(dprevious), std::move(dgate), std::move(dshift), std::move(dsharpen)};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "location_address(Tensor content, Tensor previous, Tensor gate, Tensor? shift, Tensor? sharpen, "
      "int[]? shift_offsets) -> Tensor",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "location_address_backward(Tensor grad, Tensor content, Tensor previous, Tensor gate, Tensor? shift, "
      "Tensor? sharpen, int[]? shift_offsets, Tensor weights) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("location_address", TORCH_BOX(&location_address));
  m.impl("location_address_backward", TORCH_BOX(&location_address_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("location_address", TORCH_BOX(&location_address));
  m.impl("location_address_backward", TORCH_BOX(&location_address_backward));
}

}  // namespace s2sfast
