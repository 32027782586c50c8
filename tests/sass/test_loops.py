"""Measures on machine code written by hand, where the right answer can be seen."""

import pytest

from tests.sass.disassembly import parse
from tests.sass.flow import Flow
from tests.sass.loops import hottest, regions


def control(stall=1, write=7, read=7, waits=()):
    """The upper word of an instruction with these scheduling fields."""
    return (stall | write << 5 | read << 8 | sum(1 << board for board in waits) << 11) << (105 - 64)


def function(*lines):
    """Labels, and pairs of text and control word."""
    listing, address = ["\t.section\t.text.kernel,"], 0
    for line in lines:
        if isinstance(line, str):
            listing.append(f"{line}:")
            continue
        text, upper = line
        listing += [f"  /*{address:04x}*/  {text} ;  /* 0x{0:016x} */", f"     /* 0x{upper:016x} */"]
        address += 16
    return parse("\n".join(listing))["kernel"]


LOAD = "LDG.E.128.CONSTANT R4, desc[UR6][R2.64]"
EXIT = ("EXIT", control())
AGAIN = ("@!P1 BRA `(.L_x_1)", control(5))


def loop(*lines):
    return regions(Flow(function(".L_x_1", *lines, AGAIN, EXIT)))[1][0]


def test_control_fields():
    [first, second] = function(
        ("@!P1 LDG.E.U8 R4, desc[UR6][R2.64]", control(15, write=2, read=1)), ("EXIT", control(4, waits=(0, 5)))
    ).instructions
    assert (first.guard, first.opcode, first.load_width) == ("@!P1", "LDG.E.U8", 1)
    assert (first.stall, first.write_barrier, first.read_barrier, first.waits) == (15, 2, 1, set())
    assert (second.address, second.stall, second.write_barrier, second.waits) == (16, 4, None, {0, 5})


def test_words_of_a_real_instruction():
    """nvcc 13.0, sm_90: a load that releases scoreboard 2, and the addition that waits on it for four cycles more."""
    assert function((LOAD, 0x000EA2000C1E9D00)).instructions[0].write_barrier == 2
    real = function(("FADD R15, R4, R5", 0x004FC80000000000)).instructions[0]
    assert (real.stall, real.write_barrier, real.waits) == (4, None, {2})


def test_what_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match="line 2: expected an instruction"):
        parse("\t.section\t.text.kernel,\n  /*0000*/  ?? ;  /* 0x0000000000000000 */")
    with pytest.raises(ValueError, match="line 3: expected the upper word"):
        parse("\t.section\t.text.kernel,\n  /*0000*/  NOP ;  /* 0x0000000000000000 */\n.L_x_1:")


def test_cycles_slots_and_bytes():
    found = loop((LOAD, control(2, write=0)), ("FADD R1, R4, R5", control(4, waits=(0,))))
    assert found.shortest == found.longest == found.fullest == (2 + 4 + 5, 3, 16)


def test_a_wait_on_another_scoreboard_leaves_a_load_in_flight():
    loads = [(LOAD, control(write=0)), (LOAD, control(write=1)), (LOAD, control(write=2))]
    other = ("MOV R1, R9", control(waits=(5,)))
    arrived = ("MOV R1, R4", control(waits=(0,)))
    assert len(loop(loads[0], other, *loads[1:]).in_flight) == 3
    assert len(loop(loads[0], arrived, *loads[1:], ("MOV R1, R4", control(waits=(1, 2)))).in_flight) == 2
    assert len(loop(*(step for load in loads for step in (load, ("NOP", control(waits=(0, 1, 2)))))).in_flight) == 1


def test_a_shared_scoreboard_waits_for_all():
    assert len(loop((LOAD, control(write=3)), (LOAD, control(write=3)), ("NOP", control(waits=(3,)))).in_flight) == 2


def test_a_load_itself_may_wait():
    assert len(loop((LOAD, control(write=0, waits=(0,))), (LOAD, control(write=0, waits=(0,)))).in_flight) == 1


def test_depbar_waits():
    assert (
        len(loop((LOAD, control(write=0)), ("DEPBAR.LE SB0, 0x0", control()), (LOAD, control(write=1))).in_flight) == 2
    )
    straight = function((LOAD, control(write=0)), ("DEPBAR.LE SB0, 0x0", control()), (LOAD, control(write=1)), EXIT)
    assert len(regions(Flow(straight))[0].in_flight) == 1


def test_in_flight_across_iterations():
    """The second load is awaited only in the next iteration, after the first was issued."""
    found = loop(
        (LOAD, control(write=0)), ("NOP", control(waits=(1,))), ("NOP", control(waits=(0,))), (LOAD, control(write=1))
    )
    assert len(found.in_flight) == 2


def test_either_branch_but_not_both():
    code = function(
        ("@P0 BRA `(.L_x_2)", control()),
        (LOAD, control(write=0)),
        (LOAD, control(write=0)),
        ("BRA `(.L_x_3)", control()),
        ".L_x_2",
        (LOAD, control(write=1)),
        ".L_x_3",
        EXIT,
    )
    kernel, loops = regions(Flow(code))
    assert (loops, len(kernel.loads), len(kernel.in_flight)) == ([], 3, 2)
    assert (kernel.shortest.slots, kernel.longest.slots, kernel.fullest.bytes) == (3, 5, 32)


def test_a_jump_back_from_cold_code_is_no_loop():
    code = function(
        ("BRA.DIV UR4, `(.L_x_9)", control()),
        ".L_x_1",
        EXIT,
        ".L_x_9",
        ("BRA `(.L_x_1)", control()),
        ".L_x_10",
        ("BRA `(.L_x_10)", control()),
    )
    flow = Flow(code)
    assert flow.loops == []
    assert regions(flow)[0].instructions == 2


def test_loads_belong_to_the_innermost_loop_around_them():
    code = function(
        ".L_x_1",
        (LOAD, control(write=0)),
        ".L_x_2",
        ("LDG.E.64 R8, desc[UR6][R2.64]", control(write=1)),
        ("@P0 BRA `(.L_x_2)", control(waits=(1,))),
        AGAIN,
        EXIT,
    )
    kernel, [outer, inner] = regions(Flow(code))
    assert (outer.depth, outer.innermost, outer.loads) == (1, False, (16,))
    assert (inner.depth, inner.innermost, inner.loads) == (2, True, (8,))
    assert hottest(kernel, [outer, inner]) is outer
    assert kernel.loads == (16, 8)


def test_without_a_loading_loop_the_kernel_is_hot():
    kernel, loops = regions(Flow(function((LOAD, control(write=0)), ".L_x_1", ("NOP", control()), AGAIN, EXIT)))
    assert len(loops) == 1
    assert hottest(kernel, loops) is kernel
