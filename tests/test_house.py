"""The house keeps its order: every op has all of its seats, and one stem in each."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import s2sfast
from benchmarks.results import OPS_OF
from s2sfast.cases import OPS

ROOT = Path(__file__).parent.parent
SEATS = ("s2sfast/ops/{0}.py", "s2sfast/reference/{0}.py", "s2sfast/cases/{0}.py", "docs/{0}.md")
NATIVE_SEATS = ("csrc/{0}/{0}.h", "csrc/{0}/{0}_cpu.cpp", "csrc/{0}/{0}_cuda.cu", "csrc/{0}/{0}_op.cpp")
MADE_OF_OTHERS = {
    "bilinear_attention": NATIVE_SEATS,  # a projection of the query, then dot_attention
    "dot_attention": ("csrc/{0}/{0}_cpu.cpp",),  # the stages of csrc/attention
    "additive_attention": ("csrc/{0}/{0}_cpu.cpp",),  # those, and the scores of csrc/additive_scores
}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_an_op_has_all_its_seats(op):
    wanted = {*SEATS, *NATIVE_SEATS} - set(MADE_OF_OTHERS.get(op.name, ()))
    missing = [seat.format(op.name) for seat in sorted(wanted) if not (ROOT / seat.format(op.name)).exists()]
    assert not missing
    assert callable(getattr(s2sfast, op.name))
    assert callable(getattr(s2sfast.reference, op.name))


def test_every_op_has_a_file_of_benchmarks():
    assert sorted(name for ops in OPS_OF.values() for name in ops) == sorted(op.name for op in OPS)


def test_every_native_op_is_in_the_table():
    stems = {path.name.removesuffix("_op.cpp") for path in ROOT.glob("csrc/*/*_op.cpp")}
    assert stems <= {op.name for op in OPS}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_both_sides_have_the_same_signature(op):
    fast, meaning = inspect.signature(op.fast), inspect.signature(op.reference)
    assert list(fast.parameters.values()) == list(meaning.parameters.values())


KNOW_TORCH = (  # the last eight are what several _op.cpp share
    "torch.h", "checked.h", "device.h", "cuda_calls.h", "cuda_calls.cpp", "ops_module.cpp",
    "arguments.h", "attend.h", "products.h", "stages.h", "additive.h", "pointer_op.h", "sharpen.h", "shift.h",
)  # fmt: skip


def test_kernels_know_no_torch():
    kernels = [path for path in (ROOT / "csrc").rglob("*.*") if path.suffix in (".h", ".cpp", ".cu", ".cuh")]
    assert kernels
    for path in kernels:
        if path.name in KNOW_TORCH or path.name.endswith("_op.cpp"):
            continue
        assert "torch/" not in path.read_text(), path
        assert not any(f'common/{name}"' in path.read_text() for name in KNOW_TORCH), path


def test_the_public_names():
    """A name that users rely on does not vanish unnoticed."""
    promised = {
        "AttentionOutput", "BeamCandidates", "BeamResult", "LengthPenalty", "NTMActivation", "NTMHead", "NTMStep",
        "Pruning", "additive_attention", "additive_scores", "backtrace", "beam_search", "beam_topk",
        "bilinear_attention", "content_address", "cosine_attention", "dot_attention", "exhaustive_search",
        "greedy_search", "info", "location_address", "memory_read", "memory_write", "ntm_step", "pointer_mixture",
        "pointer_nll", "reference", "rules", "synchronize", "CoveragePenalty", "Ensemble", "LiveBeams", "ShallowFusion",
        "UID", "best_first_search", "diverse_beam_search", "mbr", "processors", "sample", "stochastic_beam_search",
        "stream",
    }  # fmt: skip
    assert promised <= set(s2sfast.__all__)
    assert all(hasattr(s2sfast, name) for name in s2sfast.__all__)


def test_a_stale_build_is_refused(tmp_path, monkeypatch):
    from s2sfast import _native

    (tmp_path / "csrc").mkdir()
    (tmp_path / "CMakeLists.txt").touch()
    (tmp_path / "csrc" / "new.cpp").touch()
    monkeypatch.setattr(_native, "_PACKAGE", tmp_path / "s2sfast")
    with pytest.raises(ImportError, match=r"stale: csrc/new.cpp is newer.*make build"):
        _native._check_fresh()


def test_a_missing_build_says_how_to_build(tmp_path):
    """The Python files alone, without the compiled modules."""
    package = tmp_path / "s2sfast"
    package.mkdir()
    for name in ("__init__.py", "_native.py"):
        (package / name).write_text((ROOT / "s2sfast" / name).read_text())
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if '__editable__' not in repr(f)]; import s2sfast"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "compiled extension is missing" in done.stderr
    assert "make build" in done.stderr


def test_info_names_what_runs():
    found = s2sfast.info()
    assert found["isa"] in found["isas_found"]
    assert found["torch"].startswith("2.")
    assert bool(found["cuda_archs"]) == bool(found["cuda_toolkit"])
