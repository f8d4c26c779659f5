"""Pictures of forecasts: what was, what was foretold and how surely, and how errors grow with the horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.system import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH, OURS, OTHERS = "#3d4652", "#1f5fa8", ("#d99a2b", "#7a869a", "#b3392f", "#5b8c5a", "#8a63a8", "#9aa5b1", "#444444", "#c77ca0")
PANELS = 6


@dataclass(frozen=True)
class Panel:
    """One series around one origin: ``past`` (L,) before it, ``truth`` from it on (None where the future is not known).

    ``forecasts`` (S,) by name, of the rows ``steps`` (S,), counted from the origin; ``low`` and ``high`` (S,) bound the first.
    """

    title: str
    past: np.ndarray
    steps: np.ndarray
    truth: np.ndarray | None
    forecasts: Mapping[str, np.ndarray]
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def draw_forecasts(panels: Sequence[Panel], path: Path, interval: str = "", unit: str = "") -> None:
    """A picture of a panel for each of ``panels``, two in a row; ``interval`` names the band (``80 % interval``)."""
    figure, cells = _grid(len(panels))
    for axes, panel in zip(cells, panels):
        mark = {"marker": "o", "markersize": 4} if len(panel.steps) == 1 else {}
        axes.plot(np.arange(-len(panel.past), 0), panel.past, color=TRUTH, linewidth=1)
        if panel.truth is not None:
            axes.plot(np.arange(len(panel.truth)), panel.truth, color=TRUTH, linewidth=1, linestyle="--", label="what was")
        if panel.low is not None and panel.high is not None:
            if len(panel.steps) == 1:
                axes.vlines(panel.steps, panel.low, panel.high, color=OURS, alpha=0.35, linewidth=6, label=interval)
            else:
                axes.fill_between(panel.steps, panel.low, panel.high, color=OURS, alpha=0.18, linewidth=0, label=interval)
        for (name, values), colour in zip(panel.forecasts.items(), (OURS, *OTHERS)):
            axes.plot(panel.steps, values, color=colour, linewidth=1.4 if colour == OURS else 1, label=name, **mark)
        axes.axvline(0, color="#9aa5b1", linewidth=0.8, linestyle=":")
        axes.set_title(panel.title, fontsize=9, loc="left")
        _plain(axes)
    for axes in cells[-2:]:
        axes.set_xlabel("rows from the origin")
    for axes in cells[::2]:
        axes.set_ylabel(unit)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)), frameon=False, fontsize=9)
    _save(figure, path)


def draw_by_step(by_step: Mapping[str, np.ndarray], steps: np.ndarray, path: Path, unit: str) -> None:
    """Mean squared error at every step of the horizon: forecaster -> (S,); the first is ours."""
    figure, (axes,) = _grid(1)
    for (name, values), colour in zip(by_step.items(), (OURS, *OTHERS)):
        axes.plot(steps + 1, values, color=colour, label=name, linewidth=1.6 if colour == OURS else 1)
    axes.set(xlabel="rows ahead", ylabel=f"MSE{f' ({unit})' if unit else ''}", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    _plain(axes)
    _save(figure, path)


def _grid(count: int) -> tuple[Figure, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(9, 4 if count == 1 else 2.3 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    cells = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in cells[count:]:
        spare.set_visible(False)
    return figure, cells[:count]


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
