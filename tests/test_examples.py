"""Examples run, and so does the code in the README."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

ROOT = Path(__file__).parent.parent


QUICKLY = {  # others are quick as they are
    "attention_pictures": ["--steps", "3"],
    "whisper_ct2": ["--beams", "2", "--tokens", "6"],
    "ntm_copy": [
        *("--sequences", "2400", "--batch", "8", "--length", "2", "--slots", "8", "--width", "10", "--hidden", "32"),
        *("--learning-rate", "0.01", "--test", "2", "5", "--timed", "10", "--json"),
    ],
}


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(script, tmp_path):
    command = [sys.executable, script, *QUICKLY.get(script.stem, [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if script.stem == "attention_pictures":  # after three steps nothing is right yet
        assert "should be" in done.stdout
        assert "<svg" in (tmp_path / "attention_wrong.svg").read_text()
    if script.stem == "whisper_ct2":
        assert re.search(r"^a tone: beep beep", done.stdout.lower(), re.MULTILINE)
    if script.stem == "ntm_copy":
        check_the_copying_machine(json.loads(done.stdout), tmp_path)


def check_the_copying_machine(found, folder):
    """What knows nothing of the vectors is 12 bits wrong on average, those of one and a half."""
    assert found["sequences"] == 2400
    assert found["held_out_bits_per_sequence"]["last"] < 6
    assert [row["length"] for row in found["tests"]] == [2, 5]
    assert found["tests"][0]["wrong_bits"] < 0.4
    assert found["timed"]["fast"] > 0 < found["timed"]["eager"]
    assert {file.name for file in folder.iterdir()} == {"ntm_copy_curve.svg", "ntm_copy_weights.png"}


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
        "model": GPT2LMHeadModel(
            GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
        ).eval(),
        "inputs": {"input_ids": torch.tensor([[3, 4, 5]]), "attention_mask": torch.ones(1, 3)},
    }
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["found"].tokens.shape[:2] == (2, 3)
    assert names["best"].tokens.shape == (2, 6)
