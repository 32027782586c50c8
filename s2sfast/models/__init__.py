"""Models that s2sfast decodes."""

from s2sfast.models.g2p import G2P, load_g2p

__all__ = ["G2P", "load_g2p"]
