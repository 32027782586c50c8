"""backtrace by hand; the table has the rest."""

import pytest
import torch

import s2sfast
from s2sfast import reference


@pytest.mark.parametrize("backtrace", [s2sfast.backtrace, reference.backtrace], ids=["fast", "reference"])
def test_by_hand(backtrace):
    """Three steps of two beams; the second beam of the last step comes from 1, 0: tokens 20, 11 -> read below."""
    parents = torch.tensor([[[0, 0]], [[1, 0]], [[1, 1]]])
    tokens = torch.tensor([[[10, 20]], [[11, 21]], [[12, 22]]])
    # step 2 slot 1: 22, parent 1; step 1 slot 1: 21, parent 0; step 0 slot 0: 10
    # two steps from slot 0: 11, parent 1; 20
    found = backtrace(parents, tokens, torch.tensor([[1, 0, 0]]), steps=torch.tensor([[3, 2, 0]]))
    assert found.tolist() == [[[10, 21, 22], [20, 11, -1], [-1, -1, -1]]]


def test_a_place_without_steps_needs_no_slot():
    empty = torch.zeros(2, 1, 2, dtype=torch.int64)
    found = s2sfast.backtrace(empty, empty, torch.tensor([[99]]), steps=torch.tensor([[0]]))
    assert found.tolist() == [[[-1, -1]]]
