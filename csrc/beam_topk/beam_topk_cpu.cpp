#include "beam_topk/beam_topk.h"
#include "beam_topk/scan.h"
#include "beam_topk/selection.h"

namespace s2sfast::S2SFAST_ISA {

template <class T>
void beam_topk_scan(const BeamTopkInputs<T>& in, int64_t sentence, void* memory, int64_t begin, int64_t end) {
  const BeamTopkSizes& s = in.sizes;
  const BeamTopkScratch scratch(s, in.pruning, memory);
  const int64_t pieces = beam_topk_pieces_per_beam(s);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t beam = piece / pieces, first = piece % pieces * kBeamTopkPiece;
    if (!(in.score(sentence, beam) > -kInf)) continue;  // offers nothing and is not looked at
    const int64_t n = std::min(kBeamTopkPiece, s.vocab - first);
    scratch.partials[piece] =
        scan_piece(row_of(in, sentence, beam).from(first), n, in.normalized, scratch.groups(beam) + first / kGroupSize);
  }
}

template <class T>
BeamTopkFault beam_topk_select(const BeamTopkInputs<T>& in, int64_t sentence, void* memory,
                               const BeamTopkOutputs& out) {
  const int64_t k = in.sizes.k;
  const BeamTopkScratch scratch(in.sizes, in.pruning, memory);
  Selection<T> selection(in, sentence, scratch);
  const BeamTopkFault fault = selection.join_pieces();
  if (fault.what != BeamTopkFault::none) return fault;
  const int64_t found = selection.run();
  for (int64_t i = 0; i < k; ++i) {
    const Candidate c = i < found ? scratch.best[i] : Candidate{-kInf, 0, 0};
    const int64_t at = sentence * k + i, column = c.column;
    out.scores[at] = c.score;
    out.parents[at] = c.parent;
    out.tokens[at] = i < found && in.token_ids.data ? in.token_ids.row(sentence, c.parent)[column] : column;
  }
  return fault;
}

size_t beam_topk_scratch_bytes(const BeamTopkSizes& s, const BeamTopkPruning& pruning) {
  return BeamTopkScratch(s, pruning, nullptr).bytes();
}

template void beam_topk_scan(const BeamTopkInputs<float>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<double>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<BFloat16>&, int64_t, void*, int64_t, int64_t);
template void beam_topk_scan(const BeamTopkInputs<Half>&, int64_t, void*, int64_t, int64_t);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<float>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<double>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<BFloat16>&, int64_t, void*, const BeamTopkOutputs&);
template BeamTopkFault beam_topk_select(const BeamTopkInputs<Half>&, int64_t, void*, const BeamTopkOutputs&);

}  // namespace s2sfast::S2SFAST_ISA
