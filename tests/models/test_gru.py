"""The packed CPU GRU against torch's: outputs, every gradient, and finite differences."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from asr.config import RnnConfig
from asr.models.gru import packed_gru
from asr.models.recurrent import RecurrentStack, pack


def compare(lengths, inputs, hidden, bidirectional, dtype):
    torch.manual_seed(sum(lengths))
    gru = torch.nn.GRU(inputs, hidden, bidirectional=bidirectional).to(dtype)
    frames = pack_sequence([torch.randn(length, inputs, dtype=dtype) for length in lengths], enforce_sorted=False)
    results = []
    for run in (lambda packed: packed_gru(packed, gru), lambda packed: gru(packed)[0]):
        gru.zero_grad()
        data = frames.data.clone().requires_grad_()
        output = run(frames._replace(data=data)).data
        (output * torch.linspace(-1, 1, output.numel(), dtype=dtype).view_as(output)).sum().backward()
        results.append([output.detach(), data.grad, *(parameter.grad.clone() for parameter in gru.parameters())])
    return results


@settings(max_examples=60)
@given(st.lists(st.integers(1, 23), min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_equals_torch_in_double_precision(lengths, inputs, hidden, bidirectional):
    for ours, theirs in zip(*compare(lengths, inputs, hidden, bidirectional, torch.float64)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_equals_torch_in_single_precision_at_real_size():
    for ours, theirs in zip(*compare([120, 119, 77, 30, 1], 96, 64, True, torch.float32)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


def test_gradients_against_finite_differences():
    gru = torch.nn.GRU(3, 2, bidirectional=True).double()
    frames = pack_sequence([torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)])
    weights = list(gru.parameters())
    assert torch.autograd.gradcheck(lambda data, *_: packed_gru(frames._replace(data=data), gru).data,
                                    (frames.data.requires_grad_(), *weights))


def test_under_autocast_the_recurrence_stays_in_single_precision():
    """bfloat16 has no fast recurrence on the CPU: the layers take what they are given to float32, and stay there."""
    stack = RecurrentStack(RnnConfig(hidden=5, layers=2, norm="none"), 4)
    frames, lengths = torch.randn(3, 9, 4).bfloat16(), torch.tensor([9, 2, 7])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = stack(pack(frames, lengths)).data
    assert mixed.dtype == torch.float32 and torch.equal(mixed, stack(pack(frames.float(), lengths)).data)
