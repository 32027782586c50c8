"""Writes docs/benchmarks.md, the README's table and the projections of docs/cuda.md; types no number itself."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import projection
from benchmarks.aims import verdicts
from benchmarks.environment import RESULTS, ROOT
from benchmarks.results import Results, best_rival, load, where
from benchmarks.tables import document, losses, short

README_MARK, CUDA_MARK = "benchmarks", "projection"


def between_markers(text: str, made: str, mark: str = README_MARK) -> str:
    """The page with what was made before replaced.

    >>> between_markers("before <!-- benchmarks --> old <!-- /benchmarks --> after", "new").splitlines()
    ['before <!-- benchmarks -->', 'new', '<!-- /benchmarks --> after']
    """
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    found = re.compile(f"{re.escape(opening)}.*?{re.escape(closing)}", re.DOTALL)
    if len(found.findall(text)) != 1:
        raise SystemExit(f"benchmarks: expected one {opening} ... {closing} in the page")
    return found.sub(lambda _: f"{opening}\n{made}\n{closing}", text)


def summary(results: Results) -> dict[str, Any]:
    rows = []
    for op, threads in results.ops():
        for case, of in results.of(op, threads).items():
            rival = best_rival(of)
            if "fast" in of and rival is not None:
                ours = of["fast"]
                row = {"op": op, "case": case, "threads": threads, "seconds": ours.median, "GB/s": round(ours.rate, 2)}
                rows.append({**row, "best_rival": rival.provider, "speedup": round(rival.median / ours.median, 3)})
    return {
        "results": {kind: where(content) for kind, content in results.files.items()},
        "aims": [asdict(verdict) for verdict in verdicts(results)],
        "losses": [f"{ours.op} {ours.case} threads={ours.threads} {rival.provider}" for ours, rival in losses(results)],
        "rows": rows,
    }


def update(path: Path, wanted: str, check: bool) -> bool:
    """Writes, or with `check` only compares; whether the file was as wanted already."""
    as_wanted = path.is_file() and path.read_text(encoding="utf-8") == wanted
    if check and not as_wanted:
        print(f"benchmarks: {path.name} is not what the results give: `python -m benchmarks.report`", file=sys.stderr)
    if not check and not as_wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
        print(f"wrote {path.name}", file=sys.stderr)
    return as_wanted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=RESULTS, help="folder of JSON (benchmarks/results)")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the page to write")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="its table stands between markers")
    parser.add_argument("--cuda", type=Path, default=ROOT / "docs" / "cuda.md", help="its projections do too")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless all are up to date")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON and write nothing")
    options = parser.parse_args()
    results = load(options.results)
    if options.json:
        print(json.dumps(summary(results), indent=1))
        return 0
    own = {parser.get_default("docs"), parser.get_default("readme")} & {options.docs, options.readme}
    quick = [kind for kind, content in results.files.items() if content.get("quick")]
    if own and quick and not options.check:  # before anything is written
        parser.error(
            f"{', '.join(quick)}: numbers of a --quick run stay out of the project's pages; give --docs and --readme"
        )
    fresh = update(options.docs, document(results), options.check)
    readme = options.readme.read_text(encoding="utf-8")
    fresh &= update(options.readme, between_markers(readme, short(results)), options.check)
    cuda = options.cuda.read_text(encoding="utf-8")
    fresh &= update(options.cuda, between_markers(cuda, projection.section(results), CUDA_MARK), options.check)
    return 0 if fresh or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
