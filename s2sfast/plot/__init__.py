"""Pictures of what a search did and of what an attention looked at. They need matplotlib (the extra ``demo``)."""

from s2sfast.plot.figure import new_figure, save_figure
from s2sfast.plot.heatmap import attention
from s2sfast.plot.tree import beam_tree

__all__ = ["attention", "beam_tree", "new_figure", "save_figure"]
