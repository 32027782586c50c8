#include <atomic>
#include <optional>
#include <tuple>

#include "beam_topk/beam_topk.h"
#include "common/cpu/scratch.h"
#include "common/cuda_calls.h"
#include "common/torch.h"

namespace s2sfast {
namespace {

// Below this many logits a call stays on the thread that makes it: waking others costs more than they save.
constexpr int64_t kSerialLogits = 200'000;

struct Options {
  bool normalized, check_nan;
  BeamTopkPruning pruning;
};

void check_fits_cuda(const BeamTopkSizes& s) {
  check(s.k <= kBeamTopkCudaMostK, "beam_topk: expected k <= ", kBeamTopkCudaMostK, " on CUDA; got ", s.k);
  // Places within a sentence, its groups and the grid are counted in 32 bits.
  constexpr int64_t most_rows = std::numeric_limits<int32_t>::max();
  check(s.vocab <= kBeamTopkCudaMostColumns && s.beams <= most_rows / 32 && s.sentences * s.beams <= most_rows &&
            s.beams * s.vocab < int64_t{1} << 32 && s.beams * ((s.vocab + 1023) / 1024) <= most_rows / 32,
        "beam_topk: expected V <= 2^26, K <= 2^26, K*V < 2^32 and B*K < 2^31 on CUDA; got (B, K, V)=(", s.sentences,
        ", ", s.beams, ", ", s.vocab, ")");
}

BeamTopkSizes checked_sizes(const Tensor& logits, const Tensor& scores, int64_t k, int64_t max_per_beam) {
  check(logits.dim() == 3, "beam_topk: expected logits (B, K, V); got ", Shape{logits});
  const BeamTopkSizes s{logits.size(0), logits.size(1), logits.size(2), k};
  check(scores.dim() == 2 && scores.size(0) == s.sentences && scores.size(1) == s.beams,
        "beam_topk: expected scores (B, K)=(", s.sentences, ", ", s.beams, "); got ", Shape{scores});
  check(is_float(logits.scalar_type()),
        "beam_topk: expected floating logits (float32, float64, bfloat16, float16); got another dtype");
  check(is_float(scores.scalar_type()),
        "beam_topk: expected floating scores (float32, float64, bfloat16, float16); got another dtype");
  check(same_device(scores, logits), "beam_topk: expected scores on the device of logits");
  check(k >= 1, "beam_topk: expected k >= 1; got ", k);
  check(max_per_beam >= 1, "beam_topk: expected max_per_beam >= 1; got ", max_per_beam);
  constexpr int64_t limit = std::numeric_limits<uint32_t>::max();
  check(s.beams <= limit && s.vocab <= limit, "beam_topk: expected K and V below 2^32; got ", Shape{logits});
  int64_t entries;
  check(!__builtin_mul_overflow(s.beams, s.vocab, &entries) && !__builtin_mul_overflow(s.sentences, k, &entries),
        "beam_topk: expected K*V and B*k below 2^63; got logits ", Shape{logits}, ", k ", k);
  if (on_cuda(logits)) {
    check_built_with_cuda("beam_topk");
    check_fits_cuda(s);
  }
  return s;
}

// A tensor seen as (B, K, V), its trailing dimensions broadcast; the last one must be whole.
template <class T>
BeamTopkPlane<T> plane(const char* name, const Tensor& t, const BeamTopkSizes& s) {
  const int64_t dims = t.dim(), sizes[] = {s.sentences, s.beams, s.vocab};
  bool fits = dims >= 1 && dims <= 3;
  for (int64_t d = 0; fits && d < dims; ++d) {
    const int64_t want = sizes[3 - dims + d];
    fits = t.size(d) == want || (t.size(d) == 1 && d < dims - 1);
  }
  check(fits, "beam_topk: expected ", name, " to broadcast to (B, K, V)=(", s.sentences, ", ", s.beams, ", ", s.vocab,
        "); got ", Shape{t});
  BeamTopkPlane<T> p{in<T>(t)};
  if (dims >= 2 && t.size(dims - 2) > 1) p.beam_stride = t.stride(dims - 2);
  if (dims >= 3 && t.size(0) > 1) p.sentence_stride = t.stride(0);
  return p;
}

void raise_fault(int64_t what, int64_t sentence, int64_t beam, const char* when) {
  static const char* const found[] = {"", "a NaN or +inf in logits", "a NaN or +inf in scores",
                                      "a NaN or +inf in bias"};
  check(false, "beam_topk: expected finite numbers or -inf; got ", found[what], " of sentence ", sentence, ", beam ",
        beam, when);
}

void raise_late(const CudaFault& fault) { raise_fault(fault.what, fault.details[0], fault.details[1], kFoundLate); }

template <class T>
void run_cpu(const BeamTopkInputs<T>& in, const BeamTopkOutputs& out) {
  const BeamTopkSizes& s = in.sizes;
  const size_t bytes = S2SFAST_DISPATCH(beam_topk_scratch_bytes, s, in.pruning);
  const int64_t pieces = s.beams * beam_topk_pieces_per_beam(s);
  const auto threads = torch::stable::get_num_threads();
  std::atomic<bool> no_memory{false};
  std::atomic<int64_t> first_fault{std::numeric_limits<int64_t>::max()};  // (sentence, beam, what) as one number

  const auto select = [&](int64_t sentence, void* scratch) {
    const BeamTopkFault fault = S2SFAST_DISPATCH(beam_topk_select, in, sentence, scratch, out);
    if (fault.what == BeamTopkFault::none) return;
    const int64_t mine = (sentence * s.beams + fault.beam) * 4 + fault.what;
    for (int64_t seen = first_fault; mine < seen && !first_fault.compare_exchange_weak(seen, mine);) {
    }
  };
  const auto whole_sentences = [&](int64_t begin, int64_t end) {
    void* scratch = thread_scratch(bytes);
    if (!scratch) {
      no_memory = true;  // nothing may be thrown inside parallel_for
      return;
    }
    for (int64_t sentence = begin; sentence < end; ++sentence) {
      S2SFAST_DISPATCH(beam_topk_scan, in, sentence, scratch, 0, pieces);
      select(sentence, scratch);
    }
  };

  if (threads == 1 || s.sentences * s.beams * s.vocab < kSerialLogits) {
    whole_sentences(0, s.sentences);
  } else if (s.sentences % threads == 0 || s.sentences >= 4 * threads) {
    torch::stable::parallel_for(0, s.sentences, 1, whole_sentences);
  } else {
    void* scratch = thread_scratch(bytes);
    if (!scratch) throw std::bad_alloc();
    for (int64_t sentence = 0; sentence < s.sentences; ++sentence) {
      torch::stable::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
        S2SFAST_DISPATCH(beam_topk_scan, in, sentence, scratch, begin, end);
      });
      select(sentence, scratch);
    }
  }

  if (no_memory) throw std::bad_alloc();
  const int64_t fault = first_fault;
  if (fault == std::numeric_limits<int64_t>::max()) return;
  raise_fault(fault % 4, fault / 4 / s.beams, fault / 4 % s.beams, "");
}

template <class T>
void run_cuda(const BeamTopkInputs<T>& in, const Tensor& like, const BeamTopkOutputs& out) {
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(like);
    CudaFault* faults = in.check_nan ? fault_slot("beam_topk", CudaOp::beam_topk, call.target().device) : nullptr;
    const auto bytes = static_cast<int64_t>(beam_topk_cuda_workspace_bytes(in.sizes, in.pruning));
    // Torch's allocator hands it to nobody before this stream is past the launches below.
    const Tensor workspace = new_tensor(like, {bytes}, ScalarType::Byte);
    check_launch("beam_topk", beam_topk_cuda(in, out, workspace.mutable_data_ptr(), faults, call.target()));
  }
}

template <class T>
void run(const BeamTopkSizes& s, const Tensor& logits_, const Tensor& scores_, const std::optional<Tensor>& bias_,
         const std::optional<Tensor>& token_ids_, const Options& options, const BeamTopkOutputs& out) {
  using B = Real<T>;
  const Tensor logits = dense_rows(logits_);
  Tensor scores = dense(scores_);
  if (scores.scalar_type() != ScalarType::Float && scores.scalar_type() != ScalarType::Double)
    scores = torch::stable::to(scores, ScalarType::Float);
  BeamTopkInputs<T> in{.sizes = s,
                       .logits = plane<T>("logits", logits, s),
                       .scores32 = nullptr,
                       .scores64 = nullptr,
                       .bias = {},
                       .token_ids = {},
                       .normalized = options.normalized,
                       .check_nan = options.check_nan,
                       .pruning = options.pruning};
  if (scores.scalar_type() == ScalarType::Float)
    in.scores32 = s2sfast::in<float>(scores);
  else
    in.scores64 = s2sfast::in<double>(scores);
  std::optional<Tensor> bias, token_ids;  // they own what the planes point into
  if (bias_) {
    check(is_float(bias_->scalar_type()),
          "beam_topk: expected floating bias (float32, float64, bfloat16, float16); got another dtype");
    check(same_device(*bias_, logits_), "beam_topk: expected bias on the device of logits");
    const ScalarType type = sizeof(B) == 8 ? ScalarType::Double : ScalarType::Float;
    bias = bias_->scalar_type() == type ? *bias_ : torch::stable::to(*bias_, type);
    if (bias->dim() > 0) bias = dense_rows(*bias);
    in.bias = plane<B>("bias", *bias, s);
  }
  if (token_ids_) {
    check(token_ids_->scalar_type() == ScalarType::Long, "beam_topk: expected int64 token_ids; got another dtype");
    check(same_device(*token_ids_, logits_), "beam_topk: expected token_ids on the device of logits");
    const bool whole = token_ids_->dim() == 3 && token_ids_->size(0) == s.sentences && token_ids_->size(1) == s.beams;
    check(token_ids_->dim() == 1 || whole, "beam_topk: expected token_ids (V,) or (B, K, V)=(", s.sentences, ", ",
          s.beams, ", ", s.vocab, "); got ", Shape{*token_ids_});
    token_ids = dense_rows(*token_ids_);
    in.token_ids = plane<int64_t>("token_ids", *token_ids, s);
  }
  if (on_cuda(logits))
    run_cuda(in, logits, out);
  else
    run_cpu(in, out);
}

void beam_topk_into(const Tensor& logits, const Tensor& scores, int64_t k, const std::optional<Tensor>& bias,
                    const std::optional<Tensor>& token_ids, bool normalized, double log_relative, double absolute,
                    double log_relative_local, int64_t max_per_beam, bool check_nan, const Tensor& out_scores,
                    const Tensor& out_parents, const Tensor& out_tokens) {
  const BeamTopkSizes s = checked_sizes(logits, scores, k, max_per_beam);
  for (const Tensor* t : {&out_scores, &out_parents, &out_tokens})
    check(
        t->dim() == 2 && t->size(0) == s.sentences && t->size(1) == k && t->is_contiguous() && same_device(*t, logits),
        "beam_topk: expected contiguous outputs (B, k)=(", s.sentences, ", ", k, "); got ", Shape{*t});
  check(out_scores.scalar_type() == ScalarType::Float && out_parents.scalar_type() == ScalarType::Long &&
            out_tokens.scalar_type() == ScalarType::Long,
        "beam_topk: expected outputs of float32, int64, int64");
  const Options options{normalized, check_nan, {log_relative, absolute, log_relative_local, max_per_beam}};
  const BeamTopkOutputs outputs{out<float>(out_scores), out<int64_t>(out_parents), out<int64_t>(out_tokens)};
  switch (logits.scalar_type()) {
    case ScalarType::Double:
      return run<double>(s, logits, scores, bias, token_ids, options, outputs);
    case ScalarType::BFloat16:
      return run<BFloat16>(s, logits, scores, bias, token_ids, options, outputs);
    case ScalarType::Half:
      return run<Half>(s, logits, scores, bias, token_ids, options, outputs);
    default:
      return run<float>(s, logits, scores, bias, token_ids, options, outputs);
  }
}

std::tuple<Tensor, Tensor, Tensor> beam_topk(const Tensor& logits, const Tensor& scores, int64_t k,
                                             std::optional<Tensor> bias, std::optional<Tensor> token_ids,
                                             bool normalized, double log_relative, double absolute,
                                             double log_relative_local, int64_t max_per_beam, bool check_nan) {
  checked_sizes(logits, scores, k, max_per_beam);
  const int64_t sentences = logits.size(0);
  Tensor best = new_tensor(logits, {sentences, k}, ScalarType::Float);
  Tensor parents = new_tensor(logits, {sentences, k}, ScalarType::Long);
  Tensor tokens = new_tensor(logits, {sentences, k}, ScalarType::Long);
  beam_topk_into(logits, scores, k, bias, token_ids, normalized, log_relative, absolute, log_relative_local,
                 max_per_beam, check_nan, best, parents, tokens);
  return {std::move(best), std::move(parents), std::move(tokens)};
}

void beam_topk_out(const Tensor& logits, const Tensor& scores, int64_t k, std::optional<Tensor> bias,
                   std::optional<Tensor> token_ids, bool normalized, double log_relative, double absolute,
                   double log_relative_local, int64_t max_per_beam, bool check_nan, Tensor out_scores,
                   Tensor out_parents, Tensor out_tokens) {
  beam_topk_into(logits, scores, k, bias, token_ids, normalized, log_relative, absolute, log_relative_local,
                 max_per_beam, check_nan, out_scores, out_parents, out_tokens);
}

const bool registered = describe_faults(CudaOp::beam_topk, &raise_late);

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "beam_topk(Tensor logits, Tensor scores, int k, Tensor? bias, Tensor? token_ids, bool normalized, "
      "float log_relative, float absolute, float log_relative_local, int max_per_beam, bool check_nan) "
      "-> (Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "beam_topk_out(Tensor logits, Tensor scores, int k, Tensor? bias, Tensor? token_ids, bool normalized, "
      "float log_relative, float absolute, float log_relative_local, int max_per_beam, bool check_nan, "
      "Tensor(a!) out_scores, Tensor(b!) out_parents, Tensor(c!) out_tokens) -> ()",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("beam_topk", TORCH_BOX(&beam_topk));
  m.impl("beam_topk_out", TORCH_BOX(&beam_topk_out));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("beam_topk", TORCH_BOX(&beam_topk));
  m.impl("beam_topk_out", TORCH_BOX(&beam_topk_out));
}

}  // namespace s2sfast
