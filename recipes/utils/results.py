"""A markdown table of scored runs, for a RESULTS file: word error rates with their counts, and the mean over seeds.

    python recipes/utils/results.py --title "Official split, test" exp/fsdd/crnn_seed*/decode_test_greedy

Each folder is one that `asr score --out` wrote, inside its run: <run>/decode_<set>_<method>. Runs whose names differ
only in the seed form a group. With several seeds a group ends in a row of its mean and its range; with several groups
(the folds of leave-one-out) the table ends with the mean of the groups' means.

With --against NAME the groups are systems on the same utterances, in the order given: the last row of each has its difference
from the group of that name, over the seeds that both have, and the 95 % interval of the paired bootstrap of `asr compare`: of these
seeds on other utterances, not of other seeds.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from asr.errors import AsrError
from asr.scoring.comparison import compare, paired_bootstrap
from asr.scoring.files import load_scores

COLUMNS = ("run", "seed", "WER %", "errors / words", "ins", "del", "sub", "95 % interval")


Runs = dict[int, tuple[Path, dict[str, Any]]]


def read_scores(folders: list[Path]) -> dict[str, Runs]:
    """Group -> seed -> (folder, the content of its scores.json), in the order given; folders without a score are named."""
    groups: dict[str, Runs] = {}
    for folder in folders:
        file = folder / "scores.json"
        if not file.is_file():
            print(f"{folder}: not scored yet, left out", file=sys.stderr)
            continue
        name, _, seed = folder.resolve().parent.name.rpartition("_seed")
        if not name or not re.fullmatch(r"\d+", seed):
            raise ValueError(f"{folder}: the run's folder must be called <name>_seed<N>")
        groups.setdefault(name, {})[int(seed)] = folder, json.loads(file.read_text(encoding="utf-8"))
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
    """How many points of WER the runs have more than those of the base with the same seeds, and the paired interval of it."""
    units: dict[str, list[int]] = {}  # speaker, or utterance -> errors more than the base, words of the reference
    for seed in base.keys() & runs.keys():
        ours, theirs = (load_scores(each[seed][0]) for each in (runs, base))
        compare(ours, theirs, ("the run", "the one it is compared with"))  # refuses other utterances, rules and normalisers
        words = {each.id: each.words for each in theirs.per_utterance}
        for unit, members in ours.units.items():
            counted = units.setdefault(unit, [0, 0])
            counted[0] += sum(each.words.errors - words[each.id].errors for each in members)
            counted[1] += sum(each.words.reference for each in members)
    if not units:
        return "no seed in common"
    errors, references = zip(*units.values())
    low, high = (100 * edge for edge in paired_bootstrap(errors, references).interval)
    return f"{100 * sum(errors) / sum(references):+.2f} ({low:+.2f} to {high:+.2f})"


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
