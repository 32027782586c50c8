"""The report's parts about searches: their own cost, whole decodes against rivals, beam sizes and pruning."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Results
from benchmarks.text import seconds, table, times


def parts(results: Results) -> list[str]:
    return [_overhead(results), _rivals(results), _quality(results)]


def microseconds(row: dict[str, Any]) -> str:
    return f"{row['median'] * 1e6:.1f} [{row['q1'] * 1e6:.1f}, {row['q3'] * 1e6:.1f}]"


def _overhead(results: Results) -> str:
    rows = results.extra("search_overhead")
    if not rows:
        return ""
    runs = dict.fromkeys((row["batch"], row["ends"]) for row in rows)
    at = {((row["batch"], row["ends"]), row["provider"]): row for row in rows}
    names = dict.fromkeys(row["provider"] for row in rows)
    lines = [[name] + [microseconds(at[run, name]) for run in runs] for name in names]
    head = ["us per step"] + [f"B={batch}, ends {ends}" for batch, ends in runs]
    first = rows[0]
    about = (
        f"K={first['beam']}, V={first['vocabulary']}, {first['steps']} steps, one thread, a model that replays ready "
        "logits; what the calls of the model alone take is shown and not subtracted. Both searches found the same "
        'tokens. transformers runs without a cache, so nothing is reordered on either side. "A search of one step" is '
        "what a search costs to begin and end."
    )
    return f"## The search's own cost per step\n\n{about}\n\n{table(head, lines)}"


def _rivals(results: Results) -> str:
    rows = results.extra("search_rivals")
    if not rows:
        return ""
    settings: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("family", "threads", "batch", "beam"))
        settings.setdefault(key, {})[row["provider"]] = row
    lines = [_rival_line(key, of) for key, of in settings.items()]
    about = (
        "`model.generate(..., custom_generate=s2sfast.hf.beam_search)` against transformers' own beam search and "
        "CTranslate2 (float32) on the same random weights of usual sizes; "
        f"{rows[0]['tokens']} tokens, eos kept out of reach, so that all do the same work. Tokens are compared first: "
        "s2sfast and transformers must agree; for CTranslate2 the number of sentences with the same tokens is shown. "
        'Encoder, prompt and all of `generate` are in the time. "Outside" is what is left of a step without the calls '
        "of encoder, decoder and output layer (the search, the processors, the caches' order), and, behind the plus, "
        "what is left once for a decode, to a few ms: what `generate` prepares. A row that names a commit was taken at "
        "it, the others at the one above."
    )
    head = ["model, threads, B, K", "s2sfast", "transformers", "CTranslate2", "outside, us a step", "transformers'"]
    return f"## Whole decodes\n\n{about}\n\n{table(head, lines)}"


def _rival_line(key: tuple[Any, ...], of: dict[str, dict[str, Any]]) -> list[str]:
    family, threads, batch, beam = key
    ours = of["s2sfast"]
    taken = f", at {ours['commit'][:10]}" if "commit" in ours else ""
    cells = [f"{family}, {threads}, {batch}, {beam}{taken}", f"{seconds(ours['median'])} [{_quartiles(ours)}]"]
    for rival in ("transformers", "ctranslate2"):
        row = of[rival]
        same = "" if rival == "transformers" else f", {row['same']} of {batch} same"
        cells.append(f"{times(row['median'] / ours['median'])}, {seconds(row['median'])} [{_quartiles(row)}]{same}")
    if "outside" not in ours:
        return [*cells, "-", "-"]
    theirs = of["transformers"]
    once = [f"{1e3 * row['once']:.0f} ms" for row in (ours, theirs)]
    ratio = times(theirs["outside"] / ours["outside"])
    outside = [f"{row['outside'] * 1e6:.0f}" for row in (ours, theirs)]
    return [*cells, f"{outside[0]} + {once[0]}", f"{ratio}, {outside[1]} + {once[1]}"]


def _quartiles(row: dict[str, Any]) -> str:
    return f"{seconds(row['q1'])}, {seconds(row['q3'])}"


def _quality(results: Results) -> str:
    rows = results.extra("search_quality")
    if not rows:
        return ""
    lines = [
        [
            f"{row['beam']}, {row['pruning']}",
            f"{100 * row['per']:.2f} %",
            f"{100 * row['accuracy']:.2f} %",
            f"{row['model_rows_per_word']:.1f}",
            f"{row['words_per_second']:.0f}",
            f"{row['ms_per_word']:.2f}",
        ]
        for row in rows
    ]
    about = (
        f"The trained grapheme-to-phoneme model of `make demo`, {rows[0]['words']} words of CMUdict, one thread: "
        "phoneme error rate and words that are right, stress included; rows of the model a word; words per second in "
        "batches of 250; and milliseconds for one word alone. The rules of one beam size took turns."
    )
    head = ["K, pruning", "phoneme errors", "words right", "model rows", "words/s", "ms, one word"]
    return f"## Beam sizes and pruning, on real words\n\n{about}\n\n{table(head, lines)}"
