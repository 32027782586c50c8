#include "memory_write/write.h"

namespace s2sfast::S2SFAST_ISA {

template <class R>
void memory_write(const MemoryWrite<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece)
    write_range(stage.in, stage.memory, sentence, slots_of(stage.in.sizes, piece), stage.written);
}

template <class R>
void memory_write_backward(const MemoryWriteBackward<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece) {
    const WritePiece<R> own{stage.in,
                            sentence,
                            piece * stage.in.heads,
                            stage.dweights,
                            stage.erase_parts,
                            stage.add_parts,
                            stage.scratch.row(sentence, piece)};
    write_range_backward(own, stage.memory, stage.gradient, stage.dmemory, slots_of(stage.in.sizes, piece));
  }
}

template void memory_write(const MemoryWrite<float>&, int64_t, int64_t, int64_t);
template void memory_write(const MemoryWrite<double>&, int64_t, int64_t, int64_t);
template void memory_write_backward(const MemoryWriteBackward<float>&, int64_t, int64_t, int64_t);
template void memory_write_backward(const MemoryWriteBackward<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
