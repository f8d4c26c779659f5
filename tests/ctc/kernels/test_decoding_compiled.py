"""The machine code of alignment, greedy decoding and beam search, compiled without a GPU: what their speed rests on."""

from __future__ import annotations

import pytest


# Alignment's tests stand together: run apart, in two processes, each of these would compile it.
@pytest.fixture(scope="module")
def alignment(compiled):
    return {(one.case, one.arch): one for one in compiled("launches_align") if one.kernel == "forward"}


@pytest.mark.parametrize("arch", [90, 80])
def test_a_frame_of_viterbi_is_a_handful_of_instructions(alignment, arch):
    """Sixteen frames are one loop: adds, comparisons and selects, two barriers a frame to hand a label to the next warp."""
    one = alignment["100 labels torch.float32", arch]
    loop = max(one.loops, key=lambda loop: sum(loop.values()))
    assert one.count("BAR", loop) == 32 and one.count("STS", loop) == 16
    assert one.count("MUFU", loop) == one.count("LDL", loop) == one.count("STL", loop) == 0
    assert sum(loop.values()) <= 16 * 50
    narrow = alignment["10 labels torch.float32", arch]
    assert narrow.count("BAR") == 0 and narrow.count("SHFL") == 16


@pytest.fixture(scope="module", params=["launches_align", "launches_greedy", "launches_beam"])
def kernels(request, compiled):
    return compiled(request.param)


def test_nothing_is_spilled(kernels):
    """Save two registers of float64 alignment and a few of the search with a language model: not worth a second look."""
    assert {one.arch for one in kernels} == {90, 80}
    for one in kernels:
        allowed = 8 if one.kernel == "forward" and "float64" in one.case else 32 if one.kernel == "search" else 0
        assert one.local == 0 and one.stack <= allowed, one


def test_registers_leave_room(kernels):
    for one in kernels:
        assert one.registers * 32 * one.warps <= 65536
        if one.kernel in ("best_tokens", "maps", "walk", "trace") and "float64" not in one.case:
            assert one.registers <= 96, one
