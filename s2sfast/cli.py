"""The command ``s2sfast``. Exit codes: 0 done, 1 it could not be done or a check failed, 2 wrong usage or wrong input,
130 interrupted."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

MODELS = ("g2p",)
MAX_BEAM = 1000  # what is larger is a slip of the hand, and would fill the memory before it fails
MAX_LETTERS = 200  # a longer line is no word, and its neighbours in the batch would be padded to its length
_BATCH = 64  # lines that are decoded together

_FAILED, _WRONG_INPUT, _BROKEN_PIPE, _INTERRUPTED = 1, 2, 141, 130

# Editors on Windows begin files with a byte order mark; bytes that are no UTF-8 become a letter outside a-z.
_ENCODING, _ERRORS = "utf-8-sig", "replace"

Answer = dict[str, Any]  # what --json prints for a word
Decode = Callable[[list[str]], list[Answer]]
Number = TypeVar("Number", int, float)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: those of the process) and returns its exit code."""
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
        sys.stdout.flush()  # a reader that has gone is noticed here, not at exit
        return code
    except SystemExit as stop:  # argparse has printed its help or its error
        return stop.code if isinstance(stop.code, int) else _WRONG_INPUT
    except KeyboardInterrupt:
        return _complain("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return _BROKEN_PIPE
    except OSError as error:  # such as a full disk behind standard output
        _drop_output()
        return _complain(_reason(error), _FAILED)


def _drop_output() -> None:
    """Python flushes stdout once more at exit: gives it somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ------------------------------------------------------------------------------------------------------------- decode


class _Line(NamedTuple):
    """A word to decode; ``place`` says where it came from, for complaints."""

    place: str
    text: str


def _decode(options: argparse.Namespace) -> int:
    if options.n_best > options.beam:
        return _complain(f"decode: --n-best {options.n_best} needs a --beam of at least {options.n_best}", _WRONG_INPUT)
    if options.words and options.input is not None:
        return _complain("decode: give words or --input, not both", _WRONG_INPUT)
    try:
        decode = _g2p_decoder(options)
    except ImportError as error:
        return _complain(str(error), _FAILED)
    except ValueError as error:  # pruning rules out of range
        return _complain(f"decode: {error}", _WRONG_INPUT)
    try:
        return _decode_lines(_lines(options), decode, options)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        return _complain(f"decode: {_reason(error)}", _WRONG_INPUT)


def _lines(options: argparse.Namespace) -> Iterator[_Line]:
    if options.words:
        yield from (_Line("", word) for word in options.words)
    elif options.input in (None, "-"):
        if sys.stdin.isatty():
            print("s2sfast: reading words from the terminal, one per line; Ctrl-D ends", file=sys.stderr)
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding=_ENCODING, errors=_ERRORS)
        yield from _numbered("line ", sys.stdin)
    else:
        with open(options.input, encoding=_ENCODING, errors=_ERRORS) as file:
            yield from _numbered(f"{options.input}:", file)


def _numbered(where: str, lines: Iterable[str]) -> Iterator[_Line]:
    for number, line in enumerate(lines, start=1):
        yield _Line(f"{where}{number}: ", line.strip())


def _decode_lines(lines: Iterable[_Line], decode: Decode, options: argparse.Namespace) -> int:
    """Decodes what can be decoded and complains about the rest, in batches; returns the exit code."""
    at_a_time = 1 if sys.stdin.isatty() and not options.words else _BATCH  # who types waits for each answer
    code = 0
    words: list[str] = []
    for line in lines:
        wrong = _what_is_wrong(line.text)
        if wrong:
            code = _complain(f"decode: {line.place}{wrong}", _WRONG_INPUT)
            continue
        words.append(line.text.lower())
        if len(words) == at_a_time:
            _print_answers(decode(words), options.json)
            words = []
    if words:
        _print_answers(decode(words), options.json)
    return code


def _what_is_wrong(word: str) -> str:
    from s2sfast.models.g2p import letter_ids

    if len(word) > MAX_LETTERS:
        return f"g2p: expected at most {MAX_LETTERS} letters; got {len(word)}"
    try:
        letter_ids(word)
    except ValueError as error:
        return str(error)
    return ""


def _g2p_decoder(options: argparse.Namespace) -> Decode:
    import torch

    from s2sfast.models.g2p import EOS, START, load_g2p
    from s2sfast.search import beam_search

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = load_g2p()
    pruning = _pruning(options)

    def decode(words: list[str]) -> list[Answer]:
        result = beam_search(
            model,
            model.encode(words),
            start=START,
            eos=EOS,
            beam=options.beam,
            n_best=options.n_best,
            max_length=options.max_length,
            length_penalty=options.length_penalty,
            rules=options.rules,
            pruning=pruning,
        )
        return [_answer(model.spell, result, b, word) for b, word in enumerate(words)]

    return decode


def _pruning(options: argparse.Namespace) -> Any:
    from s2sfast.types import Pruning

    rules = {
        "relative": options.prune_relative,
        "absolute": options.prune_absolute,
        "relative_local": options.prune_relative_local,
        "max_per_beam": options.prune_max_per_beam,
    }
    return Pruning(**rules) if any(value is not None for value in rules.values()) else None


def _answer(spell: Callable[[list[int]], list[str]], result: Any, b: int, word: str) -> Answer:
    ranks = [rank for rank, length in enumerate(result.lengths[b].tolist()) if length > 0]  # the others are unfilled
    return {
        "word": word,
        "hypotheses": [
            {
                "phonemes": spell(result.tokens[b, rank].tolist()),
                "score": float(result.scores[b, rank]),
                "log_prob": float(result.log_probs[b, rank]),
                "finished": bool(result.finished[b, rank]),
            }
            for rank in ranks
        ],
    }


def _print_answers(answers: Iterable[Answer], as_json: bool) -> None:
    for answer in answers:
        if as_json:
            print(json.dumps(answer))
            continue
        for rank, hypothesis in enumerate(answer["hypotheses"], start=1):
            cut = "" if hypothesis["finished"] else " ..."
            print(answer["word"], rank, f"{hypothesis['score']:.4f}", " ".join(hypothesis["phonemes"]) + cut, sep="\t")
    sys.stdout.flush()  # whoever reads a pipe gets answers when they are there


# ---------------------------------------------------------------------------------------------------------- demo, info


def _demo(options: argparse.Namespace) -> int:
    from s2sfast.demo import WrongRequest, run_demo

    try:
        result = run_demo(words=options.words, out=options.out, seed=options.seed, threads=options.threads)
    except ImportError as error:
        return _complain(str(error), _FAILED)
    except WrongRequest as error:
        return _complain(str(error), _WRONG_INPUT)
    except OSError as error:  # of the folder for the pictures
        return _complain(f"demo: {_reason(error)}", _WRONG_INPUT)
    print(json.dumps(result.as_json(), indent=2) if options.json else result.as_text())
    return 0 if result.passed else _FAILED


def _info(options: argparse.Namespace) -> int:
    import s2sfast

    facts: dict[str, Any] = s2sfast.info()
    if options.json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        for name, fact in _flat(facts):
            print(f"{name}: {fact}")
    return 0


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, fact in facts.items():
        if isinstance(fact, dict):
            yield from _flat(fact, f"{prefix}{name}.")
        elif isinstance(fact, (list, tuple)):
            yield prefix + name, ", ".join(map(str, fact)) or "none"
        else:
            yield prefix + name, str(fact)


# ------------------------------------------------------------------------------------------------------------ arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and error."""
        command = self.prog.removeprefix("s2sfast").strip()
        self.exit(_complain(f"{command}: {message} (see {self.prog} --help)".removeprefix(": "), _WRONG_INPUT))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="s2sfast",
        description="A fast decoding engine for sequence-to-sequence models in PyTorch.",
        epilog="exit codes: 0 done; 1 it could not be done, or the demo's check failed; 2 wrong arguments or input; "
        "130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"s2sfast {version('s2sfast')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_demo(commands)
    _add_decode(commands)
    info = commands.add_parser(
        "info",
        help="versions, instruction set and threads in use",
        description="Prints versions, the instruction sets found and in use, threads, and CUDA architectures.",
    )
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.set_defaults(run=_info)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="decode real words with a trained model, beside two rivals",
        description="Decodes words of CMUdict with the trained model of g2p-en at beams 1, 2, 5 and 10, beside the "
        "package's own NumPy greedy and the same search in plain PyTorch. Prints a table of quality, speed and work, "
        "writes demo.png and beam.svg, and checks that greedy search gives the package's own answers.",
        epilog="examples:\n"
        "  s2sfast demo\n"
        "  s2sfast demo --words 500 --out pictures\n"
        "  s2sfast demo --json > demo.json\n\n"
        'Needs the extra packages: pip install "s2sfast[demo]"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--words", type=_whole(1), default=3000, metavar="N", help="how many (default 3000)")
    demo.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder for the pictures (default: here)")
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample of words (default 0)")
    demo.add_argument("--threads", type=_whole(1), default=1, metavar="N", help="torch's threads (default 1)")
    demo.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    demo.set_defaults(run=_demo)


def _add_decode(commands: Any) -> None:
    decode = commands.add_parser(
        "decode",
        help="decode words, a file or standard input",
        description="Decodes words with a trained model. Model g2p: the pronunciation of English words, letters a-z "
        "only, in ARPAbet.",
        epilog="output, one line per hypothesis: word, rank, score, phonemes, separated by tabs; phonemes that end in "
        "'...'\nwere cut at the maximum length. The score is log-probability / length^penalty.\n\n"
        "examples:\n"
        '  s2sfast decode --model g2p "transformer" --beam 5 --n-best 3\n'
        "  s2sfast decode --input words.txt --json > answers.jsonl\n"
        "  echo tomato | s2sfast decode --beam 10 --prune-absolute 5\n\n"
        "A bad word is named on standard error, the others are decoded, and the exit code is 2.\n"
        'Needs the model\'s weights: pip install "s2sfast[demo]"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    decode.add_argument("words", nargs="*", metavar="WORD", help="words to decode; none: from standard input")
    decode.add_argument("--model", choices=MODELS, default="g2p", help="the model (default g2p)")
    decode.add_argument("--input", metavar="FILE", help="one word per line; '-' is standard input")
    decode.add_argument("--json", action="store_true", help="print one JSON object per word and line")
    decode.add_argument("--threads", type=_whole(1), metavar="N", help="torch's threads (default: its own)")

    search = decode.add_argument_group("search")
    search.add_argument(
        "--beam", type=_whole(1, MAX_BEAM), default=5, metavar="K", help="hypotheses kept per step (default 5)"
    )
    search.add_argument(
        "--n-best", type=_whole(1), default=1, metavar="N", help="hypotheses printed, at most K (default 1)"
    )
    search.add_argument("--max-length", type=_whole(1), default=20, metavar="L", help="longest output (default 20)")
    search.add_argument("--length-penalty", type=_real(), default=1.0, metavar="A", help="0 is none (default 1)")
    search.add_argument("--rules", choices=("hf", "exact"), default="hf", help="when a search stops (default hf)")

    pruning = decode.add_argument_group("pruning (Freitag & Al-Onaizan 2017); each rule is off by default")
    pruning.add_argument("--prune-relative", type=_real(0, 1), metavar="P", help="less probable than P times the best")
    pruning.add_argument("--prune-absolute", type=_real(0), metavar="X", help="log-probability X below the best")
    pruning.add_argument(
        "--prune-relative-local",
        type=_real(0, 1),
        metavar="P",
        help="last phoneme less probable than P times the best last phoneme",
    )
    pruning.add_argument("--prune-max-per-beam", type=_whole(1), metavar="N", help="not among a beam's N best")
    decode.set_defaults(run=_decode)


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    return _number(int, "a whole number", least, most)


def _real(least: float | None = None, most: float | None = None) -> Callable[[str], float]:
    return _number(float, "a number", least, most)


def _number(
    kind: Callable[[str], Number], noun: str, least: float | None, most: float | None
) -> Callable[[str], Number]:
    """A converter for argparse: finite numbers between two bounds, which both belong to the range."""
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    expected = noun + (f" from {least}" if least is not None else "") + (f" to {most}" if most is not None else "")

    def convert(text: str) -> Number:
        try:
            number = kind(text)
            fits = low <= number <= high and math.isfinite(number)
        except (ValueError, OverflowError):
            fits = False
        if not fits:
            raise argparse.ArgumentTypeError(f"expected {expected}; got {text!r}")
        return number

    return convert


# ----------------------------------------------------------------------------------------------------------- complaints


def _complain(what: str, code: int) -> int:
    """One line on standard error; returns the exit code, so that a complaint can be a return statement."""
    print(f"s2sfast: {what}", file=sys.stderr)
    return code


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
