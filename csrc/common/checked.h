#pragma once
// Checks of tensors that have to go with the first argument of an op, and room for what its kernels need meanwhile.
#include <optional>

#include "common/cosine.h"
#include "common/cpu/scratch.h"
#include "common/cuda_calls.h"
#include "common/rows.h"
#include "common/torch.h"

namespace s2sfast {

// What torch knows of a tensor, asked once: every question is a call.
struct Seen {
  const void* data;
  int64_t dim, *sizes, *strides;
  int32_t dtype, device_type, device;

  explicit Seen(const Tensor& t) {
    AtenTensorHandle handle = t.get();
    aoti_torch_get_dim(handle, &dim);
    aoti_torch_get_sizes(handle, &sizes);
    aoti_torch_get_strides(handle, &strides);
    aoti_torch_get_dtype(handle, &dtype);
    aoti_torch_get_device_type(handle, &device_type);
    aoti_torch_get_device_index(handle, &device);
    data = t.const_data_ptr();
  }
};

// A tensor that a kernel reads: as it was given, which must outlive this, or a copy in the dtype of the computation.
class Argument {
 public:
  Argument() = default;  // none
  Argument(const Seen& given) : seen_(given) {}
  explicit Argument(Tensor made) : made_(std::move(made)), seen_(Seen(*made_)) {}

  explicit operator bool() const { return seen_.has_value(); }
  int64_t size(int64_t d) const { return seen_->sizes[d]; }
  // The last dimension of (B, rows, width), or one number of (B, rows).
  template <class R>
  Rows<const R> rows() const {
    if (!seen_) return {};
    const int64_t width = seen_->dim == 2 ? 1 : seen_->sizes[2];
    return {static_cast<const R*>(seen_->data), width, seen_->strides[0], seen_->strides[1]};
  }

 private:
  std::optional<Tensor> made_;
  std::optional<Seen> seen_;
};
template <class R>
Rows<const R> rows_of(const Argument& a) {
  return a.rows<R>();
}

// One size that is expected, and its letter; kAny may be any.
struct Size {
  const char* letter;
  int64_t size;
};
inline constexpr int64_t kAny = -1;

struct Sizes {
  std::initializer_list<Size> of;
  const Seen& got;  // shown where any is allowed

  bool match() const {
    if (got.dim != static_cast<int64_t>(of.size())) return false;
    const int64_t* size = got.sizes;
    for (const Size& each : of)
      if (const int64_t mine = *size++; each.size != kAny && each.size != mine) return false;
    return true;
  }
};
inline std::ostream& operator<<(std::ostream& s, const Sizes& sizes) {
  const char* comma = "";
  s << '(';
  for (const Size& each : sizes.of) s << std::exchange(comma, ", ") << each.letter;
  s << ")=(";
  comma = "";
  int64_t d = 0;
  const bool known = sizes.got.dim == static_cast<int64_t>(sizes.of.size());
  for (const Size& each : sizes.of) {
    s << std::exchange(comma, ", ");
    if (each.size != kAny || known)
      s << (each.size != kAny ? each.size : sizes.got.sizes[d]);
    else
      s << each.letter;
    ++d;
  }
  return s << ')';
}

// The arguments of a call, in the dtype and on the device of the first.
class Checked {
 public:
  Checked(const char* op, const char* name, const Tensor& first, const char* letters)
      : op_(op), name_(name), first_(first), seen_(first), type_(first.scalar_type()) {
    check(seen_.dim == 3, op, ": expected ", name, " (", letters, "); got ", Shape{first});
    check_float(name, type_);
    if (on_cuda(first)) check_built_with_cuda(op);
  }

  const char* op() const { return op_; }
  const Tensor& first() const { return first_; }
  int64_t size(int64_t d) const { return seen_.sizes[d]; }
  ScalarType real_type() const { return s2sfast::real_type(type_); }

  Argument real_first() const { return real(first_, seen_, type_); }
  Argument like_first(const char* name, const Tensor& t, std::initializer_list<Size> sizes) const {
    const Seen seen(t);
    check_sizes(name, t, {sizes, seen});
    if (seen.dtype != seen_.dtype) [[unlikely]] {
      check_float(name, t.scalar_type());
      check(false, op_, ": expected ", name, " in the dtype of ", name_, "; got another dtype");
    }
    return real(t, seen, type_);
  }
  // Of a gradient, or of what a forward has saved: in the dtype of the first, or of the computation.
  Argument returned(const char* name, const Tensor& t, std::initializer_list<Size> sizes) const {
    const Seen seen(t);
    check_sizes(name, t, {sizes, seen});
    if (seen.dtype == seen_.dtype) return real(t, seen, type_);
    check_float(name, t.scalar_type());
    return real(t, seen, t.scalar_type());
  }
  // New tensors in the dtype of the computation.
  Tensor make(std::initializer_list<int64_t> sizes) const { return new_tensor(first_, sizes, real_type()); }
  Tensor zeros(std::initializer_list<int64_t> sizes) const {
    Tensor made = make(sizes);
    return torch::stable::zero_(made);
  }

 private:
  void check_float(const char* name, ScalarType type) const {
    check(is_float(type), op_, ": expected floating ", name,
          " (float32, float64, bfloat16, float16); got another dtype");
  }
  void check_sizes(const char* name, const Tensor& t, const Sizes& expected) const {
    check(expected.match(), op_, ": expected ", name, " ", expected, "; got ", Shape{t});
    check(expected.got.device_type == seen_.device_type && expected.got.device == seen_.device, op_, ": expected ",
          name, " on the device of ", name_);
  }
  // In the dtype of the computation, the numbers of a row neighbours.
  Argument real(const Tensor& t, const Seen& seen, ScalarType type) const {
    const int64_t last = seen.dim - 1;
    const bool neighbours = seen.dim == 2 || seen.strides[last] == 1 || seen.sizes[last] == 1;
    if (neighbours && type == real_type()) return seen;
    return Argument(dense_rows(as_type(t, real_type())));
  }

  const char *op_, *name_;
  const Tensor& first_;
  Seen seen_;
  ScalarType type_;
};

inline CosineRule checked_rule(const char* op, double eps, int64_t mode) {
  check(mode >= 0 && mode <= 2, op, ": expected eps_mode to be clamp, sqrt or product; got number ", mode);
  check(eps >= 0 && eps < std::numeric_limits<double>::infinity(), op, ": expected eps in [0, inf); got ", eps);
  return {static_cast<CosineEps>(mode), eps};
}

// The last dimension of (B, rows, width), or of (B, rows) with one number in each.
template <class R>
Rows<const R> rows_of(const Tensor& t) {
  if (t.dim() == 2) return {in<R>(t), 1, t.stride(0), t.stride(1)};
  return {in<R>(t), t.size(2), t.stride(0), t.stride(1)};
}
template <class R>
Rows<R> new_rows_of(const Tensor& t) {
  if (t.dim() == 2) return {out<R>(t), 1, t.stride(0), t.stride(1)};
  return {out<R>(t), t.size(2), t.stride(0), t.stride(1)};
}

// Carves rows out of one allocation, without gaps. Without memory it only measures.
template <class R>
class Arena {
 public:
  Arena(R* memory, int64_t sentences) : memory_(memory), sentences_(sentences) {}
  explicit Arena(int64_t sentences) : Arena(nullptr, sentences) {}

  // (B, count, width), or the same (count, width) for all sentences where the arena is for one.
  Rows<R> rows(int64_t count, int64_t width) {
    const int64_t each = count * width;
    Rows<R> found{memory_ ? memory_ + used_ : nullptr, width, sentences_ == 1 ? 0 : each, width};
    used_ += each * sentences_;
    return found;
  }
  // The same behind a gap, so that they begin at 16 bytes if the memory does: the device loads as many at once.
  Rows<R> vectors(int64_t count, int64_t width) {
    constexpr int64_t unit = 16 / sizeof(R);
    used_ = (used_ + unit - 1) / unit * unit;
    return rows(count, width);
  }
  int64_t used() const { return used_; }

 private:
  R* memory_;
  int64_t sentences_, used_ = 0;
};

// Memory for the numbers that a call needs meanwhile: the thread's own where nobody else works on it, which costs
// nothing in a loop of calls.
template <class R>
class Workspace {
 public:
  Workspace(const Checked& checked, bool alone, int64_t count) {
    if (alone) {
      memory_ = static_cast<R*>(thread_scratch(std::max<int64_t>(count, 1) * sizeof(R)));
      if (!memory_) throw std::bad_alloc();
    } else {
      tensor_ = checked.make({count});
      memory_ = out<R>(*tensor_);
    }
  }
  R* memory() const { return memory_; }

 private:
  std::optional<Tensor> tensor_;
  R* memory_;
};

}  // namespace s2sfast
