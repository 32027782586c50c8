#include "location_address/locate.h"

namespace s2sfast::S2SFAST_ISA {

template <class R>
void location_weights(const LocationWeights<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) locate(stage, sentence, head);
}

template <class R>
void location_backward(const LocationBackward<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) locate_backward(stage, sentence, head);
}

template void location_weights(const LocationWeights<float>&, int64_t, int64_t, int64_t);
template void location_weights(const LocationWeights<double>&, int64_t, int64_t, int64_t);
template void location_backward(const LocationBackward<float>&, int64_t, int64_t, int64_t);
template void location_backward(const LocationBackward<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
