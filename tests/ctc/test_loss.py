"""The CTC loss against a brute-force sum over paths and against torch."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest
import torch

from asr.ctc import ctc_loss, ctc_loss_and_gradient_
from asr.ctc.kernels import common
from asr.ctc.kernels.ctc_loss.naive import ctc_loss_naive


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


# ------------------------------------------------------------------------------- gradients where torch's own are wrong


def test_an_impossible_target_has_no_gradient_and_leaves_the_others_theirs():
    logits = torch.randn(4, 3, 4, dtype=torch.float64, requires_grad=True)
    targets, frames, labels = torch.tensor([[1, 2], [1, 1], [3, 3]]), torch.tensor([4, 2, 1]), torch.tensor([2, 2, 2])
    losses = ctc_loss(logits, targets, frames, labels, reduction="none")
    assert torch.isinf(losses).tolist() == [False, True, True]
    losses.sum().backward()
    _, expected = ctc_loss_naive(logits.detach()[:, 0], [1, 2])
    torch.testing.assert_close(logits.grad[:, 0], expected)
    assert not logits.grad[:, 1:].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_logits_of_minus_infinity(dtype, backend):
    """In a class that is not used; in one that is, for some frames; in one that is, for all."""
    logits, targets = torch.randn(7, 3, 5, dtype=dtype, generator=torch.Generator().manual_seed(1)), torch.tensor([[1, 2]] * 3)
    logits[:, :, 4] = -math.inf
    logits[2:4, 1, 2] = -math.inf
    logits[:, 2, 1] = -math.inf
    logits.requires_grad_()
    frames, labels = torch.tensor([7, 7, 6]), torch.tensor([2, 2, 2])
    losses = ctc_loss(logits, targets, frames, labels, reduction="none", backend=backend)
    losses.sum().backward()
    for index in range(3):
        loss, gradient = ctc_loss_naive(logits.detach()[:frames[index], index], [1, 2])
        torch.testing.assert_close(losses[index].detach(), loss.to(dtype))
        torch.testing.assert_close(logits.grad[:frames[index], index], gradient.to(dtype))
    assert losses[2] == math.inf


@pytest.mark.parametrize("past_the_end", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_in_its_utterance(past_the_end):
    logits = torch.randn(4, 2, 4)
    logits[1, 0, 3] = math.nan
    logits[3:, 1] = past_the_end
    logits.requires_grad_()
    losses = ctc_loss(logits, torch.tensor([[1], [2]]), torch.tensor([4, 3]), torch.tensor([1, 1]), reduction="none")
    losses.sum().backward()
    assert torch.isnan(losses).tolist() == [True, False]
    assert torch.isfinite(logits.grad[:3, 1]).all() and not logits.grad[3:, 1].any()


def test_no_frames_and_no_utterances():
    nothing = torch.zeros(0, 2, 3, requires_grad=True)
    losses = ctc_loss(nothing, torch.tensor([[1], [1]]), torch.tensor([0, 0]), torch.tensor([0, 1]), reduction="none")
    losses.sum().backward()
    assert losses.tolist() == [0, math.inf]
    none = torch.zeros(0, dtype=torch.int64)
    assert ctc_loss(torch.zeros(3, 0, 3), torch.zeros(0, 2, dtype=torch.int64), none, none, reduction="none").shape == (0,)
    unused = torch.randn(3, 2, 4)
    losses = ctc_loss(unused, torch.tensor([[1], [1]]), torch.tensor([0, 0]), torch.tensor([0, 1]), reduction="none")
    assert losses.tolist() == [0, math.inf]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_gradient_over_the_logits(reduction):
    logits = torch.randn(6, 3, 4, dtype=torch.float64)
    rest = (torch.tensor([1, 2, 3, 1, 1]), torch.tensor([6, 4, 2]), torch.tensor([2, 1, 2]))
    source = logits.clone().requires_grad_()
    expected = ctc_loss(source, *rest, reduction=reduction, zero_infinity=True)
    expected.sum().backward()
    assert torch.equal(ctc_loss_and_gradient_(logits, *rest, reduction=reduction, zero_infinity=True), expected)
    assert torch.equal(logits, source.grad)
    with pytest.raises(ValueError, match=r"pass logits\.detach\(\)"):
        ctc_loss_and_gradient_(source, *rest)
    with pytest.raises(ValueError, match="share memory"):
        ctc_loss_and_gradient_(logits[:, :1].expand(6, 3, 4), *rest)


def test_the_gradient_over_the_logits_goes_on_into_the_network():
    features, weight = torch.randn(5, 2, 3), torch.randn(3, 4, requires_grad=True)
    rest = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([5, 5]), torch.tensor([2, 2]))
    ctc_loss(features @ weight, *rest).backward()
    expected, weight.grad = weight.grad, None
    logits = features @ weight
    gradient = logits.detach()
    ctc_loss_and_gradient_(gradient, *rest)
    logits.backward(gradient)
    torch.testing.assert_close(weight.grad, expected)


# ------------------------------------------------------------------------------------------------------- bad input


GOOD = {"logits": torch.zeros(3, 2, 4), "targets": torch.tensor([[1, 2], [3, 0]]), "input_lengths": torch.tensor([3, 2]),
        "target_lengths": torch.tensor([2, 1])}


@pytest.mark.parametrize(("change", "message"), [
    ({"targets": torch.tensor([[1, 2], [4, 0]])}, "utterance 1: label 4 at position 0 is not a token, they go from 0 to 3"),
    ({"targets": torch.tensor([[1, -1], [3, 0]])}, "utterance 0: label -1 at position 1 is not a token"),
    ({"targets": torch.tensor([[1, 0], [3, 0]])}, "utterance 0: label 0 at position 1 is the blank"),
    ({"targets": torch.tensor([1, 2, 9])}, "utterance 1: label 9 at position 0 is not a token"),
    ({"targets": torch.tensor([1, 2, 3, 3])}, "target_lengths add up to 3, the concatenated targets are 4 labels"),
    ({"targets": torch.tensor([[1, 2]])}, r"targets must be \(2, L\) padded or .*, not \(1, 2\)"),
    ({"targets": torch.tensor([[1.0, 2.0], [3.0, 0.0]])}, "targets must be int32 or int64, not torch.float32"),
    ({"input_lengths": torch.tensor([3, 4])}, "utterance 1: input_lengths is 4, there are 3 frames"),
    ({"input_lengths": torch.tensor([-1, 2])}, "utterance 0: input_lengths is -1"),
    ({"input_lengths": torch.tensor([3])}, r"input_lengths must be \(2,\), one an utterance"),
    ({"target_lengths": torch.tensor([3, 1])}, "utterance 0: target_lengths is 3, there are 2 labels"),
    ({"target_lengths": torch.tensor([2, -1])}, "utterance 1: target_lengths is -1"),
    ({"logits": torch.zeros(3, 4)}, r"logits must be floating point \(T, B, V\), not torch.float32 \(3, 4\)"),
    ({"logits": torch.zeros(3, 2, 4, dtype=torch.int64)}, "logits must be floating point"),
    ({"blank": 4}, "blank 4 is no token: there are 4"),
    ({"reduction": "max"}, "reduction 'max': choose one of none, sum, mean"),
    ({"backend": "cuda"}, "backend 'cuda': choose one of auto, torch, triton"),
    ({"backend": "triton", "logits": torch.zeros(3, 2, 4, dtype=torch.float64)}, "kernels compute in float32, the"),
])
@pytest.mark.parametrize("loss", [ctc_loss, ctc_loss_and_gradient_])
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_what_does_not_fit_is_named_before_anything_is_computed(loss, backend, change, message):
    pytest.importorskip("triton")
    arguments = {"backend": backend} | GOOD | change
    before = arguments["logits"].clone()
    with pytest.raises(ValueError, match=message):
        loss(**arguments)
    assert torch.equal(arguments["logits"], before)


def test_triton_where_it_cannot_run(monkeypatch):
    monkeypatch.setattr(common, "INSTALLED", True)
    monkeypatch.setattr(common, "INTERPRETED", False)
    with pytest.raises(ValueError, match="kernels need a CUDA device, the tensors are on cpu"):
        ctc_loss(**GOOD, backend="triton")
    monkeypatch.setattr(common, "INSTALLED", False)
    with pytest.raises(ValueError, match="Triton is not installed"):
        ctc_loss(**GOOD, backend="triton")
    assert torch.isfinite(ctc_loss(**GOOD))


def test_a_target_too_long_for_the_kernels():
    pytest.importorskip("triton")
    labels = torch.ones(1, 4096, dtype=torch.int64)
    with pytest.raises(ValueError, match="a target of 4096 labels, kernels take 4095"):
        ctc_loss(torch.zeros(2, 1, 3), labels, torch.tensor([2]), torch.tensor([4096]), backend="triton")


def test_it_imports_where_there_is_no_triton():
    code = "import sys; sys.modules['triton'] = None; import asr.ctc; sys.exit('torch' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
