"""The output layer's product of a few rows."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

import s2sfast
from s2sfast.hf.projection import LEAST_WEIGHTS, project, projecting

V, H = 32_768, 128


class Model:
    def __init__(self, head: nn.Module):
        self.head = head

    def get_output_embeddings(self) -> nn.Module:
        return self.head


@pytest.mark.parametrize("shape", [(1, H), (2, H), (5, 1, H), (4, 2, H), (9, H), (0, H)])
@pytest.mark.parametrize("with_bias", [False, True])
@torch.no_grad()
def test_is_linear(shape: tuple[int, ...], with_bias: bool) -> None:
    weight, x = torch.randn(V, H), torch.randn(shape)
    assert weight.numel() >= LEAST_WEIGHTS
    bias = torch.randn(V) if with_bias else None
    expected = linear(x.double(), weight.double(), None if bias is None else bias.double())
    found = project(x, weight, bias)
    assert found.shape == expected.shape and found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_gradients_are_torchs_own() -> None:
    weight = torch.randn(V, H, requires_grad=True)
    assert project(torch.randn(3, H), weight, None).requires_grad


@torch.no_grad()
def test_the_layer_is_itself_again_after_searches_that_overlap_and_after_an_error() -> None:
    head = nn.Linear(H, V)
    model, x = Model(head), torch.randn(5, H)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with projecting(model):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with pytest.raises(KeyError), projecting(model):
        raise KeyError
    assert "forward" in vars(head)  # the other search goes on
    torch.testing.assert_close(head(x), linear(x, head.weight, head.bias), rtol=1e-5, atol=1e-4)
    leave.set()
    thread.join()
    assert "forward" not in vars(head) and torch.equal(head(x), linear(x, head.weight, head.bias))


@torch.no_grad()
def test_a_layer_of_ones_own_is_left_alone() -> None:
    class Own(nn.Linear):
        pass

    head = Own(H, V)
    with projecting(Model(head)):
        assert "forward" not in vars(head)


def test_a_model_with_a_large_vocabulary_decodes_as_alone() -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=V, n_embd=H, n_layer=1, n_head=2, eos_token_id=0, bos_token_id=1)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.lm_head.weight.data.normal_()
    options = {"num_beams": 5, "max_new_tokens": 8, "pad_token_id": 0, "output_scores": True}
    prompt = torch.tensor([[3, 4, 5]])
    alone = model.generate(prompt, **options, return_dict_in_generate=True)
    ours = model.generate(prompt, **options, return_dict_in_generate=True, custom_generate=s2sfast.hf.beam_search)
    assert torch.equal(ours.sequences, alone.sequences)
    torch.testing.assert_close(ours.sequences_scores, alone.sequences_scores, rtol=1e-5, atol=1e-5)
