"""Which of two systems is better, and is it real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import DataError, UsageError
from asr.scoring.align import add
from asr.scoring.intervals import CONFIDENCE, REPLICATES, SEED, draw_rates, outer_tail
from asr.scoring.matched_pairs import MatchedPairs, mapsswe
from asr.scoring.pairing import some
from asr.scoring.scores import Interval, Scores
from asr.system import atomic_open, write_text

LEVEL = 1 - CONFIDENCE
POWER = 0.8
_FEW_UNITS = 10
_CELLS = 2_000_000  # signs drawn at once: bounds the memory to 16 MB


@dataclass(frozen=True)
class PairedBootstrap:
    """Bisani and Ney's paired bootstrap: both systems' errors on the same drawn units.

    Attributes:
        interval: 95 % interval of the difference of WER, first less second, as fractions.
        p: two-sided: how often a difference like this, or a larger one, comes by chance if the systems are equal. If they
            are, exchanging the two in a unit changes nothing, so each replicate exchanges them in every unit at random (the
            wild bootstrap: Wu, Annals of Statistics 14, 1986). That keeps its word with any number of units: at the 5 %
            level equal systems are found different in 5 % of the cases, in fewer with very few units, never in more.
        second_better: part of the drawn sets in which the second system has fewer errors (ties count half).
    """

    interval: Interval
    p: float
    second_better: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances. Rates are fractions; differences are the first less the second, so a positive
    one speaks for the second.

    Attributes:
        names: how the systems are called.
        unit, units: what was drawn by the bootstrap, and how many there are.
        bootstrap, segments: the two tests; `mapsswe` is the second.
        alike: whether the systems make the same number of errors in every unit.
        detectable: the smallest difference of WER that a test set like this one would show (at the 5 % level) in four cases
            of five; None where none can be told: the systems are alike, or the units too few to show any.
    """

    first: Scores
    second: Scores
    names: tuple[str, str]
    unit: str
    units: int
    bootstrap: PairedBootstrap
    segments: MatchedPairs
    alike: bool
    detectable: float | None

    @property
    def difference(self) -> float:
        return self.first.wer - self.second.wer

    @property
    def better(self) -> str | None:
        """The name of the system that is better, where both tests say so; else None."""
        if self.bootstrap.p >= LEVEL or self.segments.p >= LEVEL or not self.difference:
            return None
        return self.names[self.difference > 0]

    @property
    def verdict(self) -> str:
        """The result in words."""
        points = abs(100 * self.difference)
        ahead, behind = self.names if self.difference < 0 else self.names[::-1]
        worse = max(self.first.wer, self.second.wer)
        tests = f"bootstrap p {_p(self.bootstrap.p)}, MAPSSWE p {_p(self.segments.p)}"
        if self.alike:
            return f"No difference: {self.names[0]} and {self.names[1]} make as many errors in every {self.unit}."
        could = (f"This test set would show a difference of {100 * self.detectable:.2f} points, four times in five."
                 if self.detectable is not None and self.detectable < 1 else
                 f"{self.units} {self.unit}s are too few to show any difference.")
        if self.better:
            return (f"{ahead} is better than {behind}: {points:.2f} points of WER, {points / worse:.0f} % of its errors; chance "
                    f"hardly makes such a difference ({tests}).")
        if min(self.bootstrap.p, self.segments.p) < LEVEL:
            sides = ("the bootstrap says yes, MAPSSWE no" if self.bootstrap.p < LEVEL else "MAPSSWE says yes, the bootstrap no")
            return (f"Undecided: {ahead} has {points:.2f} points less WER than {behind}; whether it is real, {sides} ({tests}). "
                    f"{could}")
        if not self.difference:
            return f"No difference shown: both make {self.first.errors} errors, not the same ones ({tests}). {could}"
        return (f"No difference shown: {ahead} has {points:.2f} points less WER than {behind}, which chance makes easily "
                f"({tests}). {could}")


def compare(first: Scores, second: Scores, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two scores of the same references.

    The bootstrap draws speakers where they are known and there are two or more, else utterances. Raises DataError where the
    scores are not of the same utterances and reference words, or were not normalised and aligned alike.
    """
    if names[0] == names[1]:
        raise UsageError(f"both systems are called {names[0]}; give them two names")
    for what, one, other in (("normalisers", first.normalizer, second.normalizer), ("rules", first.rules, second.rules)):
        if (one.name, one.version) != (other.name, other.version):
            raise DataError(f"{names[0]} and {names[1]} cannot be compared: their {what} are {one} and {other}; score both alike")
    ours = {each.id: each for each in first.per_utterance}
    theirs = {each.id: each for each in second.per_utterance}
    for name, one, other in ((names[0], ours, theirs), (names[1], theirs, ours)):
        lacking = [utterance for utterance in other if utterance not in one]
        if lacking:
            raise DataError(f"{names[0]} and {names[1]} cannot be compared: {name} has no score of {len(lacking)} utterances: "
                            f"{some(lacking)}; score both on the same utterances")
    changed = [utterance for utterance, each in ours.items() if each.slots is None and theirs[utterance].slots is None
               and each.reference != theirs[utterance].reference]
    if changed:
        raise DataError(f"{names[0]} and {names[1]} cannot be compared: the references of {len(changed)} utterances differ: "
                        f"{some(changed)}; score both against the same references")
    groups = [([each.words for each in group], [theirs[each.id].words for each in group]) for group in first.units.values()]
    counts = [(add(one), add(other)) for one, other in groups]
    # With alternations the two may have taken branches of different lengths: the mean counts.
    references = [(one.reference + other.reference) / 2 for one, other in counts]
    differences = [one.errors - other.errors for one, other in counts]
    matched = mapsswe(first.per_utterance, [theirs[each.id] for each in first.per_utterance])
    return Comparison(first, second, names, first.unit, len(counts), paired_bootstrap(differences, references), matched,
                      not any(differences), _detectable(differences, references))


def describe(comparison: Comparison) -> str:
    """What `asr compare` prints."""
    lines = []
    for name, scores in zip(comparison.names, (comparison.first, comparison.second)):
        low, high = (100 * edge for edge in scores.ci)
        lines.append(f"{name}: {scores.kaldi_line()}, 95 % interval [ {low:.2f}, {high:.2f} ]")
    boot, matched = comparison.bootstrap, comparison.segments
    low, high = (100 * edge for edge in boot.interval)
    few = " (few: take it as a rough one)" if comparison.units < _FEW_UNITS else ""
    lines += [
        f"difference {100 * comparison.difference:.2f} points ({comparison.names[0]} less {comparison.names[1]})",
        f"paired bootstrap over {comparison.units} {comparison.unit}s{few}: 95 % interval [ {low:.2f}, {high:.2f} ], "
        f"p {_p(boot.p)}; {comparison.names[1]} has fewer errors in {100 * boot.second_better:.1f} % of the drawn sets",
        f"MAPSSWE over {matched.segments} segments: z {matched.z:.3f}, p {_p(matched.p)}"]
    lines.append(f"normaliser {comparison.first.normalizer}, rules {comparison.first.rules}")
    return "\n".join([*lines, comparison.verdict]) + "\n"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values; rates are fractions, None stands for an infinite z."""
    boot, matched = comparison.bootstrap, comparison.segments
    first, second = comparison.first, comparison.second
    return {
        "names": list(comparison.names),
        "wer": [first.wer, second.wer], "errors": [first.errors, second.errors], "reference_words": first.reference_words,
        "utterances": first.utterances, "difference": comparison.difference, "detectable": comparison.detectable,
        "normalizer": {"name": first.normalizer.name, "version": first.normalizer.version},
        "rules": {"name": first.rules.name, "version": first.rules.version},
        "bootstrap": {"unit": comparison.unit, "units": comparison.units, "interval": list(boot.interval), "p": boot.p,
                      "second_better": boot.second_better, "confidence": CONFIDENCE, "replicates": REPLICATES, "seed": SEED},
        "mapsswe": {"segments": matched.segments, "mean": matched.mean, "deviation": matched.deviation,
                    "z": matched.z if abs(matched.z) < float("inf") else None, "p": matched.p},
        "better": comparison.better, "verdict": comparison.verdict,
    }


def write_comparison(comparison: Comparison, out_dir: str | Path) -> None:
    """Write ``utterances.tsv`` (errors of both in every utterance, the largest difference first) and ``compare.json``."""
    theirs = {each.id: each for each in comparison.second.per_utterance}
    rows = sorted(((one.words.errors - theirs[one.id].words.errors, one) for one in comparison.first.per_utterance),
                  key=lambda row: (-abs(row[0]), row[1].id))
    with atomic_open(Path(out_dir) / "utterances.tsv") as file:
        file.write("id\tspeaker\twords\terrors_a\terrors_b\tref\thyp_a\thyp_b\n")
        for _, one in rows:
            other = theirs[one.id]
            file.write("\t".join([one.id, one.speaker or "", str(one.words.reference), str(one.words.errors),
                                  str(other.words.errors), " ".join(one.reference), " ".join(one.hypothesis),
                                  " ".join(other.hypothesis)]) + "\n")
    write_text(Path(out_dir) / "compare.json", json.dumps(comparison_json(comparison), ensure_ascii=False, indent=1) + "\n")


def paired_bootstrap(differences: Sequence[float], references: Sequence[float]) -> PairedBootstrap:
    """The test of two systems, of each unit's difference of errors (first less second) and number of reference items."""
    import numpy as np

    rates = draw_rates(differences, references, REPLICATES, SEED)
    tail = 100 * outer_tail(LEVEL / 2, len(differences))
    low, high = np.percentile(rates, [tail, 100 - tail])
    below, above = float(np.mean(rates < 0)), float(np.mean(rates > 0))
    return PairedBootstrap((float(low), float(high)), _swapped(differences), above + (1 - above - below) / 2)


def _swapped(differences: Sequence[float]) -> float:
    """The p of `PairedBootstrap`. Units whose two systems differ as much, either way, are alike and drawn together."""
    import numpy as np

    sizes, how_many = np.unique(np.abs(np.asarray(differences, dtype=float)), return_counts=True)
    generator = np.random.default_rng(SEED)
    total, reached = abs(float(sum(differences))), 0
    step = max(1, _CELLS // len(sizes))
    for start in range(0, REPLICATES, step):
        kept = generator.binomial(how_many, 0.5, size=(min(step, REPLICATES - start), len(sizes)))  # (replicates, sizes)
        reached += int(np.sum(np.abs((2 * kept - how_many) @ sizes) >= total))
    return (reached + 1) / (REPLICATES + 1)


def _detectable(differences: Sequence[float], references: Sequence[float]) -> float | None:
    """The difference found with probability `POWER` at the level `LEVEL`, by the spread of the units' differences."""
    import numpy as np
    from scipy.special import stdtrit

    units = len(differences)
    against, weights = np.asarray(differences, dtype=float), np.asarray(references, dtype=float)
    if not against.any() or 2 * 0.5**units > LEVEL:  # even if one system were better in every unit
        return None
    residuals = against - weights * against.sum() / weights.sum()
    error = (units / (units - 1) * float(residuals @ residuals)) ** 0.5 / weights.sum()
    return float(error * (stdtrit(units - 1, 1 - LEVEL / 2) + stdtrit(units - 1, POWER)))


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"
