"""What changes the log-probabilities of a step before they are ranked."""

from s2sfast.search.processors.allowed import AllowedMask, AllowedTokens
from s2sfast.search.processors.automaton import Automaton
from s2sfast.search.processors.base import Beginning, Processor, Tracker
from s2sfast.search.processors.forced import ForcedPrefix, ForcedTokens, MinLength
from s2sfast.search.processors.repetition import NoRepeatNGram, RepetitionPenalty
from s2sfast.search.processors.suppress import BadWords, SuppressTokens, SuppressTokensAtBegin

__all__ = [
    "AllowedMask",
    "AllowedTokens",
    "Automaton",
    "BadWords",
    "Beginning",
    "ForcedPrefix",
    "ForcedTokens",
    "MinLength",
    "NoRepeatNGram",
    "Processor",
    "RepetitionPenalty",
    "SuppressTokens",
    "SuppressTokensAtBegin",
    "Tracker",
]
