"""A markdown table of scored runs, for a RESULTS file: word error rates with their counts, and the mean over seeds.

    python recipes/utils/results.py --title "Official split, test" exp/fsdd/crnn_seed*/decode_test_greedy

Each folder is one that `asr score --out` wrote, inside its run: <run>/decode_<set>_<method>. Runs whose names differ
only in the seed form a group. With several seeds a group ends in a row of its mean and its range; with several groups
(the folds of leave-one-out) the table ends with the mean of the groups' means.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

COLUMNS = ("run", "seed", "WER %", "errors / words", "ins", "del", "sub", "95 % interval")


def read_scores(folders: list[Path]) -> dict[str, dict[int, dict[str, Any]]]:
    """Group -> seed -> the content of scores.json, in the order of their names; folders without a score are named."""
    groups: dict[str, dict[int, dict[str, Any]]] = {}
    for folder in folders:
        file = folder / "scores.json"
        if not file.is_file():
            print(f"{folder}: not scored yet, left out", file=sys.stderr)
            continue
        name, _, seed = folder.resolve().parent.name.rpartition("_seed")
        if not name or not re.fullmatch(r"\d+", seed):
            raise ValueError(f"{folder}: the run's folder must be called <name>_seed<N>")
        groups.setdefault(name, {})[int(seed)] = json.loads(file.read_text(encoding="utf-8"))
    return {name: dict(sorted(runs.items())) for name, runs in sorted(groups.items())}


def table(groups: dict[str, dict[int, dict[str, Any]]]) -> str:
    """The markdown table, without a title."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for name, runs in groups.items():
        rows += [_row(name, seed, scores) for seed, scores in runs.items()]
        if len(runs) > 1:
            rates = [100 * scores["wer"] for scores in runs.values()]
            rows.append((name, f"mean of {len(runs)}", f"**{mean(rates):.2f}**", f"{min(rates):.2f} to {max(rates):.2f}",
                         "", "", "", ""))
    if len(groups) > 1:
        means = [mean(100 * scores["wer"] for scores in runs.values()) for runs in groups.values()]
        rows.append((f"mean of {len(groups)}", "", f"**{mean(means):.2f}**", f"{min(means):.2f} to {max(means):.2f}",
                     "", "", "", ""))
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _row(name: str, seed: int, scores: dict[str, Any]) -> tuple[str, ...]:
    words = scores["words"]
    low, high = (100 * edge for edge in words["interval"])
    partial = f" (PARTIAL: {len(scores['missing'])} missing)" if scores["partial"] else ""
    return (name, str(seed), f"{100 * scores['wer']:.2f}{partial}", f"{words['errors']} / {words['reference']}",
            str(words["insertions"]), str(words["deletions"]), str(words["substitutions"]), f"{low:.2f} to {high:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("folders", type=Path, nargs="*", help="scored decode folders")
    options = parser.parse_args()
    try:
        groups = read_scores(options.folders)
    except (ValueError, OSError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{options.title}\n")
    print(table(groups) if groups else "nothing scored yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
