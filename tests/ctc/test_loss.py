"""The CTC loss against a brute-force sum over paths and against torch."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from asr.ctc import ctc_loss


def collapse(path, blank=0):
    return [token for token, _ in itertools.groupby(path) if token != blank]


def brute_force(log_probs, target, blank):
    """-log of the summed probability of every path of frames that collapses to the target."""
    frames, tokens = log_probs.shape
    total = sum(math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
                for path in itertools.product(range(tokens), repeat=frames) if collapse(path, blank) == list(target))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 3], [3, 1, 3], [1, 1, 1]])
def test_equals_the_sum_over_all_paths(target, blank):
    torch.manual_seed(len(target))
    logits = torch.randn(4, 1, 4, dtype=torch.float64) * 2
    found = ctc_loss(logits, torch.tensor([target], dtype=torch.long), torch.tensor([4]), torch.tensor([len(target)]),
                     blank=blank, reduction="none")
    assert float(found) == pytest.approx(brute_force(logits[:, 0].log_softmax(-1), target, blank), rel=1e-12)


def test_gradients_with_respect_to_logits():
    logits = torch.randn(6, 2, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 1, 2], [3, 0, 0]])
    frames, labels = torch.tensor([6, 4]), torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x, targets, frames, labels, reduction="sum"), logits)


def test_padded_and_concatenated_targets_agree_and_reductions_are_torchs():
    logits, frames, sizes = torch.randn(9, 2, 5), torch.tensor([9, 7]), torch.tensor([3, 2])
    padded, flat = torch.tensor([[1, 2, 2], [4, 3, 0]]), torch.tensor([1, 2, 2, 4, 3])
    log_probs = logits.log_softmax(-1)
    for reduction in ("none", "sum", "mean"):
        expected = torch.nn.functional.ctc_loss(log_probs, padded, frames, sizes, reduction=reduction)
        torch.testing.assert_close(ctc_loss(logits, padded, frames, sizes, reduction=reduction), expected)
        torch.testing.assert_close(ctc_loss(logits, flat, frames, sizes, reduction=reduction), expected)


def test_impossible_target_is_infinite_unless_asked_otherwise():
    arguments = (torch.randn(2, 1, 4), torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2]))
    assert float(ctc_loss(*arguments, reduction="none")) == math.inf
    assert float(ctc_loss(*arguments, reduction="none", zero_infinity=True)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_single(dtype):
    logits, rest = torch.randn(9, 1, 5).to(dtype), (torch.tensor([[1, 2]]), torch.tensor([9]), torch.tensor([2]))
    found = ctc_loss(logits, *rest)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ctc_loss(logits.float(), *rest))


def test_unknown_backend_is_named():
    with pytest.raises(ValueError, match="backend 'cuda'"):
        ctc_loss(torch.zeros(2, 1, 3), torch.tensor([[1]]), torch.tensor([2]), torch.tensor([1]), backend="cuda")
