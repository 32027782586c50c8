#pragma once
// The additive score as ops need it: its own arguments checked, and its stages forward and backward.
#include "additive_scores/additive_scores.h"
#include "attention/attend.h"

namespace s2sfast {

template <class T>
int64_t pieces_of(const AdditiveScores<T>& a) {
  return pair_blocks(a.in.sizes);
}
template <class T>
void run_pieces(const AdditiveScores<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(additive_scores, a, b, i, j);
}
template <class T>
int launch_stage(const AdditiveScores<T>& a, CudaTarget target) {
  return additive_scores_cuda(a, target);
}
template <class T>
int64_t pieces_of(const AdditiveBackward<T>& a) {
  return attention_blocks(a.in.width, additive_group_width(a.in.width, a.in.channels));
}
template <class T>
void run_pieces(const AdditiveBackward<T>& a, int64_t b, int64_t i, int64_t j) {
  S2SFAST_DISPATCH(additive_scores_backward, a, b, i, j);
}
template <class T>
int launch_stage(const AdditiveBackward<T>& a, CudaTarget target) {
  return additive_scores_backward_cuda(a, target);
}

// What an element costs, in additions and multiplications of a product.
inline constexpr double kAdditiveWork = 3;

class AdditiveArguments {
 public:
  AdditiveArguments(const AttentionArguments& a, const Tensor& v, const std::optional<Tensor>& features,
                    const std::optional<Tensor>& feature_weight)
      : a_(a), v_(v) {
    const auto& [B, Q, P] = a.sizes();
    const int64_t D = a.width();
    check(v.dim() == 1 && v.size(0) == D, a.op(), ": expected v (D,)=(", D, ",); got ", Shape{v});
    a.check_like("v", v);
    v_ = dense(a.real("v", v));
    check(features.has_value() == feature_weight.has_value(), a.op(),
          ": expected features and feature_weight together; got one of them");
    if (!features) return;
    check(feature_weight->dim() == 2 && feature_weight->size(1) == D, a.op(), ": expected feature_weight (C, D)=(C, ",
          D, "); got ", Shape{*feature_weight});
    const int64_t C = feature_weight->size(0);
    check(features->dim() == 4 && features->size(0) == B && features->size(1) == Q && features->size(2) == P &&
              features->size(3) == C,
          a.op(), ": expected features (B, Q, T, C)=(", B, ", ", Q, ", ", P, ", ", C, "); got ", Shape{*features});
    a.check_like("features", *features);
    a.check_like("feature_weight", *feature_weight);
    features_ = dense_rows(*features);
    feature_weight_ = dense(a.real("feature_weight", *feature_weight));
  }

  int64_t channels() const { return feature_weight_ ? feature_weight_->size(0) : 0; }

  template <class T>
  AdditiveInputs<T> inputs() const {
    using R = Real<T>;
    AdditiveInputs<T> in{a_.sizes(), a_.mask(), a_.width(), a_.query<T>(), a_.keys<T>(), s2sfast::in<R>(v_)};
    if (channels() == 0) return in;
    in.channels = channels();
    in.features = s2sfast::in<T>(*features_);
    for (int d = 0; d < 3; ++d) in.feature_strides[d] = features_->stride(d);
    in.feature_weight = s2sfast::in<R>(*feature_weight_);
    return in;
  }

  template <class T>
  AdditiveScores<T> scores(const Tensor& into) const {
    return {inputs<T>(), out<Real<T>>(into)};
  }

  const AttentionArguments& common() const { return a_; }

 private:
  const AttentionArguments& a_;
  Tensor v_;
  std::optional<Tensor> features_, feature_weight_;
};

// The gradients of the inputs, from dscores.
class AdditiveResults {
 public:
  explicit AdditiveResults(const AdditiveArguments& arguments)
      : arguments_(arguments),
        query(a().per_query(a().width())),
        keys(a().per_position(a().width())),
        v(make({a().width()})),
        features(v),
        feature_weight(v),
        v_parts_(v),
        query_parts_(query),
        feature_parts_(v),
        weight_parts_(v) {
    const auto& [B, Q, P] = a().sizes();
    const int64_t C = arguments.channels(), D = a().width();
    const bool cuda = on_cuda(a().like());
    splits_ = cuda ? additive_splits(P) : 1;
    groups_ = cuda ? 1 : attention_blocks(D, additive_group_width(D, C));
    v_parts_ = make({splits_ * B, D});
    query_parts_ = splits_ == 1 ? query : make({splits_, B, Q, D});
    features = make({B, Q, P, C});
    feature_weight = make({C, D});
    feature_parts_ = groups_ == 1 || !C ? features : make({groups_, B, Q, P, C});
    weight_parts_ = make({C ? splits_ * B : 0, C, D});
  }

  template <class T>
  AdditiveBackward<T> stage(const Tensor& dscores) const {
    using R = Real<T>;
    return {arguments_.inputs<T>(), in<R>(dscores),         out<R>(query_parts_), out<R>(keys),
            out<R>(v_parts_),       out<R>(feature_parts_), out<R>(weight_parts_)};
  }

  // After that stage: the parts joined.
  template <class R>
  void join() const {
    join<R>(v_parts_, splits_ * B(), v);
    if (splits_ > 1) join<R>(query_parts_, splits_, query);
    if (!arguments_.channels()) return;
    join<R>(weight_parts_, splits_ * B(), feature_weight);
    if (groups_ > 1) join<R>(feature_parts_, groups_, features);
  }

 private:
  const AttentionArguments& a() const { return arguments_.common(); }
  int64_t B() const { return a().sizes().sentences; }
  Tensor make(std::initializer_list<int64_t> sizes) const { return new_tensor(a().like(), sizes, a().real_type()); }
  template <class R>
  void join(const Tensor& parts, int64_t count, const Tensor& into) const {
    const int64_t width = into.numel();
    const Stage stage(AttentionJoin<R>{in<R>(parts), count, width, out<R>(into)});
    if (on_cuda(parts)) return launch_stages(a().op(), parts, {stage});
    run_stages(1, static_cast<double>(count) * width, {stage});
  }

  const AdditiveArguments& arguments_;
  int64_t splits_ = 1, groups_ = 1;

 public:
  Tensor query, keys, v, features, feature_weight;

 private:
  Tensor v_parts_, query_parts_, feature_parts_, weight_parts_;
};

}  // namespace s2sfast
