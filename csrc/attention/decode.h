#pragma once
// Attention of few queries, the beams of a sentence, on the device: scores, softmax and context in two launches, and
// every key is fetched once for all of them.
#include "attention/attention.h"

namespace s2sfast {

inline constexpr int64_t kDecodeMostQueries = 16;

template <class T>
struct AttentionDecode {
  AttentionSizes sizes;
  AttentionMask mask;
  Rows<const Real<T>> query;  // (B, Q, D)
  Rows<const T> keys;         // (B, T, D)
  Rows<const T> values;       // (B, T, E)
  Real<T>* context;           // (B, Q, E)
  Real<T>* weights;           // (B, Q, T), or null
  void* workspace;            // of attention_decode_bytes
  CudaFault* faults;          // where a length out of [0, T] is reported, or null
  int what;                   // as of attention_check_cuda
};

// Positions that one block looks at, a multiple of 8, about sqrt(reading T): more for scores that cost no more than to
// read a key, since what each block leaves to be joined is as much as Q values. It depends on T alone, never on the
// batch.
inline constexpr int64_t kDecodeBound = 4, kDecodeComputing = 1;  // `reading`: of dot products, and of tanh
constexpr int64_t attention_decode_positions(int64_t positions, int64_t reading) {
  int64_t part = 8;
  while (part * part < reading * positions) part += 8;
  return part;
}
constexpr int64_t attention_decode_parts(int64_t positions, int64_t reading) {
  return positions ? attention_blocks(positions, attention_decode_positions(positions, reading)) : 1;
}

// A context, a maximum and a sum for each part of a sentence and query.
template <class T>
constexpr int64_t attention_decode_bytes(const AttentionDecode<T>& in, int64_t reading) {
  const int64_t parts = attention_decode_parts(in.sizes.positions, reading);
  return in.sizes.sentences * parts * in.sizes.queries * (in.values.width + 2) * static_cast<int64_t>(sizeof(Real<T>));
}

}  // namespace s2sfast
