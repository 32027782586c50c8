"""The callable that generate() takes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor

from s2sfast.search import beam_search as search
from s2sfast.search import rules

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

TESTED = ("5.23", "5.24")
"""The versions of transformers that the tests have run with."""


def beam_search(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    **model_kwargs: Any,
) -> Any:
    _check_version()
    from s2sfast.hf.arguments import prepare
    from s2sfast.hf.attention import switched
    from s2sfast.hf.output import output
    from s2sfast.hf.processors import as_processors, least_length
    from s2sfast.hf.record import Record, Recorder
    from s2sfast.hf.step import Decoder

    config = generation_config
    settings = prepare(model, input_ids, logits_processor, stopping_criteria, config, model_kwargs)
    B, P = settings.prompt.shape
    logits = Record(B, config.num_beams) if settings.returns("output_logits") else None
    scores = Record(B, config.num_beams) if settings.returns("output_scores") else None
    decoder = Decoder(settings, logits)
    processors = as_processors(logits_processor, decoder)
    if scores is not None:
        processors.append(Recorder(scores, decoder))
    min_length = least_length(processors, decoder)
    with switched(model):
        found = search(
            decoder, decoder.state, memory=decoder.memory, start=settings.prompt, eos=config._eos_token_tensor,
            beam=config.num_beams, n_best=config.num_return_sequences, max_length=config.max_length - P,
            length_penalty=config.length_penalty, rules=rules.HF(early_stopping=config.early_stopping),
            processors=processors if min_length is None else (), min_length=min_length or 0, ends=settings.ends(scores),
            return_attention=bool(config.return_dict_in_generate),
        )  # fmt: skip
    return output(settings, found, scores, logits)


def _check_version() -> None:
    import transformers

    version = transformers.__version__
    series = tuple(int(part) for part in version.split(".")[:2])
    tested = [tuple(int(part) for part in name.split(".")) for name in TESTED]
    if series < min(tested):
        raise ImportError(
            f"s2sfast.hf: expected transformers {TESTED[0]} or newer; got {version}: pip install -U 's2sfast[hf]'"
        )
    if series not in tested:
        warnings.warn(
            f"s2sfast.hf is tested with transformers {', '.join(TESTED)}; this is {version}: compare a few results "
            "with generate() alone",
            stacklevel=3,
        )
