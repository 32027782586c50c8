#pragma once
// Keeps the k best of candidates that arrive in the order of (parent, column): of equal scores the first to arrive.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "beam_topk/scratch.h"

namespace s2sfast::S2SFAST_ISA {
namespace {

class Collector {
 public:
  // `slots` has room for list_capacity(k). Only scores at or above `floor` are taken.
  Collector(Candidate* slots, int64_t k, float floor) : slots_(slots), k_(k), bar_(std::nextafter(floor, -INFINITY)) {}

  // A score enters only if it is above the bar, which rises once k are held.
  float bar() const { return bar_; }
  int64_t size() const { return size_; }
  const Candidate& operator[](int64_t i) const { return slots_[i]; }

  void push(Candidate c) {
    if (!(c.score > bar_)) return;
    if (k_ <= kInsertionLimit) return insert(c);
    slots_[size_++] = c;
    if (size_ == 2 * k_) halve();
  }

  // Best first, k at most; the bar is then the k-th best score where there are k.
  void finish() {
    if (k_ <= kInsertionLimit) return;
    if (size_ > k_) halve();
    // The comparison is a lambda, which has internal linkage: the sort's code stays in this instruction set's object.
    std::sort(slots_, slots_ + size_, [](const Candidate& a, const Candidate& b) { return before(a, b); });
    if (size_ == k_) bar_ = slots_[k_ - 1].score;
  }

 private:
  static bool before(const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.parent != b.parent ? a.parent < b.parent : a.column < b.column;
  }

  void insert(Candidate c) {
    int64_t i = size_ < k_ ? size_++ : k_ - 1;
    for (; i > 0 && slots_[i - 1].score < c.score; --i) slots_[i] = slots_[i - 1];
    slots_[i] = c;
    if (size_ == k_) bar_ = slots_[k_ - 1].score;
  }

  void halve() {
    std::nth_element(slots_, slots_ + k_ - 1, slots_ + size_,
                     [](const Candidate& a, const Candidate& b) { return before(a, b); });
    size_ = k_;
    bar_ = slots_[k_ - 1].score;
  }

  Candidate* slots_;
  int64_t k_, size_ = 0;
  float bar_;
};

}  // namespace
}  // namespace s2sfast::S2SFAST_ISA
