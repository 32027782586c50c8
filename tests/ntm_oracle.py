"""A Neural Turing Machine in loops over Python's floats, from Graves et al. 2014 (arXiv:1410.5401), equations 2 to 9.

Of one sentence. Vectors are lists, matrices lists of lists; a head is a dict of the fields of `NTMHead`. Nothing of
s2sfast or torch takes part. Products of several writes: Graves et al. 2016, Nature 538:471.
"""

import math

LOCATION = ("gate", "shift", "sharpen")


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b, eps, mode):
    """Equation 6, with one of three ways around a norm of 0."""
    if mode == "clamp":
        below = max(math.sqrt(dot(a, a)), eps) * max(math.sqrt(dot(b, b)), eps)
    elif mode == "sqrt":
        below = math.sqrt(dot(a, a) + eps) * math.sqrt(dot(b, b) + eps)
    else:
        below = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b)) + eps
    return dot(a, b) / below


def softmax(scores):
    most = max(scores, default=0.0)
    powers = [math.exp(x - most) for x in scores]
    total = math.fsum(powers)
    return [x / total for x in powers]


def content(memory, key, strength, eps=1e-8, mode="clamp"):
    """Equation 5."""
    return softmax([strength * cosine(key, slot, eps, mode) for slot in memory])


def interpolated(one, previous, gate):
    """Equation 7."""
    return [gate * x + (1 - gate) * y for x, y in zip(one, previous, strict=True)]


def shifted(weights, shift, offsets):
    """Equation 8: what is at slot j goes to slot j + offset."""
    count, found = len(weights), [0.0] * len(weights)
    for part, offset in zip(shift, offsets, strict=True):
        for j, weight in enumerate(weights):
            found[(j + offset) % count] += part * weight
    return found


def sharpened(weights, sharpen):
    """Equation 9. Of the quotients by the largest weight, whose powers neither vanish all nor overflow."""
    most = max(weights, default=0.0)
    if most <= 0:
        return [0.0] * len(weights)
    powers = [(x / most) ** sharpen if x > 0 else 0.0 for x in weights]
    total = math.fsum(powers)
    return [x / total for x in powers]


def symmetric(count):
    return [s - count // 2 for s in range(count)]


def located(found, previous, gate, shift, sharpen, offsets=None):
    if gate is None:
        return found
    weights = interpolated(found, previous, gate)
    if shift is not None:
        weights = shifted(weights, shift, symmetric(len(shift)) if offsets is None else offsets)
    return weights if sharpen is None else sharpened(weights, sharpen)


def address(memory, previous, head, offsets, eps, mode):
    found = content(memory, head["key"], head["strength"], eps, mode)
    return located(found, previous, *(head.get(name) for name in LOCATION), offsets)


def read(memory, weights, width):
    """Equation 2."""
    return [math.fsum(w * slot[m] for w, slot in zip(weights, memory, strict=True)) for m in range(width)]


def write(memory, weights, erases, adds, composition):
    """Equations 3 and 4, of several heads."""
    heads = list(zip(weights, erases, adds, strict=True))
    new = [list(slot) for slot in memory]
    for n, slot in enumerate(new):
        for m in range(len(slot)):
            if composition == "sequential":
                for w, erase, add in heads:
                    slot[m] = slot[m] * (1 - w[n] * erase[m]) + w[n] * add[m]
            else:
                kept = math.prod(1 - w[n] * erase[m] for w, erase, _ in heads)
                slot[m] = slot[m] * kept + math.fsum(w[n] * add[m] for w, _, add in heads)
    return new


def step(
    memory, width, read_previous, write_previous, read_heads, write_heads, *,
    order="write_read", composition="sequential", shift_offsets=None, eps=1e-8, eps_mode="clamp",
):  # fmt: skip
    """(memory, reads, read weights, write weights). `read_heads` None: read with the weights that were written with."""

    def weights(of, heads, previous):
        previous = [None] * len(heads) if previous is None else previous
        return [address(of, w, h, shift_offsets, eps, eps_mode) for h, w in zip(heads, previous, strict=True)]

    writing = weights(memory, write_heads, write_previous)
    written = write(memory, writing, [h["erase"] for h in write_heads], [h["add"] for h in write_heads], composition)
    source = written if order == "write_read" else memory
    reading = writing if read_heads is None else weights(source, read_heads, read_previous)
    return written, [read(source, w, width) for w in reading], reading, writing


# --- what a controller's numbers become --------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def activated(head, key="none", strength="softplus", add="none"):
    by_name = {"none": lambda x: x, "tanh": math.tanh, "softplus": softplus, "oneplus": lambda x: 1 + softplus(x)}

    def each(function, row):
        return [function(x) for x in row]

    made = {"key": each(by_name[key], head["key"]), "strength": by_name[strength](head["strength"])}
    for name, function in {
        "gate": sigmoid,
        "shift": softmax,
        "sharpen": lambda x: 1 + softplus(x),
        "erase": lambda row: each(sigmoid, row),
        "add": lambda row: each(by_name[add], row),
    }.items():
        made[name] = None if head.get(name) is None else function(head[name])
    return made
