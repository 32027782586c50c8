#include "content_address/content.h"

namespace s2sfast::S2SFAST_ISA {

template <class R>
void content_match(const ContentMatch<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece) match_content(stage, sentence, slots_of(stage.in.sizes, piece));
}

template <class R>
void content_weights(const ContentWeights<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) weigh_content(stage, sentence, head);
}

template <class R>
void content_backward(const ContentBackward<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head) weigh_content_backward(stage, sentence, head);
}

template <class R>
void content_spread(const ContentSpread<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; ++piece) {
    const SlotRange range = slots_of(stage.in.sizes, piece);
    clear_slots(stage.dmemory, sentence, range);
    Additions<R> additions(stage.dmemory, stage.dmemory, sentence, range);
    ContentPull<R> pull;
    add_content(stage, sentence, range, pull, additions);
    additions.run();
    read_slots(stage.memory, sentence, range, stage.a, stage.in.heads, stage.key_parts, piece * stage.in.heads);
  }
}

template <class R>
void content_join(const ContentJoin<R>& stage, int64_t sentence, int64_t begin, int64_t end) {
  for (int64_t head = begin; head < end; ++head)
    join_key(stage.key_parts, stage.in, stage.key_pull, sentence, head, stage.key.row(sentence, head));
}

template void content_match(const ContentMatch<float>&, int64_t, int64_t, int64_t);
template void content_match(const ContentMatch<double>&, int64_t, int64_t, int64_t);
template void content_weights(const ContentWeights<float>&, int64_t, int64_t, int64_t);
template void content_weights(const ContentWeights<double>&, int64_t, int64_t, int64_t);
template void content_backward(const ContentBackward<float>&, int64_t, int64_t, int64_t);
template void content_backward(const ContentBackward<double>&, int64_t, int64_t, int64_t);
template void content_spread(const ContentSpread<float>&, int64_t, int64_t, int64_t);
template void content_spread(const ContentSpread<double>&, int64_t, int64_t, int64_t);
template void content_join(const ContentJoin<float>&, int64_t, int64_t, int64_t);
template void content_join(const ContentJoin<double>&, int64_t, int64_t, int64_t);

}  // namespace s2sfast::S2SFAST_ISA
