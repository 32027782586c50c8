#pragma once
// Reading (Graves, Wayne & Danihelka 2014, arXiv:1410.5401, equation 2):
//
//   reads[b, h] = sum_n weights[b, h, n] memory[b, n]
//
// Back, with r the gradient of the reads: dweights[h, n] = r[h] . memory[n], dmemory[n] = sum_h weights[h, n] r[h].
#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/slots.h"

namespace s2sfast {

// Sums over each piece. A piece is a block of slots.
template <class R>
struct MemoryRead {
  MemorySizes sizes;
  int64_t heads;
  Rows<const R> memory, weights;
  Rows<R> parts;  // (B, pieces H, M)
};

// reads = the sum of parts, in their order. A piece is a head.
template <class R>
struct MemoryReadJoin {
  MemorySizes sizes;
  int64_t heads;
  Rows<const R> parts;
  Rows<R> reads;  // (B, H, M)
};

// A piece is a block of slots.
template <class R>
struct MemoryReadBackward {
  MemorySizes sizes;
  int64_t heads;
  Rows<const R> memory, weights, gradient;  // of the reads
  Rows<R> dmemory, dweights;
};

template <class R>
int memory_read_cuda(const MemoryRead<R>&, CudaTarget);
template <class R>
int memory_read_join_cuda(const MemoryReadJoin<R>&, CudaTarget);
template <class R>
int memory_read_backward_cuda(const MemoryReadBackward<R>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(template <class R>
                        void memory_read(const MemoryRead<R>&, int64_t sentence, int64_t begin, int64_t end);
                        template <class R>
                        void memory_read_join(const MemoryReadJoin<R>&, int64_t sentence, int64_t begin, int64_t end);
                        template <class R> void memory_read_backward(const MemoryReadBackward<R>&, int64_t sentence,
                                                                     int64_t begin, int64_t end);)
