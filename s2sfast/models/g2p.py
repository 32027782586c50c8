"""The trained grapheme-to-phoneme model of the PyPI package ``g2p-en``, rebuilt from PyTorch modules.

A GRU reads the letters of a word and ``</s>``; its last state starts a GRU that emits ARPAbet phonemes. No attention,
so the decoder's state is all that a search carries. Only the package's weights are read: importing ``g2p_en`` itself
would start downloads.
"""

from __future__ import annotations

import importlib.util
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

GRAPHEMES: tuple[str, ...] = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")

# ARPAbet in the checkpoint's order: a vowel comes with each of its stresses (0 none, 1 primary, 2 secondary).
PHONEMES: tuple[str, ...] = (
    *("<pad>", "<unk>", "<s>", "</s>"),
    *("AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1", "AO2", "AW0", "AW1", "AW2"),
    *("AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2", "ER0", "ER1", "ER2", "EY0", "EY1", "EY2"),
    *("F", "G", "HH", "IH0", "IH1", "IH2", "IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG", "OW0", "OW1", "OW2"),
    *("OY0", "OY1", "OY2", "P", "R", "S", "SH", "T", "TH", "UH0", "UH1", "UH2", "UW", "UW0", "UW1", "UW2"),
    *("V", "W", "Y", "Z", "ZH"),
)

START = PHONEMES.index("<s>")
EOS = PHONEMES.index("</s>")
WORD_END = GRAPHEMES.index("</s>")
MAX_PHONEMES = 20  # the package stops after 20 decoder steps, with or without </s>
WIDTH = 256  # of embeddings and states alike

_LETTER_ID = {letter: index for index, letter in enumerate(GRAPHEMES)}
_FOREIGN = re.compile("[^A-Za-z]")

#: Name of each array in the checkpoint -> (parameter of :class:`G2P` that it fills, shape).
_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "enc_emb": ("letters.weight", (len(GRAPHEMES), WIDTH)),
    "enc_w_ih": ("encoder.weight_ih_l0", (3 * WIDTH, WIDTH)),
    "enc_w_hh": ("encoder.weight_hh_l0", (3 * WIDTH, WIDTH)),
    "enc_b_ih": ("encoder.bias_ih_l0", (3 * WIDTH,)),
    "enc_b_hh": ("encoder.bias_hh_l0", (3 * WIDTH,)),
    "dec_emb": ("phonemes.weight", (len(PHONEMES), WIDTH)),
    "dec_w_ih": ("decoder.weight_ih", (3 * WIDTH, WIDTH)),
    "dec_w_hh": ("decoder.weight_hh", (3 * WIDTH, WIDTH)),
    "dec_b_ih": ("decoder.bias_ih", (3 * WIDTH,)),
    "dec_b_hh": ("decoder.bias_hh", (3 * WIDTH,)),
    "fc_w": ("output.weight", (len(PHONEMES), WIDTH)),
    "fc_b": ("output.bias", (len(PHONEMES),)),
}


class MissingWeights(ImportError):
    """The package that ships the weights is not installed; the message says how to install it."""


class G2P(nn.Module):
    """Letters in, phonemes out: a GRU encoder and a GRU decoder without attention.

    ``encode`` gives the state from which a search starts and ``step`` advances it, so the model is a step object for
    :func:`s2sfast.beam_search` as it is::

        model = load_g2p()
        result = beam_search(model, model.encode(words), start=START, eos=EOS, max_length=MAX_PHONEMES)
        model.spell(result.best(0))
    """

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(GRAPHEMES), WIDTH)
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.phonemes = nn.Embedding(len(PHONEMES), WIDTH)
        self.decoder = nn.GRUCell(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, len(PHONEMES))
        self.input_gates: Tensor | None
        self.register_buffer("input_gates", None, persistent=False)

    def encode(self, words: Sequence[str]) -> Tensor:
        """Reads B words of any lengths at once; what stands beside a word does not change its state.

        Args:
            words: B words of the letters a-z; upper case is folded.

        Returns:
            ``(B, H)`` float32, the decoder's first state.

        Raises:
            ValueError: for an empty word or a character that is not a letter a-z, naming word and character.
        """
        rows = [letter_ids(word) for word in words]
        device = self.letters.weight.device
        if not rows:
            return torch.zeros(0, WIDTH, device=device)
        lengths = torch.tensor([len(row) for row in rows])
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        letters = self.letters(padded.to(device))
        if min(map(len, rows)) == longest:  # packing would add a fifth to the time of a single word
            _, last = self.encoder(letters)
        else:
            _, last = self.encoder(pack_padded_sequence(letters, lengths, batch_first=True, enforce_sorted=False))
        state: Tensor = last[0]
        return state

    def step(self, tokens: Tensor, state: Tensor, memory: object = None) -> tuple[Tensor, Tensor]:
        """Advances R hypotheses by one phoneme.

        Args:
            tokens: ``(R,)`` the phoneme each one ends with, ``START`` at first.
            state:  ``(R, H)``.
            memory: not used; searches pass it to every step.

        Returns:
            logits ``(R, V)`` over ``PHONEMES``, and the new state ``(R, H)``.
        """
        if self.input_gates is None:
            state = self.decoder(self.phonemes(tokens), state)
        else:
            state = self._advance(nn.functional.embedding(tokens, self.input_gates), state)
        return self.output(state), state

    def fold(self) -> G2P:
        """Makes ``step`` about a third faster for inference: same meaning, other rounding.

        Half of a GRU cell's work depends on the token alone, so it becomes a table ``(V, 3H)``. Fold again whenever
        the weights change; gradients do not reach the decoder's input weights through the table.
        """
        cell = self.decoder
        with torch.no_grad():
            self.input_gates = nn.functional.linear(self.phonemes.weight, cell.weight_ih, cell.bias_ih)
        return self

    def _advance(self, of_input: Tensor, state: Tensor) -> Tensor:
        """The decoder's GRU cell from its input's share of the gates ``(R, 3H)``, in the order reset, update, new."""
        of_state = nn.functional.linear(state, self.decoder.weight_hh, self.decoder.bias_hh)
        gates = torch.sigmoid(of_input[:, : 2 * WIDTH] + of_state[:, : 2 * WIDTH])
        reset, update = gates.chunk(2, 1)
        new = torch.tanh(torch.addcmul(of_input[:, 2 * WIDTH :], reset, of_state[:, 2 * WIDTH :]))
        return new.lerp(state, update)

    @staticmethod
    def spell(tokens: Sequence[int]) -> list[str]:
        """ARPAbet names of phoneme ids, up to ``EOS`` or padding (-1)."""
        names: list[str] = []
        for token in tokens:
            if token in (EOS, -1):
                break
            names.append(PHONEMES[token])
        return names


def letter_ids(word: str) -> list[int]:
    """Ids of a word's letters and ``</s>``; ``ValueError`` for an empty word or a character outside a-z."""
    if not word:
        raise ValueError("g2p: expected a word of the letters a-z; got an empty one")
    foreign = _FOREIGN.search(word)
    if foreign:
        raise ValueError(f"g2p: expected the letters a-z; got {foreign[0]!r} in {word!r}")
    return [_LETTER_ID[letter] for letter in word.lower()] + [WORD_END]


def find_checkpoint() -> Path:
    """Path of ``checkpoint20.npz`` in the installed ``g2p-en``, found without importing that package.

    Raises:
        MissingWeights: if ``g2p-en`` is not installed or comes without the file.
    """
    spec = importlib.util.find_spec("g2p_en")  # looks only; executing the package would download NLTK data
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "checkpoint20.npz"
        if path.is_file():
            return path
    wrong = "is installed without its checkpoint20.npz" if spec else "is not installed"
    raise MissingWeights(
        f'g2p: the model\'s weights come with the PyPI package g2p-en, which {wrong}; pip install "s2sfast[demo]"'
    )


def load_g2p(path: str | Path | None = None) -> G2P:
    """The trained model, in evaluation mode, on the CPU, without gradients, folded.

    Args:
        path: a ``checkpoint20.npz``; None takes the one of the installed ``g2p-en``.

    Raises:
        MissingWeights: if ``g2p-en`` is not installed (only without ``path``).
        FileNotFoundError: if there is no file at ``path``.
        ValueError: if the file is no NumPy archive or its arrays are not those of this model.
    """
    arrays = read_checkpoint(find_checkpoint() if path is None else Path(path))
    model = G2P()
    model.load_state_dict({_ARRAYS[name][0]: torch.from_numpy(array) for name, array in arrays.items()})
    return model.eval().requires_grad_(False).fold()


def read_checkpoint(path: Path) -> dict[str, NDArray[np.float32]]:
    """The checkpoint's twelve float32 arrays by their names in the file; errors as :func:`load_g2p`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, ValueError, AttributeError, TypeError) as error:  # np.load's ways to fail
        raise ValueError(f"g2p: {path.name}: expected an archive of NumPy arrays; {error}") from error
    _check_arrays(path.name, arrays)
    return arrays


def _check_arrays(file: str, arrays: dict[str, NDArray[np.float32]]) -> None:
    for verb, names in (("lacks", _ARRAYS.keys() - arrays.keys()), ("also holds", arrays.keys() - _ARRAYS.keys())):
        if names:
            raise ValueError(
                f"g2p: {file}: expected the arrays {', '.join(_ARRAYS)}; it {verb} {', '.join(sorted(names))}"
            )
    for name, (_, shape) in _ARRAYS.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"g2p: {file}: expected {name} {shape} float32; got {array.shape} {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"g2p: {file}: expected {name} to be finite; got NaN or infinity")
