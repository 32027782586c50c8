#pragma once
// What the ops of a pointer-generator share on torch's side: checks, types, threads.
#include <atomic>

#include "common/cpu/scratch.h"
#include "common/cuda_calls.h"
#include "common/huge_pages.h"
#include "common/torch.h"
#include "pointer_mixture/pointer.h"

namespace s2sfast {
namespace {

struct PointerTensors {
  const Tensor &logits, &weights, &ids, &gate;
};

void check_pointer_types(const char* op, const char* name, const Tensor& t, const Tensor& logits) {
  check(is_float(t.scalar_type()), op, ": expected floating ", name,
        " (float32, float64, bfloat16, float16); got another dtype");
  check(t.scalar_type() == logits.scalar_type(), op, ": expected ", name,
        " in the dtype of vocab_logits; got another dtype");
  check(same_device(t, logits), op, ": expected ", name, " on the device of vocab_logits; got another device");
}

void check_pointer_integers(const char* op, const char* name, const Tensor& t, const Tensor& logits) {
  check(t.scalar_type() == ScalarType::Long, op, ": expected int64 ", name, "; got another dtype");
  check(same_device(t, logits), op, ": expected ", name, " on the device of vocab_logits; got another device");
}

PointerSizes checked_pointer_sizes(const char* op, const PointerTensors& in) {
  check(in.logits.dim() == 2, op, ": expected vocab_logits (R, V); got ", Shape{in.logits});
  const int64_t rows = in.logits.size(0);
  check(in.weights.dim() == 2 && in.weights.size(0) == rows, op, ": expected copy_weights (R, T)=(", rows, ", T); got ",
        Shape{in.weights});
  PointerSizes s{rows, in.logits.size(1), in.weights.size(1), in.ids.dim() == 2 ? in.ids.size(0) : 0, 1};
  check(in.ids.dim() == 2 && in.ids.size(1) == s.positions, op, ": expected source_ids (S, T)=(S, ", s.positions,
        "); got ", Shape{in.ids});
  check(in.gate.dim() == 1 && in.gate.size(0) == rows, op, ": expected p_gen_logit (R,)=(", rows, ",); got ",
        Shape{in.gate});
  check(s.sources ? rows % s.sources == 0 : rows == 0, op, ": expected S to divide R; got S=", s.sources, ", R=", rows);
  check(rows <= std::numeric_limits<int32_t>::max(), op, ": expected R < 2^31; got ", rows);
  if (s.sources) s.beams = static_cast<uint32_t>(rows / s.sources);
  check_pointer_types(op, "vocab_logits", in.logits, in.logits);
  check_pointer_types(op, "copy_weights", in.weights, in.logits);
  check_pointer_types(op, "p_gen_logit", in.gate, in.logits);
  check_pointer_integers(op, "source_ids", in.ids, in.logits);
  if (on_cuda(in.logits)) {
    check_built_with_cuda(op);
    check(s.vocab <= int64_t{1} << 26 && s.positions <= int64_t{1} << 22, op,
          ": expected V <= 2^26 and T <= 2^22 on CUDA; got (V, T)=(", s.vocab, ", ", s.positions, ")");
  }
  return s;
}

template <class T>
PointerRows<const T> rows_of(const Tensor& t) {
  return {in<T>(t), t.stride(0)};
}

// Tensors that stay while the pointers into them are used.
struct PointerDense {
  explicit PointerDense(const PointerTensors& in)
      : logits(dense_rows(in.logits)), weights(dense_rows(in.weights)), ids(dense_rows(in.ids)), gate(dense(in.gate)) {}
  template <class T>
  PointerInputs<T> inputs(const PointerSizes& s) const {
    return {s, rows_of<T>(logits), rows_of<T>(weights), rows_of<int64_t>(ids), in<T>(gate)};
  }
  const Tensor logits, weights, ids, gate;
};

// A row of so many columns for each row of `like`: the memory that counts.
inline Tensor new_rows(const Tensor& like, int64_t columns, ScalarType dtype) {
  Tensor rows = new_tensor(like, {like.size(0), columns}, dtype);
  if (rows.is_cpu()) prefer_huge_pages(rows.mutable_data_ptr(), rows.numel() * rows.element_size());
  return rows;
}

// Below this many numbers a call stays on the thread that makes it: waking others costs more than they save.
constexpr int64_t kSerialNumbers = 200'000;

// What the steps of one row leave for each other.
struct PointerWork {
  SumOfExps* partials;  // one for each piece
  double factor;
};

// A step of a row is pieces [0, pieces) that may run at once, after those of the step before.
template <class Run>
struct PointerStep {
  int64_t pieces;
  Run run;  // (row, work, begin, end)
};
template <class Run>
PointerStep(int64_t, Run) -> PointerStep<Run>;

template <class... Steps>
void over_rows(const PointerSizes& s, Steps... steps) {
  const size_t bytes = std::max<int64_t>(pointer_pieces(s.vocab), 1) * sizeof(SumOfExps);
  const auto threads = torch::stable::get_num_threads();
  if (threads == 1 || s.rows * (s.vocab + s.positions) < kSerialNumbers || s.rows % threads == 0 ||
      s.rows >= 4 * threads) {
    std::atomic<bool> no_memory{false};
    const auto whole_rows = [&](int64_t begin, int64_t end) {
      PointerWork work{static_cast<SumOfExps*>(thread_scratch(bytes)), 0};
      if (!work.partials) {
        no_memory = true;  // nothing may be thrown inside parallel_for
        return;
      }
      for (int64_t row = begin; row < end; ++row) (steps.run(row, work, 0, steps.pieces), ...);
    };
    const int64_t grain = kSerialNumbers / std::max<int64_t>(s.vocab + s.positions, 1) + 1;
    if (threads == 1)
      whole_rows(0, s.rows);
    else
      torch::stable::parallel_for(0, s.rows, grain, whole_rows);
    if (no_memory) throw std::bad_alloc();
    return;
  }
  PointerWork work{static_cast<SumOfExps*>(thread_scratch(bytes)), 0};
  if (!work.partials) throw std::bad_alloc();
  const auto together = [&](int64_t row, auto& step) {
    if (step.pieces <= 1) return step.run(row, work, 0, step.pieces);
    torch::stable::parallel_for(0, step.pieces, 1,
                                [&](int64_t begin, int64_t end) { step.run(row, work, begin, end); });
  };
  for (int64_t row = 0; row < s.rows; ++row) (together(row, steps), ...);
}

}  // namespace
}  // namespace s2sfast
