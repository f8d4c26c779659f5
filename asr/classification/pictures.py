"""The picture of a confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr.classification.metrics import Scores
from asr.system import atomic_path

_MOST_NUMBERS = 30
_MOST_NAMES = 60


def draw_confusion(scores: Scores, path: str | Path, title: str = "") -> None:
    """A PNG: a row for each class, coloured by the part of its items that were given each label; counts where they can be read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = len(scores.labels)
    counts = scores.confusion
    parts = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    longest = max(len(label) for label in scores.labels)
    side = min(16.0, 2.2 + max(0.42, 0.075 * len(str(counts.max())) + 0.2) * classes)
    figure = Figure(figsize=(side + min(3.0, 0.07 * longest), side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    step = -(-classes // _MOST_NAMES)
    at, names = range(0, classes, step), [_short(label) for label in scores.labels[::step]]
    axes.set_xticks(at, names, rotation=0 if longest * classes <= 40 else 90)
    axes.set_yticks(at, names)
    axes.set(xlabel="predicted", ylabel="label", title=title or f"accuracy {100 * scores.accuracy:.2f} %, {scores.items} items")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if classes <= _MOST_NUMBERS:
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                      color="white" if parts[row, column] > 0.55 else "#1b2733")
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("part of the class")
    bar.outline.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _short(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "\u2026"
