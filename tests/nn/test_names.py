"""What s2sfast.nn offers."""

import s2sfast


def test_the_public_names():
    """A name that users rely on does not vanish unnoticed."""
    promised = {
        "AdditiveAttention", "AttentionMemory", "AttentionalState", "BilinearAttention", "CopyGenerator",
        "CosineAttention", "CoverageAttention", "DotAttention", "LocationAwareAttention", "NTMHeads", "NTMMemory",
        "PointerLayer", "convert", "coverage_loss",
    }  # fmt: skip
    assert promised <= set(s2sfast.nn.__all__)
    assert all(hasattr(s2sfast.nn, name) for name in s2sfast.nn.__all__)
