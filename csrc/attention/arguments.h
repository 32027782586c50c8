#pragma once
// What the attentions' ops check and hand to the kernels: the tensors in the dtypes that the kernels read.
#include <optional>

#include "attention/attention.h"
#include "common/checked.h"
#include "common/cuda_calls.h"
#include "common/torch.h"

namespace s2sfast {

inline void check_length(const char* op, bool ok, int64_t positions, int64_t got, int64_t sentence, const char* when) {
  check(ok, op, ": expected lengths in [0, T]=[0, ", positions, "]; got ", got, " for sentence ", sentence, when);
}

// The ops in whose name a fault may come; `what` of the fault is the place in this list, from 1.
inline constexpr const char* kAttentionOps[] = {"dot_attention", "bilinear_attention", "additive_attention",
                                                "cosine_attention", "additive_scores"};

inline void raise_late_length(const CudaFault& fault) {
  const auto& [sentence, got, positions, a, b] = fault.details;
  check_length(kAttentionOps[fault.what - 1], false, positions, got, sentence, kFoundLate);
}
inline const bool kLateLengthsAreRaised = describe_faults(CudaOp::attention, &raise_late_length);

class AttentionArguments {
 public:
  AttentionArguments(const char* op, const Tensor& query, const Tensor& keys, const std::optional<Tensor>& values,
                     const std::optional<Tensor>& mask, const std::optional<Tensor>& lengths,
                     bool query_may_be_real = false)
      : op_(op), type_(keys.scalar_type()), device_(keys), has_values_(values.has_value()) {
    check(query.dim() == 3, op, ": expected query (B, Q, D) or (B, D); got ", Shape{query});
    check(keys.dim() == 3, op, ": expected keys (B, T, D); got ", Shape{keys});
    sizes_ = {keys.size(0), query.size(1), keys.size(1)};
    check(query.size(0) == sizes_.sentences && query.size(2) == keys.size(2), op, ": expected query (B, Q, D)=(",
          sizes_.sentences, ", Q, ", keys.size(2), "); got ", Shape{query});
    check(!values || (values->dim() == 3 && values->size(0) == sizes_.sentences && values->size(1) == sizes_.positions),
          op, ": expected values (B, T, E)=(", sizes_.sentences, ", ", sizes_.positions, ", E); got ",
          Shape{values ? *values : keys});
    check_float("query", query);
    check_float("keys", keys);
    check(query.scalar_type() == type_ || query_may_be_real, op,
          ": expected keys in the dtype of query; got another dtype");
    if (on_cuda(keys)) check_fits_cuda();
    query_ = dense_rows(real("query", query));
    keys_ = dense_rows(keys);
    if (values) check_like("values", *values);
    values_ = values ? dense_rows(*values) : keys_;
    if (mask) set_mask(*mask);
    if (lengths) set_lengths(*lengths);
  }

  const char* op() const { return op_; }
  int number() const {
    int i = 0;
    while (std::strcmp(kAttentionOps[i], op_)) ++i;
    return i + 1;
  }
  ScalarType type() const { return type_; }
  ScalarType real_type() const { return s2sfast::real_type(type_); }
  const AttentionSizes& sizes() const { return sizes_; }
  const AttentionMask& mask() const { return mask_; }
  bool masked() const { return mask_.allowed || mask_.lengths; }
  int64_t width() const { return keys_.size(2); }
  int64_t value_width() const { return values_.size(2); }
  bool has_values() const { return has_values_; }
  const Tensor& like() const { return device_; }

  template <class T>
  Rows<const Real<T>> query() const {
    return rows_of<Real<T>>(query_);
  }
  template <class T>
  Rows<const T> keys() const {
    return rows_of<T>(keys_);
  }
  template <class T>
  Rows<const T> values() const {
    return rows_of<T>(values_);
  }

  // The same, for torch's matmul.
  const Tensor& query_rows() const { return query_; }
  Tensor real_keys() const { return as_type(keys_, real_type()); }
  Tensor real_values() const { return as_type(values_, real_type()); }

  Tensor pairs() const {
    return new_tensor(device_, {sizes_.sentences, sizes_.queries, sizes_.positions}, real_type());
  }
  Tensor per_query(int64_t width) const {
    return new_tensor(device_, {sizes_.sentences, sizes_.queries, width}, real_type());
  }
  Tensor per_position(int64_t width) const {
    return new_tensor(device_, {sizes_.sentences, sizes_.positions, width}, real_type());
  }

  void check_float(const char* name, const Tensor& t) const {
    check(is_float(t.scalar_type()), op_, ": expected floating ", name,
          " (float32, float64, bfloat16, float16); got another dtype");
    check(same_device(t, device_), op_, ": expected ", name, " on the device of query");
  }
  void check_like(const char* name, const Tensor& t) const {
    check_float(name, t);
    check(t.scalar_type() == type_, op_, ": expected ", name, " in the dtype of query; got another dtype");
  }
  // In the dtype of the computation; given in that or in the keys'.
  Tensor real(const char* name, const Tensor& t) const {
    check_float(name, t);
    check(t.scalar_type() == type_ || t.scalar_type() == real_type(), op_, ": expected ", name,
          " in the dtype of query; got another dtype");
    return as_type(t, real_type());
  }

 private:
  void check_fits_cuda() const {
    check_built_with_cuda(op_);
    constexpr int64_t most = std::numeric_limits<int32_t>::max();
    check(sizes_.sentences <= most && sizes_.sentences * sizes_.queries <= most, op_,
          ": expected B*Q < 2^31 on CUDA; got (B, Q)=(", sizes_.sentences, ", ", sizes_.queries, ")");
  }

  void set_mask(const Tensor& mask) {
    const auto& [B, Q, T] = sizes_;
    check(mask.scalar_type() == ScalarType::Bool, op_, ": expected mask to be bool; got another dtype");
    check(same_device(mask, device_), op_, ": expected mask on the device of query");
    const bool shared = mask.dim() == 2 && mask.size(0) == B && mask.size(1) == T;
    check(shared || (mask.dim() == 3 && mask.size(0) == B && mask.size(1) == Q && mask.size(2) == T), op_,
          ": expected mask (B, T)=(", B, ", ", T, ") or (B, Q, T)=(", B, ", ", Q, ", ", T, "); got ", Shape{mask});
    allowed_ = mask;
    mask_.allowed = in<bool>(mask);
    mask_.sentence_stride = mask.stride(0);
    mask_.query_stride = shared || Q == 1 ? 0 : mask.stride(1);
    mask_.position_stride = mask.stride(shared ? 1 : 2);
  }

  void set_lengths(const Tensor& lengths) {
    check(lengths.scalar_type() == ScalarType::Long || lengths.scalar_type() == ScalarType::Int, op_,
          ": expected lengths to be int32 or int64; got another dtype");
    check(same_device(lengths, device_), op_, ": expected lengths on the device of query");
    check(lengths.dim() == 1 && lengths.size(0) == sizes_.sentences, op_, ": expected lengths (B,)=(", sizes_.sentences,
          ",); got ", Shape{lengths});
    lengths_ = dense(as_type(lengths, ScalarType::Long));
    mask_.lengths = in<int64_t>(*lengths_);
    if (on_cuda(device_)) return;  // found late: attend.h
    for (int64_t b = 0; b < sizes_.sentences; ++b)
      check_length(op_, mask_.lengths[b] >= 0 && mask_.lengths[b] <= sizes_.positions, sizes_.positions,
                   mask_.lengths[b], b, "");
  }

  const char* op_;
  ScalarType type_;
  Tensor device_;  // the keys as given
  bool has_values_;
  AttentionSizes sizes_;
  AttentionMask mask_;
  Tensor query_, keys_, values_;
  std::optional<Tensor> allowed_, lengths_;  // they own what the mask points into
};

}  // namespace s2sfast
