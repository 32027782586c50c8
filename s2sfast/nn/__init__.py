"""Modules over the ops: attention, pointers, copying, an NTM's memory; plain ``torch.nn.Module`` with state dicts.

They hold parameters and projections and call one op each; no module keeps state from call to call. All attentions are
called alike, ``context, weights = attention(query, keys_or_memory, mask=..., lengths=...)``, so that another kind of
attention is another line of a model. :mod:`s2sfast.nn.convert` takes over the weights of other libraries' layers.
"""

from s2sfast.nn import convert
from s2sfast.nn.additive import AdditiveAttention
from s2sfast.nn.attentional import AttentionalState
from s2sfast.nn.bilinear import BilinearAttention
from s2sfast.nn.copying import CopyGenerator
from s2sfast.nn.cosine import CosineAttention
from s2sfast.nn.coverage import CoverageAttention, coverage_loss
from s2sfast.nn.dot import DotAttention
from s2sfast.nn.location import LocationAwareAttention
from s2sfast.nn.memory import AttentionMemory
from s2sfast.nn.ntm_heads import NTMHeads
from s2sfast.nn.ntm_memory import NTMMemory
from s2sfast.nn.pointer import PointerLayer

__all__ = [
    "AdditiveAttention",
    "AttentionMemory",
    "AttentionalState",
    "BilinearAttention",
    "CopyGenerator",
    "CosineAttention",
    "CoverageAttention",
    "DotAttention",
    "LocationAwareAttention",
    "NTMHeads",
    "NTMMemory",
    "PointerLayer",
    "convert",
    "coverage_loss",
]
