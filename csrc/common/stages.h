#pragma once
// Runs an op as a row of stages: on the CPU piece by piece over torch's threads, on the device launch by launch.
#include <functional>
#include <initializer_list>

#include "common/cpu/isa.h"
#include "common/cuda_calls.h"
#include "common/torch.h"

namespace s2sfast {

struct Stage {
  int64_t pieces;  // of a sentence
  std::function<void(int64_t sentence, int64_t begin, int64_t end)> run;
  std::function<int(CudaTarget)> launch;

  // Of a stage's arguments: `pieces_of`, `run_pieces` and `launch_stage` are found by their type.
  template <class Arguments>
  explicit Stage(const Arguments& a)
      : pieces(pieces_of(a)), run([a](int64_t b, int64_t i, int64_t j) { run_pieces(a, b, i, j); }) {
    if constexpr (kBuiltWithCuda && requires { launch_stage(a, CudaTarget{}); })
      launch = [a](CudaTarget target) { return launch_stage(a, target); };
  }

  template <class Run, class Launch>
  Stage(int64_t pieces, Run run, Launch launch) : pieces(pieces), run(run), launch(launch) {}
};

// A stage of arguments that live until it has run, a variable: the kernel `name` of the instruction set in use, or
// `name`_cuda.
#define S2SFAST_STAGE(name, arguments, pieces)                                                           \
  ::s2sfast::Stage(                                                                                      \
      pieces, [&a = arguments](int64_t b, int64_t i, int64_t j) { S2SFAST_DISPATCH(name, a, b, i, j); }, \
      [&a = arguments](::s2sfast::CudaTarget target) {                                                   \
        if constexpr (::s2sfast::kBuiltWithCuda) return name##_cuda(a, target);                          \
        return 0;                                                                                        \
      })

// The same where the op launches its CUDA kernels otherwise.
#define S2SFAST_CPU_STAGE(name, arguments, pieces) \
  ::s2sfast::Stage(                                \
      pieces, [&a = arguments](int64_t b, int64_t i, int64_t j) { S2SFAST_DISPATCH(name, a, b, i, j); }, nullptr)

// Work that one thread does sooner than it could share it, in additions and multiplications.
inline constexpr double kSerialWork = 500e3;

// Whether one thread works on one sentence after the other, so that they may all use the same memory meanwhile.
inline bool in_turn(double work) { return torch::stable::get_num_threads() == 1 || work < kSerialWork; }

// Every stage of a sentence after the one before it. A thread takes whole sentences where there are enough, so that
// what a stage wrote is still in the cache; else the threads share the pieces of every stage. The results are the same.
inline void run_stages(int64_t sentences, double work, std::initializer_list<Stage> stages) {
  const int64_t threads = torch::stable::get_num_threads();
  const auto whole = [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (const Stage& stage : stages) stage.run(b, 0, stage.pieces);
  };
  if (in_turn(work)) return whole(0, sentences);
  if (sentences % threads == 0 || sentences >= 4 * threads) return torch::stable::parallel_for(0, sentences, 1, whole);
  for (const Stage& stage : stages)
    torch::stable::parallel_for(0, sentences * stage.pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin / std::max<int64_t>(stage.pieces, 1); b * stage.pieces < end; ++b) {
        const int64_t first = b * stage.pieces;
        stage.run(b, std::max(begin, first) - first, std::min(end, first + stage.pieces) - first);
      }
    });
}

// Every stage that has pieces for all sentences, launch by launch.
inline void launch_stages(const char* op, const Tensor& like, std::initializer_list<Stage> stages,
                          int64_t sentences = 1) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    for (const Stage& stage : stages)
      check(sentences == 0 || stage.pieces < (int64_t{1} << 31) / sentences, op,
            ": expected B times the pieces of a sentence below 2^31 on CUDA; got ", stage.pieces,
            " pieces and B=", sentences);
    for (const Stage& stage : stages)
      if (stage.pieces) check_launch(op, stage.launch(call.target()));
  }
}

// On the device of `like`.
inline void run_stages(const Tensor& like, const char* op, int64_t sentences, double work,
                       std::initializer_list<Stage> stages) {
  if (on_cuda(like)) return launch_stages(op, like, stages, sentences);
  run_stages(sentences, work, stages);
}

}  // namespace s2sfast
