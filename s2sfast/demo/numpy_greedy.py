"""Rival (a): greedy decoding in NumPy the way the package ``g2p-en`` does it, one word at a time, in float32.

Written again because importing the package starts downloads. The tests run the package's own code beside this and
expect the same phonemes. It works on matrices of one row as the package does, so that it rounds and costs the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2sfast.models.g2p import EOS, MAX_PHONEMES, START, WIDTH, letter_ids

Array = NDArray[np.float32]


class NumpyGreedy:
    """Takes the arrays of :func:`s2sfast.models.g2p.read_checkpoint`."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def decode(self, word: str) -> list[int]:
        """Phoneme ids of one word of the letters a-z, without ``</s>``, at most ``MAX_PHONEMES`` of them."""
        state = np.zeros((1, WIDTH), np.float32)
        for letter in letter_ids(word):
            state = self._advance("enc", letter, state)
        phonemes: list[int] = []
        token = START
        while len(phonemes) < MAX_PHONEMES:
            state = self._advance("dec", token, state)
            token = int(np.argmax(state @ self._arrays["fc_w"].T + self._arrays["fc_b"]))
            if token == EOS:
                break
            phonemes.append(token)
        return phonemes

    def _advance(self, side: str, symbol: int, state: Array) -> Array:
        """One GRU step of the encoder ("enc") or decoder ("dec"); gates in the order reset, update, new."""
        a = self._arrays
        of_input = a[f"{side}_emb"][symbol : symbol + 1] @ a[f"{side}_w_ih"].T + a[f"{side}_b_ih"]
        of_state = state @ a[f"{side}_w_hh"].T + a[f"{side}_b_hh"]
        gates = 1 / (1 + np.exp(-(of_input[:, : 2 * WIDTH] + of_state[:, : 2 * WIDTH])))
        reset, update = gates[:, :WIDTH], gates[:, WIDTH:]
        new = np.tanh(of_input[:, 2 * WIDTH :] + reset * of_state[:, 2 * WIDTH :])
        advanced: Array = (1 - update) * new + update * state
        return advanced
