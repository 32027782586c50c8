#pragma once
#include <concepts>
#include <cstdint>

namespace s2sfast {

// (B, rows, width); the numbers of a row are neighbours. Strides in elements.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t width = 0, sentence_stride = 0, row_stride = 0;
  constexpr T* row(int64_t sentence, int64_t i) const { return data + sentence * sentence_stride + i * row_stride; }
  template <std::same_as<const T> U>
  constexpr operator Rows<U>() const {
    return {data, width, sentence_stride, row_stride};
  }
};

}  // namespace s2sfast
