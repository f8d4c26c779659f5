"""The Triton CTC loss in the interpreter, against the naive twin in float64, all paths counted out, and torch.

Frames cost milliseconds here, so shapes are small: 4 frames are a group of the recursion, 8 lie between two renormalisations
of each half, 32 lanes are the narrowest program.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from asr.ctc import ctc_loss, ctc_loss_and_gradient_
from asr.ctc.kernels.ctc_loss import launch
from asr.ctc.kernels.ctc_loss.naive import ctc_loss_naive

INF = math.inf


def pad(targets, fill=0):
    longest = max(map(len, targets), default=0)
    return torch.tensor([row + [fill] * (longest - len(row)) for row in targets], dtype=torch.int64).reshape(len(targets), longest)


def triton_loss(logits, targets, frames, weights=None, **options):
    """Losses (B,) and the gradient of their weighted sum, from the kernels."""
    logits = logits.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    padded = targets if isinstance(targets, torch.Tensor) else pad(targets)
    sizes = options.pop("sizes", None)
    sizes = torch.tensor([len(row) for row in targets]) if sizes is None else sizes
    losses = ctc_loss(logits, padded, torch.tensor(frames, dtype=torch.int64), sizes, reduction="none", backend="triton", **options)
    (gradient,) = torch.autograd.grad(losses, logits, torch.ones_like(losses) if weights is None else weights)
    return losses.detach(), gradient


def naive(logits, targets, frames, weights=None, blank=0):
    """The same from the naive twin, in float64."""
    losses, gradient = torch.zeros(len(targets), dtype=torch.float64), torch.zeros(logits.shape, dtype=torch.float64)
    for index, (row, size) in enumerate(zip(targets, frames)):
        losses[index], found = ctc_loss_naive(logits[:size, index], row, blank)
        gradient[:size, index] = found * (1 if weights is None else float(weights[index]))
    return losses, gradient


def assert_same(found, expected, tolerance=2e-6):
    """Losses to a relative, gradients to an absolute tolerance (they lie between -1 and 1)."""
    torch.testing.assert_close(found[0].double(), expected[0], rtol=tolerance, atol=10 * tolerance, equal_nan=True)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=0, atol=10 * tolerance, equal_nan=True)


def some_logits(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


# ------------------------------------------------------------------------------------------------------- the answer

MIXED = [[1, 2, 2, 3, 1], [], [3, 3, 3], [2, 2]]  # repeats; nothing; too long for its frames; just fits
MIXED_FRAMES = [37, 18, 4, 3]


def test_a_mixed_batch():
    logits, weights = some_logits(37, 4, 5), torch.tensor([0.5, 2.0, 1.0, -3.0])
    found = triton_loss(logits, MIXED, MIXED_FRAMES, weights)
    assert_same(found, naive(logits, MIXED, MIXED_FRAMES, weights))
    assert found[0][2] == INF
    assert not found[1][:, 2].any()
    for index, size in enumerate(MIXED_FRAMES):
        assert not found[1][size:, index].any()
    assert found[1].sum(-1).abs().max() < 1e-5  # softmax and posteriors both add up to 1
    again = triton_loss(logits, MIXED, MIXED_FRAMES, weights)
    assert torch.equal(again[0], found[0])
    assert torch.equal(again[1], found[1])


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2, 1]])
def test_equals_the_sum_over_all_paths(target):
    logits = some_logits(4, 1, 3, seed=len(target))
    log_probs = logits[:, 0].double().log_softmax(-1)
    total = sum(math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
                for path in itertools.product(range(3), repeat=4)
                if [token for token, _ in itertools.groupby(path) if token] == target)
    losses, _ = triton_loss(logits, [target], [4])
    assert float(losses) == pytest.approx(-math.log(total), rel=1e-6)


@pytest.mark.parametrize(("targets", "frames"), [
    ([[], [1], [1], [1, 2]], [0, 0, 1, 2]),  # no frames at all, with and without labels; one; two
    ([[], []], [3, 1]),  # nothing to say
    ([[1, 1]], [2]),  # a repeat without room for its blank
    ([[1]], [5]),  # two tokens in all
])
def test_few_frames_and_empty_targets(targets, frames):
    logits = some_logits(max(frames), len(targets), 2 if targets == [[1]] else 4)
    assert_same(triton_loss(logits, targets, frames), naive(logits, targets, frames))


def test_logits_without_any_frame_or_utterance():
    losses, gradient = triton_loss(torch.zeros(0, 2, 3), [[], [1]], [0, 0])
    assert losses.tolist() == [0, INF]
    assert gradient.shape == (0, 2, 3)
    nothing = torch.zeros(0, 1, dtype=torch.int64)
    losses, gradient = triton_loss(torch.zeros(2, 0, 3), nothing, [], sizes=nothing[:, 0])
    assert (losses.shape, gradient.shape) == ((0,), (2, 0, 3))


@pytest.mark.parametrize("labels", [31, 32, 65])
def test_targets_around_the_width_of_a_program(labels):
    target = [1 + index % 3 for index in range(labels)]
    logits, frames = some_logits(labels + 4, 1, 4), [labels + 4]
    assert_same(triton_loss(logits, [target], frames), naive(logits, [target], frames), 1e-5)


def test_many_repeats_of_few_labels_add_up():
    target = [1, 1, 2, 1, 2, 2, 1]
    logits = some_logits(14, 1, 3)
    assert_same(triton_loss(logits, [target], [14]), naive(logits, [target], [14]))


def test_a_vocabulary_of_several_tiles():
    logits = some_logits(3, 1, 9001)
    assert_same(triton_loss(logits, [[9000, 4096]], [3]), naive(logits, [[9000, 4096]], [3]))


def test_wide_programs_read_one_frame_ahead(monkeypatch):
    lanes = launch._Batch.lanes
    monkeypatch.setattr(launch._Batch, "lanes", lambda self: lanes(self) | {"AHEAD": 1})
    logits = some_logits(19, 1, 4)
    assert_same(triton_loss(logits, [[1, 2, 2]], [19]), naive(logits, [[1, 2, 2]], [19]))


# ---------------------------------------------------------------------------------------------------- forms of input


def test_blank_strides_and_forms_of_targets():
    """Any blank, int32 or int64, padded (with anything) or concatenated, any strides: the same answer, to the bit."""
    logits, targets, frames = some_logits(9, 3, 5), [[0, 1], [3, 3, 0], []], [9, 7, 5]
    sizes = torch.tensor([2, 3, 0], dtype=torch.int32)
    padded = triton_loss(logits, targets, frames, blank=4)
    assert_same(padded, naive(logits, targets, frames, blank=4))
    flat = torch.tensor([label for row in targets for label in row], dtype=torch.int32)
    strided = torch.stack((flat, torch.full_like(flat, 77)), dim=1)[:, 0]
    garbage = pad(targets, fill=-(10 ** 12))
    batch_first = logits.transpose(0, 1).contiguous().transpose(0, 1)  # (T, B, V) -> (B, T, V) in memory -> (T, B, V)
    tokens_first = logits.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # (T, B, V) -> (V, T, B) in memory -> (T, B, V)
    for form, text in ((logits, flat), (logits, strided), (logits, garbage), (batch_first, flat), (tokens_first, flat)):
        losses, gradient = triton_loss(form, text, frames, sizes=sizes, blank=4)
        assert torch.equal(losses, padded[0])
        assert torch.equal(gradient, padded[1])
        assert gradient.stride() == form.stride()


def test_rows_that_begin_anywhere():
    """Logits cut out of a larger tensor, so that no row is aligned."""
    whole = some_logits(5, 2, 9)
    cut = whole[:, :, 1:8]
    assert_same(triton_loss(cut, [[1, 2], [3]], [5, 4]), naive(cut, [[1, 2], [3]], [5, 4]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_single_rounded_once(dtype):
    logits, targets, frames = some_logits(6, 2, 5).to(dtype), [[1, 2], [4]], [6, 5]
    losses, gradient = triton_loss(logits, targets, frames)
    expected = triton_loss(logits.float(), targets, frames)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, expected[0])
    if dtype == torch.float16:
        assert torch.equal(gradient, expected[1].half())
    else:  # the interpreter cuts bfloat16 off where a GPU rounds
        torch.testing.assert_close(gradient, expected[1].bfloat16(), rtol=2 ** -7, atol=0)


def test_an_utterance_alone_and_in_a_batch():
    logits, targets, frames = some_logits(12, 3, 4), [[1, 2], [3] * 40, [2]], [12, 12, 6]
    losses, gradient = triton_loss(logits, targets, frames)
    alone = triton_loss(logits[:, :1], targets[:1], frames[:1])  # a program of 32 lanes in place of 64
    torch.testing.assert_close(losses[:1], alone[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient[:, :1], alone[1], rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- hard numbers


@pytest.mark.parametrize(("scale", "level"), [(30.0, 0.0), (3000.0, 0.0), (2.0, 5000.0)])
def test_peaked_and_high_logits(scale, level):
    logits, targets = some_logits(20, 1, 4, scale=scale) + level, [[1, 2, 2]]
    assert_same(triton_loss(logits, targets, [20]), naive(logits, targets, [20]))


def test_a_loss_of_nearly_nothing():
    logits = torch.full((20, 1, 3), -15.0)
    for t in range(20):
        logits[t, 0, 1 if t == 7 else 0] = 15.0
    assert_same(triton_loss(logits, [[1]], [20]), naive(logits, [[1]], [20]))


def test_logits_of_minus_infinity():
    """In a class that is not used; in one that is, for some frames; in one that is, for all: no path, no gradient."""
    logits, targets = some_logits(10, 3, 5), [[1, 2], [1, 2], [1, 2]]
    logits[:, :, 4] = -INF
    logits[2:5, 1, 2] = -INF
    logits[:, 2, 1] = -INF
    found = triton_loss(logits, targets, [10, 10, 9])
    assert_same(found, naive(logits, targets, [10, 10, 9]))
    assert found[0][2] == INF
    assert not found[1][:, 2].any()


@pytest.mark.parametrize("place", ["nan", "plus infinity", "a row of minus infinity"])
def test_what_is_no_number_stays_in_its_utterance(place):
    clean, targets, frames = some_logits(9, 3, 4), [[1, 2], [3], [1]], [7, 9, 5]
    logits = clean.clone()
    if place == "nan":
        logits[3, 1, 2] = math.nan
    elif place == "plus infinity":
        logits[3, 1, 2] = INF
    else:
        logits[3, 1] = -INF
    logits[7:, 0] = math.nan  # past the end
    losses, gradient = triton_loss(logits, targets, frames)
    expected = triton_loss(clean, targets, frames)
    assert losses[1].isnan()
    assert gradient[:, 1].isnan().all()
    for index in (0, 2):
        assert torch.equal(losses[index], expected[0][index])
        assert torch.equal(gradient[:, index], expected[1][:, index])


# -------------------------------------------------------------------------------------------- properties of the lattice


def test_time_and_labels_reversed_together_change_nothing():
    logits, target = some_logits(21, 1, 4), [1, 2, 2, 3]
    losses, gradient = triton_loss(logits, [target], [21])
    back = triton_loss(logits.flip(0), [target[::-1]], [21])
    torch.testing.assert_close(back[0], losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(back[1].flip(0), gradient, rtol=0, atol=1e-5)


def test_a_shift_of_a_frames_logits_changes_nothing():
    logits, target = some_logits(9, 1, 4), [1, 2]
    shifted = logits + some_logits(9, 1, 1, seed=1, scale=8.0)
    assert_same([one.double() for one in triton_loss(logits, [target], [9])],
                [one.double() for one in triton_loss(shifted, [target], [9])], 1e-5)


# -------------------------------------------------------------------------------------------------------- other modes


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_reductions_and_the_gradient_over_the_logits(reduction):
    logits, sizes = some_logits(9, 4, 5), torch.tensor(list(map(len, MIXED)))
    rest = (pad(MIXED), torch.tensor([9, 8, 4, 3]), sizes)
    source = logits.clone().requires_grad_()
    expected = ctc_loss(source, *rest, reduction=reduction, zero_infinity=True, backend="torch")
    expected.sum().backward()
    found = ctc_loss_and_gradient_(logits, *rest, reduction=reduction, zero_infinity=True, backend="triton")
    torch.testing.assert_close(found, expected.detach(), rtol=2e-6, atol=2e-5)
    torch.testing.assert_close(logits, source.grad, rtol=0, atol=1e-5)


def test_the_gradient_over_logits_of_half_precision_is_rounded_once():
    logits, rest = some_logits(6, 2, 40).half(), (torch.tensor([[1, 2], [4, 4]]), torch.tensor([6, 5]), torch.tensor([2, 2]))
    single = logits.float()
    ctc_loss_and_gradient_(logits, *rest, backend="triton")
    ctc_loss_and_gradient_(single, *rest, backend="triton")
    assert torch.equal(logits, single.half())


def test_without_a_gradient_the_loss_is_the_same_and_no_lattice_is_kept(monkeypatch):
    logits, rest = some_logits(9, 2, 5), (torch.tensor([[1, 2], [3, 3]]), torch.tensor([9, 8]), torch.tensor([2, 2]))
    kept, run = [], launch._run
    monkeypatch.setattr(launch, "_run", lambda *arguments: kept.append(run(*arguments)) or kept[-1])
    with torch.no_grad():
        quick = ctc_loss(logits.requires_grad_(), *rest, reduction="none", backend="triton")
    assert torch.equal(quick, ctc_loss(logits, *rest, reduction="none", backend="triton").detach())
    assert [made["lattice"].numel() for made in kept] == [0, 2 * 9 * 2 * 8]


@pytest.mark.parametrize("fault", ["label", "blank", "length", "negative", "labels", "concatenated"])
def test_unchecked_faults_make_their_own_loss_nan(fault):
    logits, frames, sizes = some_logits(6, 3, 4), torch.tensor([6, 6, 5]), torch.tensor([2, 2, 1])
    targets = torch.tensor([[1, 2], [3, 1], [2, 0]])
    good = ctc_loss(logits, targets, frames, sizes, reduction="none", backend="triton")
    if fault in ("label", "blank"):
        targets[1, 1] = 4 if fault == "label" else 0
    elif fault in ("length", "negative"):
        frames[1] = 7 if fault == "length" else -1
    elif fault == "labels":
        sizes[1] = 3
    else:
        targets, sizes = torch.tensor([1, 2, 3, 1, 2]), torch.tensor([2, 2, 9])
    losses = ctc_loss(logits, targets, frames, sizes, reduction="none", backend="triton", validate=False)
    wrong = 2 if fault == "concatenated" else 1
    assert losses[wrong].isnan()
    assert all(torch.equal(losses[index], good[index]) for index in {0, 1, 2} - {wrong})


def test_backward_twice():
    logits = some_logits(6, 1, 4).requires_grad_()
    loss = ctc_loss(logits, torch.tensor([[1, 2]]), torch.tensor([6]), torch.tensor([2]), backend="triton")
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (second,) = torch.autograd.grad(loss, logits)
    assert torch.equal(first, second)


# ----------------------------------------------------------------------------------------------------------- torch's


def test_it_is_a_lawful_operator():
    """As torch checks them: that nothing else is changed, what fake tensors look like, and how autograd is told."""
    logits = some_logits(4, 2, 4).requires_grad_()
    rest = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([4, 3]), torch.tensor([2, 1]), 0, 2)
    torch.library.opcheck(torch.ops.asr.ctc_loss.default, (logits, *rest, True, False),
                          test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))
    torch.library.opcheck(torch.ops.asr.ctc_loss_and_gradient_.default,
                          (logits.detach().clone(), torch.ones(2), *rest, False), test_utils=("test_schema", "test_faketensor"))


def test_it_compiles_into_one_graph_and_ignores_autocast():
    targets, frames, sizes = torch.tensor([[1, 2], [3, 3]]), torch.tensor([5, 4]), torch.tensor([2, 1])

    def step(weight, features):
        return ctc_loss(features @ weight, targets, frames, sizes, backend="triton")

    weight, features = some_logits(3, 4).requires_grad_(), some_logits(5, 2, 3, seed=1)
    expected = step(weight, features)
    expected.backward()
    whole, weight.grad = weight.grad, None
    found = torch.compile(step, backend="aot_eager", fullgraph=True)(weight, features)
    found.backward()
    assert torch.equal(found, expected)
    torch.testing.assert_close(weight.grad, whole)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = step(weight, features)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, expected, rtol=1e-2, atol=0)
