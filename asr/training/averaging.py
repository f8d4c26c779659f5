"""Averaging of checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def average_weights(paths: Iterable[Path]) -> dict[str, Tensor]:
    """The mean of the same network's weights at several points of one run (Polyak averaging over checkpoints).

    Sums are in float64 and in the order of the paths, so the result does not depend on when it is computed.
    Whole numbers (counters of batch norm) take the largest. Raises ValueError when there is no path.
    """
    states = [load_file(path) for path in paths]
    if not states:
        raise ValueError("no checkpoints to average")
    averaged = {}
    for name, first in states[0].items():
        stacked = torch.stack([state[name] for state in states])
        averaged[name] = stacked.double().mean(dim=0).to(first.dtype) if first.is_floating_point() else stacked.amax(dim=0)
    return averaged
