"""The pictures of the summary, drawn by matplotlib as SVG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr.report.gather import TestSet
from asr.scoring import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2463a8", "#c2591a", "#2f8557", "#8b4a9c", "#7a6a1f", "#a33a4b")
"""One for each system, in their order; page.css has the same."""

_MOST_VALUES = 40


def breakdowns(test_set: TestSet) -> dict[str, str]:
    """Column -> picture of the WER by its values, for the columns whose values can be told apart in a picture."""
    pictures = {}
    for column in test_set.systems[0].scores.columns:
        slices = [system.scores.by(column) for system in test_set.systems]
        if len(slices[0]) > 1 and (column in ("speaker", "duration") or len(slices[0]) <= _MOST_VALUES):
            pictures[column] = _by_value(column, slices, [system.name for system in test_set.systems])
    return pictures


def _by_value(column: str, slices: list[list[Slice]], names: Sequence[str]) -> str:
    """A row for each value with a point for each system, and its 95 % interval."""
    values = [each.value for each in slices[0]]
    shown = values
    if column == "speaker":  # the hardest first, and no more of them than can be read
        rate = {each.value: each.words.rate or 0.0 for each in slices[0]}
        shown = sorted(values, key=lambda value: -rate[value])[:_MOST_VALUES]
    figure, axes = _figure(7.0, 0.9 + 0.27 * len(shown))
    for number, (system, name) in enumerate(zip(slices, names)):
        found = {each.value: each for each in system}
        shift = 0.24 * (number - (len(names) - 1) / 2) if len(names) < 4 else 0.0
        for row, value in enumerate(shown):
            part = found[value]
            if part.words.rate is None:
                continue
            low, high = part.ci or (part.words.rate, part.words.rate)
            axes.plot([100 * low, 100 * high], [row + shift] * 2, color=COLOURS[number % len(COLOURS)], linewidth=1.6, alpha=0.45)
            axes.plot(100 * part.words.rate, row + shift, "o", color=COLOURS[number % len(COLOURS)], markersize=4.5,
                      label=name if row == 0 else None)
    sizes = {each.value: each.utterances for each in slices[0]}
    axes.set_yticks(range(len(shown)), [f"{_short(value or '(none)', 24)}  ({sizes[value]})" for value in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("WER, %, with 95 % intervals; in brackets: utterances")
    more = f", the {len(shown)} of {len(values)} with most errors" if len(shown) < len(values) else ""
    axes.set_title(f"By {column}{more}", loc="left", fontsize=10)
    if len(names) > 1:
        axes.legend(fontsize=7, loc="best", frameon=False)
    return _svg(figure)


def curves(rows: list[dict[str, float]]) -> str:
    """Losses and dev errors of a run over its epochs."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(7.0, 2.9, 2)
    epochs = [row.get("epoch", number + 1.0) for number, row in enumerate(rows)]
    for place, names in zip(axes, (("train_loss", "dev_loss"), ("dev_wer", "dev_cer"))):
        scale = 100 if names[0] == "dev_wer" else 1
        for colour, name in zip(COLOURS, names):
            values = [scale * row.get(name, math.nan) for row in rows]
            if any(math.isfinite(value) for value in values):
                place.plot(epochs, values, color=colour, linewidth=1.5, label=name, marker="o" if len(rows) == 1 else None)
        place.set_xlabel("epoch")
        place.set_ylim(bottom=0)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        if place.get_lines():
            place.legend(fontsize=7, frameon=False)
    axes[0].set_title("Loss per label", loc="left", fontsize=10)
    axes[1].set_title("Errors on dev, %", loc="left", fontsize=10)
    return _svg(figure)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for each in [axes] if columns == 1 else axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="x" if columns == 1 else "y", color="#e3e3e3", linewidth=0.8)
        each.set_axisbelow(True)
        each.tick_params(labelsize=8)
        each.xaxis.label.set_size(8)
    return figure, axes


def _svg(figure: Figure) -> str:
    """As the source of an <img>; without date and random names, so that the same report is the same bytes."""
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "asr"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "\u2026"
