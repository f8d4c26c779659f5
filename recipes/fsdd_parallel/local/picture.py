"""Accuracy of every system on test as a picture: the mean over seeds, its interval, and each seed.

    python recipes/fsdd_parallel/local/picture.py --out variants.png exp/fsdd_parallel/*_seed*
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asr.errors import AsrError
from asr.scoring.intervals import bootstrap_interval
from asr.system import atomic_path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))
from classified import Runs, read_runs, wrong_of


def draw(systems: dict[str, Runs], path: Path) -> None:
    """One line a system, in the order given; errors in per cent to the right."""
    figure = Figure(figsize=(8, 0.9 + 0.32 * len(systems)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, runs in enumerate(systems.values()):
        predictions = [each for each, _ in runs.values()]
        wrong, items = wrong_of(predictions)
        low, high = (100 * edge for edge in bootstrap_interval(wrong, items))
        rates = [100 - 100 * float(scores["accuracy"]) for _, scores in runs.values()]
        axes.plot([low, high], [place, place], color="#9aa5b1", linewidth=2, zorder=1)
        axes.scatter(rates, [place] * len(rates), s=14, color="#7a869a", zorder=2)
        axes.scatter(mean(rates), place, s=44, color="#1f5fa8", zorder=3)
    axes.set(yticks=range(len(systems)), yticklabels=list(systems), xlabel="error on test (%): mean, its 95 % interval, each seed",
             xlim=(0, None))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("folders", type=Path, nargs="+", help="runs, <name>_seed<N>, scored into eval_test")
    options = parser.parse_args()
    try:
        systems = read_runs(options.folders, "eval_test")
        if not systems:
            print("nothing scored yet, no picture")
            return 0
        draw(systems, options.out)
    except (AsrError, ValueError, OSError) as error:
        print(f"picture.py: error: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
