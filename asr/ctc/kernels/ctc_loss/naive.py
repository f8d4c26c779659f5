"""The CTC loss as Graves et al. (2006) write it down: slow, plain, in float64, one utterance at a time.

What the kernels are measured by in tests; nothing else calls it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ctc_loss_naive(logits: Tensor, target: Sequence[int], blank: int = 0) -> tuple[Tensor, Tensor]:
    """The loss of one utterance, and its gradient with respect to the logits, in float64.

    logits (T, V), all frames real; target: L tokens without blanks. An impossible target has loss infinity and gradient zero.
    """
    log_probs = logits.double().log_softmax(-1)
    states = [blank]  # a blank before, between and after the labels
    for token in target:
        states += [token, blank]
    alpha = _alphas(log_probs, states, blank)
    # (T, V) -> the same, frames reversed; the reversed target's alphas, turned back (T, S), are the betas.
    beta = _alphas(log_probs.flip(0), states[::-1], blank).flip(0, 1)
    ends = alpha[-1, -2:] if len(log_probs) else torch.tensor([0.0 if not target else -torch.inf], dtype=torch.float64)
    log_z = torch.logsumexp(ends, 0)
    if log_z == -torch.inf:
        return -log_z, torch.zeros_like(log_probs)
    emitted = log_probs[:, states]  # counted in alpha and in beta
    posteriors = torch.where(emitted == -torch.inf, 0.0, torch.exp(alpha + beta - emitted - log_z))
    gradient = log_probs.exp()
    for state, token in enumerate(states):
        gradient[:, token] -= posteriors[:, state]
    return -log_z, gradient


def _alphas(log_probs: Tensor, states: list[int], blank: int) -> Tensor:
    """(T, S): the log-probability of all beginnings of paths that are in a state at a frame, that frame included."""
    alpha = torch.full((len(log_probs), len(states)), -torch.inf, dtype=torch.float64)
    for t in range(len(log_probs)):
        for s, token in enumerate(states):
            if t == 0:
                if s < 2:
                    alpha[t, s] = log_probs[t, token]
                continue
            came_from = [alpha[t - 1, s]]
            if s > 0:
                came_from.append(alpha[t - 1, s - 1])
            if s > 1 and token not in (blank, states[s - 2]):
                came_from.append(alpha[t - 1, s - 2])
            alpha[t, s] = torch.logsumexp(torch.stack(came_from), 0) + log_probs[t, token]
    return alpha
