"""Heatmaps of attention: what they show, what they leave out, and what they refuse."""

import re

import numpy as np
import pytest
import torch

from s2sfast import plot
from s2sfast.search import Node

WEIGHTS = torch.tensor([[0.9, 0.1, 0.0], [0.25, 0.7, 0.05]])
SOURCE, TARGET = ["ein", "Haus", "<&>"], ["a", "house"]


def mesh(figure):
    return figure.axes[0].collections[0]


def test_the_cells_are_the_weights():
    figure = plot.attention(WEIGHTS, SOURCE, TARGET)
    np.testing.assert_allclose(np.asarray(mesh(figure).get_array()).reshape(2, 3), WEIGHTS)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == SOURCE
    assert [label.get_text() for label in axes.get_yticklabels()] == TARGET
    down, up = axes.get_ylim()
    assert down > up  # the first target stands on top
    assert list(axes.get_yticks()) == [0.5, 1.5]  # in the middle of its row


def test_more_weight_is_darker_and_the_scale_is_the_same_in_every_picture():
    lights = [sum(mesh(plot.attention(torch.tensor([[w]]), ["s"], ["t"])).to_rgba(w)[:3]) for w in (0.0, 0.3, 0.6, 1.0)]
    assert lights == sorted(lights, reverse=True)
    assert lights[0] > 2.8  # all but white


def test_labels_are_text_in_the_svg(tmp_path):
    plot.attention(WEIGHTS, SOURCE, TARGET, tmp_path / "a.svg", numbers=True, title="what it saw")
    svg = (tmp_path / "a.svg").read_text()
    for text in ("ein", "Haus", "&lt;&amp;&gt;", "house", "what it saw", "0.90", "0.05"):
        assert text in svg
    assert "0.00" not in svg  # nothing to say
    assert "<image" not in svg  # shapes, no bitmap


def test_padding_beyond_the_labels_is_left_out():
    padded = torch.full((4, 5), torch.nan)
    padded[:2, :3] = WEIGHTS
    figure = plot.attention(padded.requires_grad_(), SOURCE, TARGET)
    np.testing.assert_allclose(np.asarray(mesh(figure).get_array()).reshape(2, 3), WEIGHTS)


def test_wrong_ones_stand_out():
    figure = plot.attention(WEIGHTS, SOURCE, TARGET, wrong=[1])
    right, wrong = figure.axes[0].get_yticklabels()
    assert wrong.get_color() != right.get_color()
    assert wrong.get_fontweight() == "bold"


def test_what_numpy_reads_will_do():
    for weights in (WEIGHTS.numpy(), WEIGHTS.tolist(), WEIGHTS.bfloat16()):
        assert plot.attention(weights, SOURCE, TARGET)


def test_the_same_picture_has_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot.attention(WEIGHTS, SOURCE, TARGET, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[0], r"(L, T) of at least (2, 3), as there are labels; got (3,)"),
        (WEIGHTS[:, :2], r"at least (2, 3), as there are labels; got (2, 2)"),
        (WEIGHTS[:1], r"at least (2, 3), as there are labels; got (1, 3)"),
        (-WEIGHTS, "finite weights >= 0"),
        (WEIGHTS / 0, "finite weights >= 0"),
    ],
)
def test_what_is_no_attention_is_refused(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot.attention(weights, SOURCE, TARGET)


def test_numbers_that_nobody_could_read_are_refused():
    with pytest.raises(ValueError, match="at most 400 cells"):
        plot.attention(torch.zeros(30, 30), ["s"] * 30, ["t"] * 30, numbers=True)


def test_a_pruned_branch_says_which_rule_cut_it(tmp_path):
    nodes = [
        Node(0, -1, 0, 0, -0.5, "finished"),
        Node(1, -1, 0, 1, -1.0, "pruned", "relative_local"),
        Node(2, -1, 0, 2, -2.0, "outranked"),
    ]
    plot.beam_tree(nodes, "abc", tmp_path / "tree.svg")
    assert (tmp_path / "tree.svg").read_text().count("relative_local") == 1
