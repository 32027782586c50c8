#pragma once

namespace s2sfast {

// What keeps a cosine's denominator from 0: each norm is at least eps; the square of each is more by eps; or their
// product is.
enum class CosineEps : int { clamp, sqrt, product };

struct CosineRule {
  CosineEps mode;
  double eps;
};

}  // namespace s2sfast
