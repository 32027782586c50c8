#include "content_address/match.h"
#include "memory_read/memory_read.h"
#include "memory_read/read.h"

namespace s2sfast::S2SFAST_ISA {

template <class R>
void memory_read(const MemoryRead<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece)
    read_slots(stage.memory, sentence, slots_of(stage.sizes, piece), stage.weights, stage.heads, stage.parts,
               piece * stage.heads);
}

template <class R>
void memory_read_join(const MemoryReadJoin<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head)
    join_parts(stage.parts, sentence, slot_pieces(stage.sizes), stage.heads, head, stage.reads.row(sentence, head));
}

template <class R>
void memory_read_backward(const MemoryReadBackward<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece) {
    const SlotRange range = slots_of(stage.sizes, piece);
    match<R>(stage.memory, sentence, range, stage.gradient, stage.heads, stage.dweights, nullptr);
    clear_slots(stage.dmemory, sentence, range);
    Additions<R> additions(stage.dmemory, stage.dmemory, sentence, range);
    additions.add(stage.weights, stage.gradient, stage.heads);
    additions.run();
  }
}

template void memory_read(const MemoryRead<float>&, int64_t, int64_t, int64_t);
template void memory_read(const MemoryRead<double>&, int64_t, int64_t, int64_t);
template void memory_read_join(const MemoryReadJoin<float>&, int64_t, int64_t, int64_t);
template void memory_read_join(const MemoryReadJoin<double>&, int64_t, int64_t, int64_t);
template void memory_read_backward(const MemoryReadBackward<float>&, int64_t, int64_t, int64_t);
template void memory_read_backward(const MemoryReadBackward<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
