"""What changes the log-probabilities of a step before they are ranked."""

from s2sfast.search.processors.base import Beginning, Processor, Tracker

__all__ = ["Beginning", "Processor", "Tracker"]
