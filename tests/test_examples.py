"""Examples run, and so does the code in the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parent.parent


QUICKLY = {"attention_pictures": ["--steps", "3"]}  # others are quick as they are


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(script, tmp_path):
    command = [sys.executable, script, *QUICKLY.get(script.stem, [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if script.stem == "attention_pictures":  # after three steps nothing is right yet
        assert "should be" in done.stdout
        assert "<svg" in (tmp_path / "attention_wrong.svg").read_text()


def test_the_code_in_the_readme_runs():
    """With a small model under the names that it uses."""
    names = {
        "cell": nn.GRUCell(8, 8),
        "embedding": nn.Embedding(20, 8),
        "output": nn.Linear(8, 20),
        "encoded": torch.randn(2, 5, 8),
        "h0": torch.zeros(2, 8),
        "BOS": 0,
        "EOS": 1,
        "logits": torch.randn(2, 3, 20),
        "scores": torch.zeros(2, 3),
        "K": 3,
    }
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert names["found"].tokens.shape[:2] == (2, 3)
    assert names["best"].tokens.shape == (2, 6)
