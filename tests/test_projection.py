"""The projections of docs/cuda.md: the model by hand, and the page as the checked-in machine code gives it."""

import json

import pytest

from benchmarks import projection, projection_model, projection_sass
from benchmarks.environment import RESULTS
from benchmarks.projection_model import ASSUMED, GPUS, Gpu, moved, step, walk, workspace
from benchmarks.results import load
from s2sfast.cases import OPS

ROUND = Gpu("round", "sm_80", sms=100, clock=1e9, bandwidth=1e12, cache=0, lanes={"fma": 64, "alu": 32})
COST = {"slots": 100, "cycles": 400, "loads": 4, "in_flight": 1}
LOOP = {"slots": 400, "cycles": 700, "pipes": {"fma": 100, "alu": 150}}
KERNELS = {
    projection_sass.SCANS[0]: {"sm_80": {"slots": 400, "cycles": 1000, "pipes": {"fma": 100, "alu": 200}}},
    projection_sass.REGISTERS: {"sm_80": {"look": COST, "row": COST}},
    projection_sass.RADIX: {"sm_80": {"look": COST, "row": COST}},
    projection_sass.DOT: {"sm_80": {"score": LOOP, "value": LOOP}},
    projection_sass.TILES: {"sm_80": {**LOOP, "tanh": 10}},
    projection_sass.COLUMNS: {"sm_80": {**LOOP, "tanh": 5}},
    projection_sass.BACKTRACE: {"sm_80": {"copy": COST, "walk": {**COST, "steps": 4}, "fetch": COST}},
}


def test_workspace_by_hand():
    """2 rows of 2 tiles: 4 x (24 + 4 + 128) + 2 x 32, and two keys where beams are limited."""
    assert workspace(B=1, K=2, V=1025) == 4 * 156 + 64
    assert workspace(B=1, K=2, V=1025, limited=True) == 4 * 156 + 64 + 16


def test_bytes_by_hand():
    logits, scores, outputs, again = 4 * 2 * 1025, 4 * 2, 20 * 4, 4 * 32 * 4
    assert moved(B=1, K=2, V=1025, k=4) == logits + scores + outputs + again + 2 * workspace(B=1, K=2, V=1025)


def test_what_the_kernels_write_is_what_the_ops_count():
    op = next(op for op in OPS if op.name == "beam_topk")
    for case in op.of("bench"):
        assert op.bytes_moved(**case.sizes) < moved(**case.sizes) < 1.4 * op.bytes_moved(**case.sizes)


def test_a_full_scan_is_bound_by_its_busiest_part():
    """1,000 rows of one tile, 10 a multiprocessor: 200 cycles each of the alu, which is busier than issue with 100."""
    found = step(ROUND, KERNELS, B=100, K=10, V=1024, k=20)
    assert found.issue == pytest.approx(10 * 200e-9)
    assert found.floor == pytest.approx(moved(100, 10, 1024, 20) / 1e12)
    assert found.scan == pytest.approx(max(found.floor, found.issue) + ASSUMED["memory"] + 1e-6)


def test_select_by_hand():
    """A row of 64 tiles, k = 2: its maxima are looked at twice, by two warps each time; one row, one group again."""
    found = projection_model.select(ROUND, KERNELS, B=1, K=1, V=65_536, k=2)
    look, l2 = 400e-9, ASSUMED["l2"]
    assert found == pytest.approx((look + 2 * l2) + 2 * (look + l2) + 2 * l2 + ASSUMED["merge"] * 1e-9)


def test_more_sentences_than_multiprocessors_wait():
    one, more = (projection_model.select(ROUND, KERNELS, B=B, K=5, V=32_000, k=10) for B in (100, 101))
    assert more == pytest.approx(2 * one)


def test_a_step_of_attention_by_hand():
    """Parts of 16: two keys a warp for each of two queries, and four turns over values; alu takes 150 cycles a turn."""
    found = projection_model.decode(ROUND, KERNELS, additive=False, B=100, Q=2, T=64, D=512)
    assert found.blocks == 400
    assert found.issue == pytest.approx(4 * (16 * 2 + 8 * 4) * 150e-9)
    assert found.chain == pytest.approx(2 * (2 * 2 + 4) * 700e-9)
    assert found.merge == pytest.approx(3 * ASSUMED["l2"])


def test_training_by_hand():
    """100 x 32 x 10 x 64 tanh: 640 turns a multiprocessor of ten by 32 lanes, and twice as many of five."""
    found = projection_model.additive_training(ROUND, KERNELS, B=100, Q=32, T=10, D=64)
    assert found.forward == pytest.approx(32 * 10 * 64 / 32 / 10 * 150e-9)
    assert found.backward == pytest.approx(2 * found.forward)


def test_a_walk_by_hand():
    """8 steps of 2 beams: one round of copying, two turns of four steps, one round of a slot and its token."""
    found = walk(ROUND, KERNELS, L=8, B=1, K=2, n=2)
    assert found.copying == pytest.approx(400e-9 + ASSUMED["l2"])
    assert found.walking == pytest.approx(2 * 400e-9 + 8 * ASSUMED["shared"] * 1e-9)
    assert found.fetching == pytest.approx(400e-9 + 2 * ASSUMED["l2"])


def test_the_kept_machine_code_has_whole_tiles():
    kept = projection_sass.load()["kernels"]
    for name, loads in zip(projection_sass.SCANS, (8, 4, 4), strict=True):
        for arch in projection_sass.ARCHS:
            tile = kept[name][arch]
            assert tile["wide_loads"] == loads
            assert tile["exponentials"] == 33  # 32 logits of a lane, and its pivot against the tile's
            assert sum(tile["pipes"].values()) <= tile["slots"] <= tile["cycles"]


def test_kernels_that_have_changed_are_noticed(tmp_path, monkeypatch):
    table = json.loads(projection_sass.GATES.read_text())
    table["kernels"][projection_sass.RADIX]["sm_90"]["measured"]["registers"] += 1
    (tmp_path / "gates.json").write_text(json.dumps(table))
    monkeypatch.setattr(projection_sass, "GATES", tmp_path / "gates.json")
    with pytest.raises(SystemExit, match="--read-sass"):
        projection_sass.load()


def test_the_page_says_everywhere_that_nothing_was_measured():
    page = projection.section(load(RESULTS))
    tables = page.count("\n\n### ")
    assert page.count(projection.LABEL) == tables == 4 + len(GPUS)
    for op in OPS:
        if op.name not in ("beam_topk", "backtrace"):
            continue  # attention has cases of its own there
        shown = [case.why for case in op.of("bench") if case.sizes.get("V", 1_000) in projection.SHOWN]
        assert all(f"| {name} " in page for name in shown)
