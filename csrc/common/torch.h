#pragma once
// What every *_op.cpp needs from torch, through the stable ABI only. The helpers avoid torch::stable's own empty() and
// contiguous(), which look the aten op up by name at every call (about 0.9 us each).
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "common/numbers.h"

namespace s2sfast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Becomes a ValueError in Python. (STD_TORCH_CHECK gives a RuntimeError with function, file and line in front.)
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (ok) [[likely]]
    return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

// Printed only when a check fails: a string made for every call would cost half a microsecond.
struct Shape {
  const Tensor& of;
};
inline std::ostream& operator<<(std::ostream& s, Shape shape) {
  s << '(';
  for (int64_t d = 0; d < shape.of.dim(); ++d) s << (d ? ", " : "") << shape.of.size(d);
  return s << (shape.of.dim() == 1 ? ",)" : ")");
}

// (Not called contiguous(): argument-dependent lookup would also find torch::stable's.)
inline Tensor dense(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

// Rows are read where they stand when their columns are neighbours.
inline Tensor dense_rows(const Tensor& t) {
  return t.stride(t.dim() - 1) == 1 || t.size(t.dim() - 1) == 1 ? t : dense(t);
}

// A new tensor on the device of `like`. S2SFAST_POISON=1 fills it with NaN (torch's own deterministic fill does not
// reach here).
inline Tensor new_tensor(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  int64_t strides[8], step = 1;
  for (size_t d = sizes.size(); d-- > 0; step *= std::max<int64_t>(sizes.begin()[d], 1)) strides[d] = step;
  int32_t device_type;
  aoti_torch_get_device_type(like.get(), &device_type);
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.begin(), strides, torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)),
      device_type, like.get_device_index(), &handle));
  Tensor out(handle);
  static const bool poison = [] {
    const char* asked = std::getenv("S2SFAST_POISON");
    return asked && !std::strcmp(asked, "1");
  }();
  if (poison && like.is_cpu() && out.numel() > 0)
    std::memset(out.mutable_data_ptr(), 0xff, out.numel() * out.element_size());
  return out;
}

template <class T>
const T* in(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* out(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

inline bool same_device(const Tensor& a, const Tensor& b) {
  return a.is_cpu() == b.is_cpu() && a.is_cuda() == b.is_cuda() && a.get_device_index() == b.get_device_index();
}

inline bool is_float(ScalarType t) {
  return t == ScalarType::Float || t == ScalarType::Double || t == ScalarType::BFloat16 || t == ScalarType::Half;
}

// What numbers of a type are computed in.
inline ScalarType real_type(ScalarType t) { return t == ScalarType::Double ? t : ScalarType::Float; }

// Calls call(T{}) for the type that a floating tensor is stored in.
template <class Call>
auto with_type(ScalarType t, Call call) {
  switch (t) {
    case ScalarType::Double:
      return call(double{});
    case ScalarType::BFloat16:
      return call(BFloat16{});
    case ScalarType::Half:
      return call(Half{});
    default:
      return call(float{});
  }
}

// The tensor itself, or a copy in another dtype.
inline Tensor as_type(const Tensor& t, ScalarType type) {
  return t.scalar_type() == type ? t : torch::stable::to(t, type);
}

}  // namespace s2sfast
