"""The machine code of the CTC loss, compiled without a GPU: what its speed rests on (asr/ctc/kernels/ctc_loss/README.md)."""

from __future__ import annotations

import pytest

LOSS = "launches_ctc_loss"


@pytest.fixture(scope="module")
def kernels(compiled):
    return {(one.case, one.kernel, one.arch): one for one in compiled(LOSS)}


def test_every_kernel_is_compiled_for_both_architectures(kernels):
    for arch in (90, 80):
        assert {name for _, name, made in kernels if made == arch} == {"emit", "first_half", "second_half", "gradient"}


def test_nothing_is_spilled(kernels):
    """Save by the recursion of the longest targets, which has four lanes a thread and 64 registers for them."""
    for (case, name, _), one in kernels.items():
        assert one.local == 0
        if (case, name) == ("V1000 L4000", "second_half"):
            assert one.stack <= 160
        else:
            assert one.stack == 0, (case, name, one)


def test_registers_leave_room_for_other_programs(kernels):
    """An SM has 65536: enough for 16 rows of logits at once, and for the recursions of two utterances."""
    for (case, name, _), one in kernels.items():
        threads = 32 * one.warps
        if name in ("emit", "gradient") and "L1000" not in case and "L4000" not in case:
            assert one.registers * threads <= 65536 // 4, (case, name, one.registers)
            assert one.registers <= 64, (case, name, one.registers)
        else:
            assert one.registers * threads <= 65536, (case, name, one.registers)


@pytest.mark.parametrize("arch", [90, 80])
def test_a_frame_of_the_recursion_is_a_handful_of_special_functions(kernels, arch):
    """Three exponentials and two logarithms a lane, one instruction each, and two more exponentials for posteriors."""
    for name, exponentials in (("first_half", 12), ("second_half", 20)):
        one = kernels["V1000 L100", name, arch]
        loop = one.hot_loop()  # four frames
        assert one.count("MUFU.EX2", loop) == exponentials
        assert one.count("MUFU.LG2", loop) == 8
        assert one.count("BAR", loop) <= 11  # two a frame to hand a label to the next warp, three to renormalise
        assert one.count("LDL", loop) == one.count("STL", loop) == 0
        assert sum(loop.values()) <= 340


def test_one_warp_needs_no_barrier(kernels):
    for name in ("first_half", "second_half"):
        one = kernels["V32 L20", name, 90]
        assert one.count("BAR") == one.shared == 0


def test_logits_are_read_and_written_sixteen_bytes_at_a_time(kernels):
    for case, vectors in (("V1000 L100", 2), ("V1000 L100 bfloat16", 1), ("V5000 L200", 4)):
        for name in ("emit", "gradient"):
            one = kernels[case, name, 90]
            assert one.count("LDG.E.128", one.hot_loop()) == one.count("LDG", one.hot_loop()) == vectors
        assert one.count("STG.E.128", one.hot_loop()) == vectors
    one = kernels["V33 L20 transposed", "emit", 90]
    assert one.count("LDG.E.128") == 0  # and where rows are not aligned, they are not


def test_no_atomics(kernels):
    for one in kernels.values():
        assert one.count("ATOM") == one.count("RED") == 0
