"""The CTC loss on logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from asr.ctc.kernels.common import IMPOSSIBLE, check_shapes, check_values, why_not
from asr.ctc.kernels.ctc_loss.launch import LONGEST_TARGET, ctc_losses, ctc_losses_and_gradient_

BACKENDS = ("auto", "torch", "triton")
REDUCTIONS = ("none", "sum", "mean")


def ctc_loss(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False, backend: str = "auto", validate: bool = True) -> Tensor:
    """Connectionist temporal classification (Graves et al., 2006), differentiable with respect to the logits.

    logits (T, B, V) unnormalised, float32, bfloat16 or float16 (computed in float32) or float64, with any strides; targets
    (B, L) padded with anything, or (sum of target_lengths,) concatenated; lengths (B,); integers are int32 or int64, on any
    device. ``reduction``: ``none`` (B,), ``sum``, or ``mean`` (each loss divided by its target length, then the mean over the
    batch), as in ``torch.nn.functional.ctc_loss``. The loss is float32, or float64 for float64 logits.

    An impossible target (fewer frames than labels plus adjacent repeats, or none of its paths without a logit of -inf) costs
    infinity, or zero with ``zero_infinity``; its gradient is zero either way. Logits of -inf elsewhere have gradient zero.
    A frame whose logits hold NaN or +inf, or are all -inf, makes its own utterance's loss and gradient NaN; frames past
    ``input_lengths`` do nothing. The same input gives the same bits, on the CPU and from the kernels.

    Backends: ``torch`` runs everywhere, ``triton`` on CUDA devices of compute capability 8.0 or more, targets of up to 4095
    labels, and no float64; ``auto`` takes triton where it can. ``validate`` looks at lengths and labels before anything is
    computed, which waits for the device if they are on one; without it a wrong length or label makes the loss NaN on
    triton, and is undefined on torch. In a CUDA graph's capture nothing can be looked at: pass padded targets and tensors
    that are on the device.
    Raises ValueError for what does not fit, with the utterance, and for a backend that cannot run here.
    """
    _check(logits, targets, input_lengths, target_lengths, blank, reduction, backend)
    longest = _longest(targets, target_lengths)
    if _choose(backend, logits, longest) == "triton":
        keep = logits.requires_grad and torch.is_grad_enabled()
        losses = ctc_losses(logits, targets, input_lengths, target_lengths, blank, longest, keep, validate)[0]
    else:
        if validate:
            check_values(len(logits), logits.shape[2], targets, input_lengths, target_lengths, blank)
        losses = _torch_losses(logits, targets, input_lengths, target_lengths, blank)
    return _reduce(losses, target_lengths, reduction, zero_infinity)


def ctc_loss_and_gradient_(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int = 0,
                           reduction: str = "mean", zero_infinity: bool = False, backend: str = "auto",
                           validate: bool = True) -> Tensor:
    """The loss of `ctc_loss`; the logits become the gradient of it. Saves a third of the traffic, and the gradient's memory.

    For training at large vocabularies, where the logits are most of what there is to read. Arguments as in `ctc_loss`, but
    the logits must not require a gradient; with ``none`` the gradient is that of the sum. Goes together with autograd so:

        logits = network(features)
        gradient = logits.detach()                            # the same memory
        loss = ctc_loss_and_gradient_(gradient, targets, input_lengths, target_lengths)
        logits.backward(gradient)

    Nothing before may need the logits themselves for its own gradient; autograd raises an error if so.
    Raises ValueError as `ctc_loss` does, for logits that require a gradient, and for expanded ones.
    """
    _check(logits, targets, input_lengths, target_lengths, blank, reduction, backend)
    if logits.requires_grad:
        raise ValueError("ctc_loss_and_gradient_ overwrites its logits, and these require a gradient: pass logits.detach()")
    if any(step == 0 and size > 1 for step, size in zip(logits.stride(), logits.shape)):
        raise ValueError("ctc_loss_and_gradient_ overwrites its logits, and some of these share memory: pass logits.contiguous()")
    longest = _longest(targets, target_lengths)
    if _choose(backend, logits, longest) == "triton":
        weights = _weights(target_lengths, reduction, logits.device)
        losses = ctc_losses_and_gradient_(logits, weights, targets, input_lengths, target_lengths, blank, longest, validate)
        return _reduce(losses, target_lengths, reduction, zero_infinity)
    with torch.enable_grad():
        source = logits.detach().clone().requires_grad_()
        loss = ctc_loss(source, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, "torch", validate)
        logits.copy_(torch.autograd.grad(loss.sum(), source)[0])
    return loss.detach()


# --------------------------------------------------------------------------------------------------------- parts


def _check(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int, reduction: str,
           backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}: choose one of {', '.join(REDUCTIONS)}")
    check_shapes(logits, targets, input_lengths, target_lengths, blank)


def _longest(targets: Tensor, target_lengths: Tensor) -> int:
    """Labels of the longest target, or a bound where the lengths cannot be seen without waiting for the device."""
    visible = target_lengths.device.type == "cpu" and not torch.compiler.is_compiling()
    if targets.dim() == 2 and not visible:
        return targets.shape[1]
    longest = int(target_lengths.max()) if target_lengths.numel() else 0
    return max(0, min(longest, targets.shape[-1]))  # a length that is wrong is told of later, by name


def _choose(backend: str, logits: Tensor, longest: int) -> str:
    """torch or triton; raises ValueError where triton is asked for and cannot run."""
    if backend == "torch" or (backend == "auto" and not logits.is_cuda):
        return "torch"
    why = why_not(logits.device)
    if not why and logits.dtype == torch.float64:
        why = "kernels compute in float32, the logits are float64"
    if not why and longest > LONGEST_TARGET:
        why = f"a target of {longest} labels, kernels take {LONGEST_TARGET}"
    if why and backend == "triton":
        raise ValueError(f"backend 'triton' cannot run here: {why}; use 'auto' or 'torch'")
    return "torch" if why else "triton"


def _torch_losses(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """Losses (B,) by torch's own CTC, with gradients that are numbers where it gives NaN.

    Its gradient fails at log-probabilities of -inf, which are made very small here (sums of them stay exact), at targets that are
    impossible, to whose losses no gradient is let through, and at what is no number in frames past the length, which are emptied.
    """
    frames, batch, _ = logits.shape
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    padded, real = _padded(targets.to(logits.device), target_lengths.to(logits.device))
    repeats = ((padded[:, 1:] == padded[:, :-1]) & real[:, 1:]).sum(1)
    short = input_lengths.to(logits.device) < target_lengths.to(logits.device) + repeats
    if not frames or not batch:
        return torch.where(short, torch.inf, logits.sum(dim=(0, 2), dtype=dtype))  # a sum of nothing, for autograd's sake
    with torch.autocast(logits.device.type, enabled=False):
        padding = torch.arange(frames, device=logits.device)[:, None] >= input_lengths.to(logits.device)  # (T, B)
        log_probs = torch.log_softmax(logits.masked_fill(padding[:, :, None], 0.0), dim=-1, dtype=dtype).clamp(min=IMPOSSIBLE)
        losses = F.ctc_loss(log_probs, padded, input_lengths.long(), target_lengths.long(), blank, "none", zero_infinity=True)
    return torch.where(short | (losses > -0.5 * IMPOSSIBLE), torch.inf, losses)


def _padded(targets: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Targets (B, L) int64 and which of them are real; int64, because with int32 torch may take cuDNN's other algorithm."""
    if targets.dim() == 2:
        return targets.long(), torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    longest = int(target_lengths.max()) if len(target_lengths) else 0
    real = torch.arange(longest, device=targets.device) < target_lengths[:, None]
    return targets.new_zeros(real.shape, dtype=torch.int64).masked_scatter(real, targets.long()), real


def _weights(target_lengths: Tensor, reduction: str, device: torch.device) -> Tensor:
    """What each utterance's loss counts for in the reduced one, (B,) float32."""
    if reduction == "mean":
        return 1 / (target_lengths.to(device).clamp(min=1) * len(target_lengths)).float()
    return torch.ones(len(target_lengths), device=device)


def _reduce(losses: Tensor, target_lengths: Tensor, reduction: str, zero_infinity: bool) -> Tensor:
    if zero_infinity:
        losses = torch.where(losses == torch.inf, 0.0, losses)
    if reduction == "mean":
        return (losses / target_lengths.to(losses.device).clamp(min=1)).mean()
    return losses.sum() if reduction == "sum" else losses
