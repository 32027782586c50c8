"""Registers, spills, occupancy, load widths, loads in flight and issue cycles of every CUDA kernel, and their gates."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.sass import gates
from tests.sass.compile import ARCHS, BUILD, FLAGS, project_sources
from tests.sass.occupancy import LIMITS
from tests.sass.report import as_row, measure
from tests.sass.tables import details, summary
from tests.sass.tools import MissingTool


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sass", description=__doc__)
    parser.add_argument(
        "--sources", nargs="+", type=Path, metavar="FILE.cu", help="kernels to look at (default csrc/**/*_cuda.cu)"
    )
    parser.add_argument(
        "--archs", nargs="+", choices=sorted(LIMITS), default=list(ARCHS), help=f"default: {' '.join(ARCHS)}"
    )
    parser.add_argument("--flags", nargs="+", default=[], help="more flags for nvcc, as in --flags=-maxrregcount=32")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder of the cubins (build/sass)")
    parser.add_argument("--gates", type=Path, default=gates.TABLE, help="table of gates (tests/sass/gates.json)")
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    parser.add_argument("--loops", action="store_true", help="print every loop of every kernel")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="print only the gates that are broken; exit 1 if any is")
    action.add_argument(
        "--update", action="store_true", help="write the measured values into the table; caps are lowered, never raised"
    )
    parser.add_argument(
        "--loosen",
        action="append",
        default=[],
        metavar="KERNEL",
        help="with --update: raise this kernel's caps as well",
    )
    return parser


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    if options.loosen and not options.update:
        parser.error("--loosen goes with --update")
    sources = options.sources or project_sources()
    if not sources:
        parser.error("no csrc/**/*_cuda.cu; give --sources")
    try:
        kernels = measure(sources, options.archs, options.build, (*FLAGS, *options.flags))
    except MissingTool as error:
        parser.error(str(error))
    if options.check:
        failures = gates.check(kernels, gates.load(options.gates))
        for failure in failures:
            print(failure)
        print(f"{len(kernels)} kernels checked, {len(failures)} gates broken", file=sys.stderr)
        return 1 if failures else 0
    if options.update:
        unknown = (
            set(options.loosen) - {kernel.name for kernel in kernels} - gates.load(options.gates)["kernels"].keys()
        )
        if unknown:
            parser.error(f"--loosen: no kernel named {', '.join(sorted(unknown))}")
        table, notes = gates.update(kernels, gates.load(options.gates), options.loosen)
        gates.save(table, options.gates)
        print("\n".join([*notes, f"wrote {options.gates.name}"]), file=sys.stderr)
    elif options.json:
        print(json.dumps([as_row(kernel) for kernel in kernels], indent=1))
    else:
        print(details(kernels) if options.loops else summary(kernels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
