#include "common/stages.h"
#include "ntm_step/arguments.h"

namespace s2sfast {
namespace {

struct NtmOutputs {
  Tensor memory, reads, read_weights, write_weights;
};

double work_of(const NtmArguments& a, double passes) {
  const auto& [B, N, M] = a.sizes;
  const double heads = static_cast<double>(a.read.heads + a.write.heads);
  return passes * B * N * (3.0 * M * (heads + 1) + 60.0 * heads);
}

// Calls run(faults, target), which returns a cudaError_t.
template <class Run>
void launch(const NtmArguments& a, Run run) {
  const int64_t heads = std::max(a.read.heads, a.write.heads), pieces = slot_pieces(a.sizes);
  check(a.sizes.sentences == 0 || std::max(2 * heads, pieces) < (int64_t{1} << 31) / a.sizes.sentences, kNtmStep,
        ": expected B times heads, and B N / ", kSlots, ", below 2^30 on CUDA; got B=", a.sizes.sentences,
        ", N=", a.sizes.slots, " and ", heads, " heads");
  if constexpr (kBuiltWithCuda) {
    const CudaCall call(a.like());
    CudaFault* faults = fault_slot(kNtmStep, CudaOp::location_address, call.target().device);
    check_launch(kNtmStep,
                 run(a.activation.any ? nullptr : faults, call.target()));  // else at least 1 by how they are made
  }
}

// What a step leaves for its gradient: of each head its cosines and, where the focus moves on from there, its content
// weights; and the norms of the old slots and of the new.
template <class R>
struct Saved {
  Rows<R> content[2], cosines[2], norms[2];  // of write heads, of read heads; of the memory that each looks at

  Saved(const NtmArguments& a, Arena<R>& arena) {
    for (const int kind : {0, 1}) {
      content[kind] = arena.rows(a.of(kind).located() ? a.of(kind).heads : 0, a.sizes.slots);
      cosines[kind] = arena.rows(a.of(kind).heads, a.sizes.slots);
      norms[kind] = arena.rows(a.of(kind).heads ? 1 : 0, a.sizes.slots);
    }
  }
};

template <class R>
int64_t saved_size(const NtmArguments& a, int64_t sentences) {
  Arena<R> arena(sentences);
  Saved<R>(a, arena);
  return arena.used();
}

// The heads' numbers as the kernels want them.
template <class R>
NtmHeads<R> ready_heads(const NtmArguments& a, int kind, Arena<R>& arena) {
  const NtmKind& of = a.of(kind);
  const auto rows = [&](bool wanted, int64_t width) { return wanted ? arena.rows(of.heads, width) : Rows<R>{}; };
  const auto vectors = [&](bool wanted) { return wanted ? arena.vectors(of.heads, a.sizes.width) : Rows<R>{}; };
  return {vectors(true),          rows(true, 1),      rows(of.located(), 1), rows(of.shifts(), of.taps),
          rows(of.sharpens(), 1), vectors(of.writes), vectors(of.writes)};
}

template <class R>
ContentHeads<R> content_of(const NtmArguments& a, int kind, const NtmHeads<R>& ready) {
  return {a.sizes, a.of(kind).heads, a.rule, ready.key, ready.strength};
}

template <class R>
LocationHeads<R> location_of(const NtmArguments& a, int kind, const NtmHeads<R>& ready, Rows<const R> content) {
  const NtmKind& of = a.of(kind);
  return {a.sizes.sentences, of.heads,    a.sizes.slots, of.taps,          content, of.template previous_rows<R>(),
          ready.gate,        ready.shift, ready.sharpen, of.offsets.data()};
}

// --- forward --------------------------------------------------------------------------------------------

template <class R>
struct ForwardRoom {
  NtmHeads<R> ready[2];
  Rows<R> scratch[2], parts;

  ForwardRoom(const NtmArguments& a, Arena<R>& arena) {
    for (const int kind : {0, 1}) {
      ready[kind] = ready_heads<R>(a, kind, arena);
      scratch[kind] = a.of(kind).shifts() ? arena.rows(a.of(kind).heads, 2 * a.sizes.slots) : Rows<R>{};
    }
    parts = arena.rows(slot_pieces(a.sizes) * a.readers(), a.sizes.width);
  }
};

// A content weighting, and where the focus goes from there.
template <class R>
struct Address {
  ContentWeights<R> content;
  LocationWeights<R> location;
  int64_t heads, located;  // none: by content alone

  Address(const NtmArguments& a, int kind, const NtmHeads<R>& ready, const Saved<R>& saved, Rows<const R> norms,
          Rows<R> weights, Rows<R> scratch)
      : content{content_of(a, kind, ready), norms, saved.cosines[kind],
                a.of(kind).located() ? saved.content[kind] : weights},
        location{location_of<R>(a, kind, ready, saved.content[kind]), weights, scratch},
        heads(a.of(kind).heads),
        located(a.of(kind).located() ? heads : 0) {}
};

template <class R>
void run_forward(const NtmArguments& a, const NtmOutputs& made, R* saved_memory, bool save) {
  const bool write_first = a.write_first;
  const bool alone = !on_cuda(a.like()) && in_turn(work_of(a, 1));
  const int64_t copies = alone ? 1 : a.sizes.sentences;
  Arena<R> measured(copies);
  ForwardRoom<R>(a, measured);
  const int64_t own = measured.used(), kept = save ? 0 : saved_size<R>(a, copies);
  const Workspace<R> workspace(a.checked, alone, own + kept);
  Arena<R> arena(workspace.memory(), copies);
  const ForwardRoom<R> room(a, arena);
  Arena<R> saved_arena(save ? saved_memory : workspace.memory() + own, save ? a.sizes.sentences : copies);
  const Saved<R> saved(a, saved_arena);

  const Rows<const R> old = rows_of<R>(a.memory);
  const Rows<R> written = new_rows_of<R>(made.memory);
  const Rows<R> weights[] = {new_rows_of<R>(made.write_weights), new_rows_of<R>(made.read_weights)};
  const auto prepare = [&](int kind) {
    return NtmPrepare<R>{a.of(kind).heads, a.activation, a.of(kind).template given<R>(a.sizes.width), room.ready[kind]};
  };
  const auto match = [&](int kind, Rows<const R> of, bool wanted) {
    ContentHeads<R> heads = content_of(a, kind, room.ready[kind]);
    if (!wanted) heads.heads = 0;
    return ContentMatch<R>{heads, of, saved.cosines[kind], saved.norms[kind]};
  };
  const NtmPrepare<R> prepares[] = {prepare(0), prepare(1)};
  const ContentMatch<R> matches[] = {match(0, old, true), match(1, old, !write_first)};
  const Address<R> addresses[] = {{a, 0, room.ready[0], saved, saved.norms[0], weights[0], room.scratch[0]},
                                  {a, 1, room.ready[1], saved, saved.norms[1], weights[1], room.scratch[1]}};
  const WriteHeads<R> write_heads{a.sizes,    a.write.heads,       a.composition,
                                  weights[0], room.ready[0].erase, room.ready[0].add};
  const Rows<const R> looked_at = write_first ? Rows<const R>(written) : old;
  const MemoryRead<R> read{a.sizes, a.readers(), looked_at, a.lecture ? weights[0] : weights[1], room.parts};
  MemoryRead<R> read_at_once = read, read_late = read;
  const bool late = write_first && !a.lecture;
  (late ? read_at_once : read_late).heads = 0;
  const NtmWrite<R> write{{write_heads, old, written}, match(1, written, write_first), read_at_once};
  const MemoryReadJoin<R> join{a.sizes, a.readers(), room.parts, new_rows_of<R>(made.reads)};

  if (on_cuda(a.like())) {
    const auto address = [&](int kind) {
      return NtmAddress<R>{addresses[kind].content, addresses[kind].location, addresses[kind].located > 0};
    };
    return launch(a, [&](CudaFault* faults, CudaTarget target) {
      return ntm_forward_cuda<R>({{{prepares[0], prepares[1]}},
                                  {{matches[0], matches[1]}},
                                  {{address(0), address(1)}},
                                  write,
                                  late,
                                  read_late,
                                  join,
                                  faults},
                                 target);
    });
  }
  const int64_t pieces = slot_pieces(a.sizes), readers = a.read.heads, early = late ? 0 : readers;
  run_stages(
      a.sizes.sentences, work_of(a, 1),
      {S2SFAST_CPU_STAGE(ntm_prepare, prepares[0], a.write.heads), S2SFAST_CPU_STAGE(ntm_prepare, prepares[1], readers),
       S2SFAST_CPU_STAGE(content_match, matches[0], pieces),
       S2SFAST_CPU_STAGE(content_match, matches[1], early ? pieces : 0),
       S2SFAST_CPU_STAGE(content_weights, addresses[0].content, a.write.heads),
       S2SFAST_CPU_STAGE(location_weights, addresses[0].location, addresses[0].located),
       S2SFAST_CPU_STAGE(content_weights, addresses[1].content, early),
       S2SFAST_CPU_STAGE(location_weights, addresses[1].location, early ? addresses[1].located : 0),
       S2SFAST_CPU_STAGE(ntm_write, write, pieces),
       S2SFAST_CPU_STAGE(content_weights, addresses[1].content, readers - early),
       S2SFAST_CPU_STAGE(location_weights, addresses[1].location, early ? 0 : addresses[1].located),
       S2SFAST_CPU_STAGE(memory_read, read_late, late ? pieces : 0),
       S2SFAST_CPU_STAGE(memory_read_join, join, a.readers())});
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> ntm_step(
    const Tensor& memory, std::optional<Tensor> read_previous, std::optional<Tensor> write_previous,
    std::optional<Tensor> read_key, std::optional<Tensor> read_strength, std::optional<Tensor> read_gate,
    std::optional<Tensor> read_shift, std::optional<Tensor> read_sharpen, const Tensor& write_key,
    std::optional<Tensor> write_strength, std::optional<Tensor> write_gate, std::optional<Tensor> write_shift,
    std::optional<Tensor> write_sharpen, std::optional<Tensor> write_erase, std::optional<Tensor> write_add,
    std::optional<std::vector<int64_t>> shift_offsets, int64_t order, int64_t composition, double eps, int64_t eps_mode,
    int64_t activation, bool save) {
  const NtmArguments a(memory, pointer_to(read_previous), pointer_to(write_previous),
                       {pointer_to(read_key), pointer_to(read_strength), pointer_to(read_gate), pointer_to(read_shift),
                        pointer_to(read_sharpen), nullptr, nullptr},
                       {&write_key, pointer_to(write_strength), pointer_to(write_gate), pointer_to(write_shift),
                        pointer_to(write_sharpen), pointer_to(write_erase), pointer_to(write_add)},
                       shift_offsets, order, composition, eps, eps_mode, activation);
  const auto& [B, N, M] = a.sizes;
  NtmOutputs outputs{a.checked.make({B, N, M}), a.checked.make({B, a.readers(), M}),
                     a.checked.make({B, a.read.heads, N}), a.checked.make({B, a.write.heads, N})};
  Tensor saved = memory;  // replaced below
  with_type(a.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    saved = a.checked.make({save ? saved_size<R>(a, B) : 0});
    a.find_bad_sharpens<R>();
    run_forward<R>(a, outputs, save ? out<R>(saved) : nullptr, save);
  });
  return {std::move(outputs.memory), std::move(outputs.reads), std::move(outputs.read_weights),
          std::move(outputs.write_weights), std::move(saved)};
}

// --- back ------------------------------------------------------------------------------------------------

// Gradients of what a step has left; absent ones are 0.
struct NtmGiven {
  Argument memory, reads, weights[2];  // of write heads, of read heads
};

template <class R>
struct BackwardRoom {
  NtmHeads<R> ready[2], gradient[2];
  Rows<R> renewed;   // the new memory, where read heads look at it
  Rows<R> d[2];      // of the weights, then of the content weights, then ContentSpread's a
  Rows<R> by_reads;  // of the weights that the lecture's heads read with
  Rows<R> key_pull[2], key_parts[2], erase_parts, add_parts, write_scratch, scratch[2];

  BackwardRoom(const NtmArguments& a, Arena<R>& arena) {
    const int64_t N = a.sizes.slots, M = a.sizes.width, pieces = slot_pieces(a.sizes), W = a.write.heads;
    for (const int kind : {0, 1}) {
      const int64_t heads = a.of(kind).heads;
      ready[kind] = ready_heads<R>(a, kind, arena);
      d[kind] = arena.rows(heads, N);
      key_pull[kind] = arena.rows(heads, 1);
      key_parts[kind] = arena.rows(pieces * heads, M);
      scratch[kind] = a.of(kind).located() ? arena.rows(heads, 5 * N) : Rows<R>{};
    }
    renewed = arena.vectors(a.write_first ? N : 0, M);
    by_reads = arena.rows(a.lecture ? W : 0, N);
    erase_parts = arena.rows(pieces * W, M);
    add_parts = arena.rows(pieces * W, M);
    write_scratch = arena.rows(pieces, s2sfast::write_scratch(W));
  }
};

// Back from the gradient of a weighting.
template <class R>
struct AddressBackward {
  LocationBackward<R> location;
  ContentBackward<R> content;
  int64_t heads, located;

  AddressBackward(const NtmArguments& a, int kind, const BackwardRoom<R>& room, const Saved<R>& saved,
                  Rows<const R> weights, Rows<R> previous, const NtmHeads<R>& gradient)
      : location{location_of<R>(a, kind, room.ready[kind], saved.content[kind]),
                 weights,
                 room.d[kind],
                 room.d[kind],
                 previous,
                 gradient.gate,
                 gradient.shift,
                 gradient.sharpen,
                 room.scratch[kind]},
        content{content_of(a, kind, room.ready[kind]),
                saved.norms[kind],
                saved.cosines[kind],
                a.of(kind).located() ? Rows<const R>(saved.content[kind]) : weights,
                room.d[kind],
                room.d[kind],
                gradient.strength,
                room.key_pull[kind]},
        heads(a.of(kind).heads),
        located(a.of(kind).located() ? heads : 0) {}
};

// The gradients that are returned. Of heads: of one tensor, or of each field that is used.
struct NtmGradients {
  Tensor memory;
  std::optional<Tensor> previous[2];
  std::array<std::optional<Tensor>, kNtmFields> heads[2];

  explicit NtmGradients(const NtmArguments& a)
      : memory(a.checked.make({a.sizes.sentences, a.sizes.slots, a.sizes.width})) {
    const auto& [B, N, M] = a.sizes;
    for (const int kind : {0, 1}) {
      const NtmKind& of = a.of(kind);
      if (kind == 1 && a.lecture) break;
      if (of.located()) previous[kind] = a.checked.make({B, of.heads, N});
      if (of.flat) {
        heads[kind][kKey] = a.checked.make({B, of.heads, of.fields[kKey].size(2)});
        continue;
      }
      const auto numbers = [&](NtmField field, bool used) {
        if (used) heads[kind][field] = a.checked.make({B, of.heads});
      };
      const auto vectors = [&](NtmField field, bool used, int64_t width) {
        if (used) heads[kind][field] = a.checked.make({B, of.heads, width});
      };
      vectors(kKey, true, M);
      numbers(kStrength, true);
      numbers(kGate, of.located());
      vectors(kShift, of.shifts(), of.taps);
      numbers(kSharpen, of.sharpens());
      vectors(kErase, of.writes, M);
      vectors(kAdd, of.writes, M);
    }
  }

  template <class R>
  NtmHeads<R> of(const NtmArguments& a, int kind) const {
    const auto& t = heads[kind];
    if (!t[kKey]) return {};
    if (a.of(kind).flat) return a.of(kind).template of_flat<R>(new_rows_of<R>(*t[kKey]), a.sizes.width);
    const auto rows = [&](NtmField field) { return t[field] ? new_rows_of<R>(*t[field]) : Rows<R>{}; };
    return {rows(kKey), rows(kStrength), rows(kGate), rows(kShift), rows(kSharpen), rows(kErase), rows(kAdd)};
  }

  std::vector<Tensor> list() const {
    std::vector<Tensor> all{memory};
    for (const int kind : {1, 0})
      if (previous[kind]) all.push_back(*previous[kind]);
    for (const int kind : {1, 0})
      for (const auto& each : heads[kind])
        if (each) all.push_back(*each);
    return all;
  }
};

template <class R>
void run_backward(const NtmArguments& a, const NtmGiven& given, const Argument (&weights_)[2], const Tensor& saved_,
                  const NtmGradients& out_) {
  const bool alone = !on_cuda(a.like()) && in_turn(work_of(a, 3));
  const int64_t copies = alone ? 1 : a.sizes.sentences;
  Arena<R> measured(copies);
  BackwardRoom<R>(a, measured);
  const Workspace<R> workspace(a.checked, alone, measured.used());
  Arena<R> arena(workspace.memory(), copies), saved_arena(const_cast<R*>(in<R>(saved_)), a.sizes.sentences);
  const BackwardRoom<R> room(a, arena);
  const Saved<R> saved(a, saved_arena);  // only read

  const int64_t pieces = slot_pieces(a.sizes), W = a.write.heads, readers = a.read.heads;
  const bool late = a.write_first && !a.lecture;  // read heads look at the new memory
  const Rows<const R> old = rows_of<R>(a.memory), reads = rows_of<R>(given.reads);
  const Rows<const R> weights[] = {rows_of<R>(weights_[0]), rows_of<R>(weights_[1])};
  const Rows<R> dmemory = new_rows_of<R>(out_.memory);
  const NtmHeads<R> gradient[] = {out_.of<R>(a, 0), out_.of<R>(a, 1)};
  const auto previous = [&](int kind) {
    return out_.previous[kind] ? new_rows_of<R>(*out_.previous[kind]) : Rows<R>{};
  };
  const auto prepare = [&](int kind) {
    return NtmPrepare<R>{a.of(kind).heads, a.activation, a.of(kind).template given<R>(a.sizes.width), room.ready[kind]};
  };
  // What the heads of a kind add to the gradient of the memory that they look at.
  const auto looked = [&](int kind, Rows<const R> at, bool reading, bool looking) {
    ContentHeads<R> heads = content_of(a, kind, room.ready[kind]);
    if (!looking) heads.heads = 0;
    return NtmLooked<R>{
        reading ? a.readers() : 0,
        a.lecture ? weights[0] : weights[1],
        reads,
        {heads, at, saved.norms[kind], saved.cosines[kind], room.d[kind], dmemory, room.key_parts[kind]}};
  };
  const auto finish = [&](int kind) {
    const auto join = [&](const Rows<R>& parts) {
      return MemoryReadJoin<R>{a.sizes, a.of(kind).writes ? W : 0, parts, {}};
    };
    return NtmFinish<R>{prepare(kind),
                        {content_of(a, kind, room.ready[kind]), room.key_parts[kind], room.key_pull[kind], {}},
                        join(room.erase_parts),
                        join(room.add_parts),
                        gradient[kind]};
  };

  const WriteHeads<R> heads{a.sizes, W, a.composition, weights[0], room.ready[0].erase, room.ready[0].add};
  const NtmPrepare<R> prepares[] = {prepare(0), prepare(1)};
  const NtmReadWeights<R> by_new{a.write_first ? a.readers() : 0, room.renewed, reads,
                                 a.lecture ? Rows<const R>{} : rows_of<R>(given.weights[1]),
                                 a.lecture ? room.by_reads : room.d[1]};
  const NtmReadWeights<R> by_old{a.write_first ? 0 : readers, old, reads, rows_of<R>(given.weights[1]), room.d[1]};
  const NtmRewrite<R> rewrite{{heads, old, room.renewed}, by_new};
  const NtmWriteBackward<R> write{
      {heads, old, dmemory, dmemory, room.d[0], room.erase_parts, room.add_parts, room.write_scratch},
      rows_of<R>(given.memory),
      looked(1, room.renewed, a.write_first, late),
      by_old,
      {rows_of<R>(given.weights[0]), a.lecture ? Rows<const R>(room.by_reads) : Rows<const R>{}}};
  const NtmSpread<R> spread{{looked(0, old, false, true), looked(1, old, !a.write_first, !a.write_first)}};
  const AddressBackward<R> back[] = {{a, 0, room, saved, weights[0], previous(0), gradient[0]},
                                     {a, 1, room, saved, weights[1], previous(1), gradient[1]}};
  const NtmFinish<R> finishes[] = {finish(0), finish(1)};

  if (on_cuda(a.like())) {
    const auto address = [&](int kind) {
      return NtmAddressBackward<R>{back[kind].location, back[kind].content, back[kind].located > 0};
    };
    return launch(a, [&](CudaFault*, CudaTarget target) {
      return ntm_backward_cuda<R>(
          {{{finishes[0], finishes[1]}}, a.write_first, late, rewrite, {{address(0), address(1)}}, write, spread},
          target);
    });
  }
  run_stages(a.sizes.sentences, work_of(a, 3),
             {S2SFAST_CPU_STAGE(ntm_prepare, prepares[0], W), S2SFAST_CPU_STAGE(ntm_prepare, prepares[1], readers),
              S2SFAST_CPU_STAGE(ntm_rewrite, rewrite, a.write_first ? pieces : 0),
              S2SFAST_CPU_STAGE(location_backward, back[1].location, late ? back[1].located : 0),
              S2SFAST_CPU_STAGE(content_backward, back[1].content, late ? readers : 0),
              S2SFAST_CPU_STAGE(ntm_write_backward, write, pieces),
              S2SFAST_CPU_STAGE(location_backward, back[1].location, late ? 0 : back[1].located),
              S2SFAST_CPU_STAGE(content_backward, back[1].content, late ? 0 : readers),
              S2SFAST_CPU_STAGE(location_backward, back[0].location, back[0].located),
              S2SFAST_CPU_STAGE(content_backward, back[0].content, W), S2SFAST_CPU_STAGE(ntm_spread, spread, pieces),
              S2SFAST_CPU_STAGE(ntm_finish, finishes[0], W), S2SFAST_CPU_STAGE(ntm_finish, finishes[1], readers)});
}

std::vector<Tensor> ntm_step_backward(
    std::optional<Tensor> grad_memory, std::optional<Tensor> grad_reads, std::optional<Tensor> grad_read_weights,
    std::optional<Tensor> grad_write_weights, const Tensor& memory, std::optional<Tensor> read_previous,
    std::optional<Tensor> write_previous, std::optional<Tensor> read_key, std::optional<Tensor> read_strength,
    std::optional<Tensor> read_gate, std::optional<Tensor> read_shift, std::optional<Tensor> read_sharpen,
    const Tensor& write_key, std::optional<Tensor> write_strength, std::optional<Tensor> write_gate,
    std::optional<Tensor> write_shift, std::optional<Tensor> write_sharpen, std::optional<Tensor> write_erase,
    std::optional<Tensor> write_add, std::optional<std::vector<int64_t>> shift_offsets, int64_t order,
    int64_t composition, double eps, int64_t eps_mode, int64_t activation, const Tensor& read_weights,
    const Tensor& write_weights, const Tensor& saved) {
  const NtmArguments a(memory, pointer_to(read_previous), pointer_to(write_previous),
                       {pointer_to(read_key), pointer_to(read_strength), pointer_to(read_gate), pointer_to(read_shift),
                        pointer_to(read_sharpen), nullptr, nullptr},
                       {&write_key, pointer_to(write_strength), pointer_to(write_gate), pointer_to(write_shift),
                        pointer_to(write_sharpen), pointer_to(write_erase), pointer_to(write_add)},
                       shift_offsets, order, composition, eps, eps_mode, activation);
  const auto& [B, N, M] = a.sizes;
  const auto returned = [&](const char* name, const std::optional<Tensor>& t, int64_t heads, int64_t width) {
    return t ? a.checked.returned(name, *t, {{"B", B}, {"H", heads}, {"width", width}}) : Argument();
  };
  const NtmGiven given{returned("the gradient of the memory", grad_memory, N, M),
                       grad_reads ? returned("the gradient of the reads", grad_reads, a.readers(), M)
                                  : Argument(a.checked.zeros({B, a.readers(), M})),
                       {returned("the gradient of the write weights", grad_write_weights, a.write.heads, N),
                        returned("the gradient of the read weights", grad_read_weights, a.read.heads, N)}};
  const Argument weights[] = {returned("write weights", write_weights, a.write.heads, N),
                              returned("read weights", read_weights, a.read.heads, N)};
  const NtmGradients gradients(a);
  with_type(a.checked.real_type(), [&]<class T>(T) {
    using R = Real<T>;
    check(saved.dim() == 1 && saved.size(0) == saved_size<R>(a, B), kNtmStep, ": expected what a step has saved; got ",
          Shape{saved});
    run_backward<R>(a, given, weights, saved, gradients);
  });
  return gradients.list();
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(s2sfast, m) {
  m.def(
      "ntm_step(Tensor memory, Tensor? read_previous, Tensor? write_previous, Tensor? read_key, Tensor? read_strength, "
      "Tensor? read_gate, Tensor? read_shift, Tensor? read_sharpen, Tensor write_key, Tensor? write_strength, Tensor? "
      "write_gate, Tensor? write_shift, Tensor? write_sharpen, Tensor? write_erase, Tensor? write_add, int[]? "
      "shift_offsets, int order, int composition, float eps, int eps_mode, int activation, bool save) -> (Tensor, "
      "Tensor, Tensor, Tensor, Tensor)",
      {at::Tag::pt2_compliant_tag});
  m.def(
      "ntm_step_backward(Tensor? grad_memory, Tensor? grad_reads, Tensor? grad_read_weights, Tensor? "
      "grad_write_weights, Tensor memory, Tensor? read_previous, Tensor? write_previous, Tensor? read_key, Tensor? "
      "read_strength, Tensor? read_gate, Tensor? read_shift, Tensor? read_sharpen, Tensor write_key, Tensor? "
      "write_strength, Tensor? write_gate, Tensor? write_shift, Tensor? write_sharpen, Tensor? write_erase, Tensor? "
      "write_add, int[]? shift_offsets, int order, int composition, float eps, int eps_mode, int activation, Tensor "
      "read_weights, Tensor write_weights, Tensor saved) -> Tensor[]",
      {at::Tag::pt2_compliant_tag});
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CPU, m) {
  m.impl("ntm_step", TORCH_BOX(&ntm_step));
  m.impl("ntm_step_backward", TORCH_BOX(&ntm_step_backward));
}
STABLE_TORCH_LIBRARY_IMPL(s2sfast, CUDA, m) {
  m.impl("ntm_step", TORCH_BOX(&ntm_step));
  m.impl("ntm_step_backward", TORCH_BOX(&ntm_step_backward));
}

}  // namespace s2sfast
