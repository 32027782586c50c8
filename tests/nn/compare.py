"""What the tests of the modules share: leaves, gradients, and comparing two implementations by both."""

import torch
from torch.testing import assert_close


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def gradients(outputs, inputs):
    """Of one fixed random mixture of the outputs."""
    random = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=random, dtype=out.dtype)).sum() for out in outputs)
    return torch.autograd.grad(loss, inputs, retain_graph=True)


def assert_same(mine, theirs, shared, my_weights=(), their_weights=()):
    """Outputs agree, and so do the gradients of the shared inputs and of the weights, pair by pair.

    A weight of theirs may have its dimensions of size 1 elsewhere.
    """
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a, b)
    my_gradients = gradients(mine, [*shared, *my_weights])
    their_gradients = gradients(theirs, [*shared, *their_weights])
    for a, b in zip(my_gradients, their_gradients, strict=True):
        assert a.abs().max() > 0
        assert_close(a, b.reshape(a.shape))
