#pragma once
// Writing (Graves, Wayne & Danihelka 2014, arXiv:1410.5401, equations 3 and 4), with w = weights[b, h, n]:
//
//   sequential:  for each head h in turn, m <- m (1 - w erase[b, h]) + w add[b, h]
//   product:     m <- m prod_h (1 - w erase[b, h]) + sum_h w add[b, h]         (Graves et al. 2016)
//
// where m = memory[b, n]. Back, with g the gradient of what is written, p_h = 1 - w_h erase_h, m_h the slot before head
// h (sequential) and x_h = g p_W ... p_{h+1} m_h or g m prod_{j != h} p_j:
//
//   dw_h = sum over the slot's numbers of (g_h add_h - erase_h x_h);   derase_h = - sum_n w_h x_h;   dadd_h = sum_n w_h
//   g_h
//
// with g_h = g p_W ... p_{h+1} (sequential) or g.
#include "common/cpu/isa.h"
#include "common/cuda/fault.h"
#include "common/slots.h"

namespace s2sfast {

enum class Composition : int { sequential, product };

template <class R>
struct WriteHeads {
  MemorySizes sizes;
  int64_t heads;
  Composition composition;
  Rows<const R> weights, erase, add;  // (B, H, N), (B, H, M), (B, H, M)
};

// A piece is a block of slots.
template <class R>
struct MemoryWrite {
  WriteHeads<R> in;
  Rows<const R> memory;
  Rows<R> written;
};

// A piece is a block of slots. `gradient` and `dmemory` may be the same.
template <class R>
struct MemoryWriteBackward {
  WriteHeads<R> in;
  Rows<const R> memory, gradient;  // of what is written
  Rows<R> dmemory, dweights;
  Rows<R> erase_parts, add_parts;  // (B, pieces H, M): the gradients, of each piece
  Rows<R> scratch;                 // (B, pieces, write_scratch(H))
};

// Numbers of scratch that a piece needs: five vectors for each head, where there are too many for registers.
inline constexpr int64_t kFewWriteHeads = 4;
constexpr int64_t write_scratch(int64_t heads) { return heads > kFewWriteHeads ? 16 * 5 * heads : 0; }

template <class R>
int memory_write_cuda(const MemoryWrite<R>&, CudaTarget);
template <class R>
int memory_write_backward_cuda(const MemoryWriteBackward<R>&, CudaTarget);

}  // namespace s2sfast

S2SFAST_DECLARE_KERNELS(template <class R>
                        void memory_write(const MemoryWrite<R>&, int64_t sentence, int64_t begin, int64_t end);
                        template <class R> void memory_write_backward(const MemoryWriteBackward<R>&, int64_t sentence,
                                                                      int64_t begin, int64_t end);)
