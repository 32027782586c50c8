"""Models that s2sfast decodes, and models made of its parts."""

from s2sfast.models.g2p import G2P, load_g2p
from s2sfast.models.ntm import NTM, NTMState, NTMTrace

__all__ = ["G2P", "NTM", "NTMState", "NTMTrace", "load_g2p"]
