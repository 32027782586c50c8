#pragma once
// Checks of tensors that have to go with the first argument of an op, and room for what its kernels need meanwhile.
#include "common/cosine.h"
#include "common/cuda_calls.h"
#include "common/rows.h"
#include "common/torch.h"

namespace s2sfast {

// One size that is expected, and its letter; kAny may be any.
struct Size {
  const char* letter;
  int64_t size;
};
inline constexpr int64_t kAny = -1;

struct Sizes {
  std::initializer_list<Size> of;
  const Tensor& got;  // shown where any is allowed

  bool match() const {
    if (got.dim() != static_cast<int64_t>(of.size())) return false;
    int64_t d = 0;
    for (const Size& each : of) {
      if (each.size != kAny && each.size != got.size(d)) return false;
      ++d;
    }
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
  const bool known = sizes.got.dim() == static_cast<int64_t>(sizes.of.size());
  for (const Size& each : sizes.of) {
    s << std::exchange(comma, ", ");
    if (each.size != kAny || known)
      s << (each.size != kAny ? each.size : sizes.got.size(d));
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
      : op_(op), name_(name), first_(first) {
    check(first.dim() == 3, op, ": expected ", name, " (", letters, "); got ", Shape{first});
    check_float(name, first);
    if (on_cuda(first)) check_built_with_cuda(op);
  }

  const char* op() const { return op_; }
  const Tensor& first() const { return first_; }
  ScalarType real_type() const { return s2sfast::real_type(first_.scalar_type()); }

  // In the dtype of the computation, the numbers of a row neighbours.
  Tensor real(const Tensor& t) const { return dense_rows(as_type(t, real_type())); }
  Tensor like_first(const char* name, const Tensor& t, std::initializer_list<Size> sizes) const {
    const Sizes expected{sizes, t};
    check(expected.match(), op_, ": expected ", name, " ", expected, "; got ", Shape{t});
    check_float(name, t);
    check(t.scalar_type() == first_.scalar_type(), op_, ": expected ", name, " in the dtype of ", name_,
          "; got another dtype");
    check(same_device(t, first_), op_, ": expected ", name, " on the device of ", name_);
    return real(t);
  }
  // Of a gradient, or of what a forward has saved: in the dtype of the first, or of the computation.
  Tensor returned(const char* name, const Tensor& t, std::initializer_list<Size> sizes) const {
    const Sizes expected{sizes, t};
    check(expected.match(), op_, ": expected ", name, " ", expected, "; got ", Shape{t});
    check_float(name, t);
    check(same_device(t, first_), op_, ": expected ", name, " on the device of ", name_);
    return real(t);
  }
  // A new tensor in the dtype of the computation.
  Tensor make(std::initializer_list<int64_t> sizes) const { return new_tensor(first_, sizes, real_type()); }

 private:
  void check_float(const char* name, const Tensor& t) const {
    check(is_float(t.scalar_type()), op_, ": expected floating ", name,
          " (float32, float64, bfloat16, float16); got another dtype");
  }

  const char *op_, *name_;
  const Tensor& first_;
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

}  // namespace s2sfast
