"""A markdown table of scored runs, for a RESULTS file: word error rates with their counts, and the mean over seeds.

    python recipes/utils/results.py --title "Official split, test" exp/fsdd/crnn_seed*/decode_test_greedy

Each folder is one that `asr score --out` wrote, inside its run: <run>/decode_<set>_<method>. Runs whose names differ
only in the seed form a group. With several seeds a group ends in a row of its mean and its range; with several groups
(the folds of leave-one-out) the table ends with the mean of the groups' means.

With --against NAME the groups are systems on the same utterances, in the order given: the last row of each has its difference
from the group of that name, over the seeds that both have, and the 95 % interval of the paired bootstrap of `asr compare`, and,
where there are several seeds, after a semicolon, the interval with other runs of both as well.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from asr.errors import AsrError, DataError
from asr.scoring.comparison import compare, paired_bootstrap
from asr.scoring.files import load_scores, load_totals
from asr.scoring.intervals import crossed_interval

COLUMNS = ("run", "seed", "WER %", "errors / words", "ins", "del", "sub", "95 % interval")


Runs = dict[int, tuple[Path, dict[str, Any]]]


def read_scores(folders: list[Path]) -> dict[str, Runs]:
    """Group -> seed -> (folder, the content of its scores.json), in the order given; folders without a score are named."""
    groups: dict[str, Runs] = {}
    for folder in folders:
        if not (folder / "scores.json").is_file():
            print(f"{folder}: not scored yet, left out", file=sys.stderr)
            continue
        name, _, seed = folder.resolve().parent.name.rpartition("_seed")
        if not name or not re.fullmatch(r"\d+", seed):
            raise ValueError(f"{folder}: the run's folder must be called <name>_seed<N>")
        groups.setdefault(name, {})[int(seed)] = folder, load_totals(folder)
    return {name: dict(sorted(runs.items())) for name, runs in groups.items()}


def table(groups: dict[str, Runs], against: str | None = None) -> str:
    """The markdown table, without a title. ``against``: the group that the others are compared with."""
    if against is not None and against not in groups:
        raise ValueError(f"--against {against}: no scored folder of that name, only of {', '.join(groups)}")
    head = [*COLUMNS, *([f"less {against}, points"] if against else [])]
    rows = [head, ["---"] * len(head)]
    for name, runs in groups.items():
        rows += [_row(name, seed, scores) for seed, (_, scores) in runs.items()]
        if len(runs) > 1:
            rates = [100 * scores["wer"] for _, scores in runs.values()]
            rows.append([name, f"mean of {len(runs)}", f"**{mean(rates):.2f}**", f"{min(rates):.2f} to {max(rates):.2f}",
                         "", "", "", ""])
        if against:
            rows[-1].append(_difference(groups[against], runs) if name != against else "")
    if len(groups) > 1 and not against:
        means = [mean(100 * scores["wer"] for _, scores in runs.values()) for runs in groups.values()]
        rows.append([f"mean of {len(groups)}", "", f"**{mean(means):.2f}**", f"{min(means):.2f} to {max(means):.2f}",
                     "", "", "", ""])
    return "".join("| " + " | ".join([*row, *[""] * (len(head) - len(row))]) + " |\n" for row in rows)


def _difference(base: Runs, runs: Runs) -> str:
    """How many points of WER the runs have more than those of the base with the same seeds, the paired interval of it, and, with
    several seeds, the interval with other runs as well."""
    # Of each seed the errors in every speaker or utterance, and the words of the reference.
    ours, theirs, words, names = [], [], [], set()
    for seed in sorted(base.keys() & runs.keys()):
        scored, other = (load_scores(each[seed][0]) for each in (runs, base))
        compare(scored, other, ("the run", "the one it is compared with"))  # refuses other utterances, rules and normalisers
        errors = {each.id: each.words.errors for each in other.per_utterance}
        units = [members for _, members in sorted(scored.units.items())]
        names.add(tuple(each.id for members in units for each in members))
        ours.append([sum(each.words.errors for each in members) for members in units])
        theirs.append([sum(errors[each.id] for each in members) for members in units])
        words.append([sum(each.words.reference for each in members) for members in units])
    if not words:
        return "no seed in common"
    if len(names) > 1:
        raise DataError("the seeds were scored on other utterances than each other; score all of them on the same ones")
    more, references = np.subtract(ours, theirs).sum(axis=0), np.sum(words, axis=0)
    intervals = [paired_bootstrap(more.tolist(), references.tolist()).interval]
    if len(words) > 1:
        intervals.append(crossed_interval(np.array(ours), np.array(theirs), references / len(words)))
    shown = "; ".join(f"{100 * low:+.2f} to {100 * high:+.2f}" for low, high in intervals)
    return f"{100 * more.sum() / references.sum():+.2f} ({shown})"


def _row(name: str, seed: int, scores: dict[str, Any]) -> list[str]:
    words = scores["words"]
    low, high = (100 * edge for edge in words["interval"])
    partial = f" (PARTIAL: {len(scores['missing'])} missing)" if scores["partial"] else ""
    return [name, str(seed), f"{100 * scores['wer']:.2f}{partial}", f"{words['errors']} / {words['reference']}",
            str(words["insertions"]), str(words["deletions"]), str(words["substitutions"]), f"{low:.2f} to {high:.2f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("--against", help="the run, without its seed, that the others are compared with")
    parser.add_argument("folders", type=Path, nargs="*", help="scored decode folders")
    options = parser.parse_args()
    try:
        groups = read_scores(options.folders)
        found = table(groups, options.against) if groups else "nothing scored yet"
    except (AsrError, ValueError, OSError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{options.title}\n\n{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
