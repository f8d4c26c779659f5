"""`asr decode --tune`: the weights of the search that make the fewest word errors on dev, and confidences that are true there.

The network runs once; its emissions are kept in memory, and every point of the grid is a search over them alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from asr.errors import DataError, ModelError, UsageError
from asr.models.storage import SpeechModel
from asr.scoring.align import CORRECT, ERRORS, align, pairs
from asr.system import atomic_path, write_text
from asr.transcription.calibration import Calibration, expected_calibration_error, fit_calibration
from asr.transcription.decoder import Decoder, DecoderOptions, Weights
from asr.transcription.directory import Heard
from asr.transcription.result import Result, spans_of

log = logging.getLogger("asr")

LM_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)
WORD_BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)
PRIOR_WEIGHTS = (0.0, 0.3)
BLANK_PENALTIES = (-0.5, 0.5, 1.0, 2.0)
ENOUGH_FOR_ISOTONIC = 5000  # words of dev from which a free curve is fitted to confidences, in place of two numbers
Watch = Callable[[Sequence[Weights]], Iterable[Weights]]


@dataclass(frozen=True)
class Emitted:
    """A batch of dev through the network: utterance ids, log-probabilities (B, T, V) and frames (B,) on the CPU."""

    ids: list[str]
    log_probs: Tensor
    frames: Tensor

    @classmethod
    def of(cls, batch: Heard) -> Emitted:
        return cls([utterance.id for utterance in batch.utterances], batch.emissions.log_probs, batch.emissions.frames)


@dataclass(frozen=True)
class Tuned:
    """The best weights; ``points`` are all that were tried, with their word errors among ``words`` of reference; and the prior of
    the tokens that their prior_weight is of."""

    weights: Weights
    points: list[tuple[Weights, int]]
    words: int
    prior: tuple[float, ...] | None = None


class Found(NamedTuple):
    """What a tuned.json has."""

    weights: Weights
    calibration: Calibration | None
    prior: tuple[float, ...] | None


def tune(decoder: Decoder, emitted: Sequence[Emitted], references: Mapping[str, str], watch: Watch = iter) -> Tuned:
    """Search the grid: the language model's weight by word bonus, without and with a part of the prior; the blank penalty there;
    half steps around it.

    Without a language model neither its weight nor the prior's is varied, without one and a lexicon nor is the word bonus.
    ``watch`` is given the points of each round and yields them on, to show how far the work is. Raises DataError where there is no
    word to count errors by.
    """
    options = decoder.options
    words = sum(len(references[name].split()) for batch in emitted for name in batch.ids)
    if not words:
        raise DataError("--tune: nothing to tune on: the utterances that could be read have no word in their transcripts")
    with_lm, with_words = options.lm is not None, options.lm is not None or options.lexicon is not None
    tried: dict[Weights, int] = {}

    def attempt(points: Iterable[Weights]) -> Weights:
        for point in watch([point for point in dict.fromkeys(points) if point not in tried]):
            tried[point] = word_errors(decoder.reweighted(point), emitted, references)
        return best_of(tried)

    if options.method == "greedy":
        return Tuned(options.weights, [(options.weights, word_errors(decoder, emitted, references))], words)
    prior = token_prior(emitted)
    decoder = decoder.with_prior(prior)
    coarse = product(LM_WEIGHTS if with_lm else (0.0,), WORD_BONUSES if with_words else (0.0,), (0.0,),
                     PRIOR_WEIGHTS if with_lm else (0.0,))
    best = attempt(Weights(*point) for point in coarse)
    best = attempt(replace(best, blank_penalty=penalty) for penalty in BLANK_PENALTIES)
    steps = product((-0.1, 0.0, 0.1) if with_lm else (0.0,), (-0.5, 0.0, 0.5) if with_words else (0.0,),
                    (-0.15, 0.0, 0.15) if best.prior_weight else (0.0,))
    best = attempt(replace(best, lm_weight=round(max(0.0, best.lm_weight + lm), 3), word_bonus=round(best.word_bonus + bonus, 3),
                           prior_weight=round(best.prior_weight + part, 3)) for lm, bonus, part in steps)
    return Tuned(best, list(tried.items()), words, prior if best.prior_weight else None)


def token_prior(emitted: Sequence[Emitted]) -> tuple[float, ...]:
    """ln of each token's mean posterior over the frames of dev, a tenth of a frame of each token added."""
    vocabulary = emitted[0].log_probs.shape[2]
    total = torch.full((vocabulary,), 0.1, dtype=torch.float64)
    for batch in emitted:
        for log_probs, frames in zip(batch.log_probs, batch.frames.tolist()):
            total += log_probs[:frames].double().exp().sum(dim=0)
    return tuple((total / total.sum()).log().tolist())


def best_of(tried: Mapping[Weights, int]) -> Weights:
    """The fewest errors; of equals the smallest weights, which change least."""
    return min(tried, key=lambda point: (tried[point], sum(map(abs, asdict(point).values())), *asdict(point).values()))


def word_errors(decoder: Decoder, emitted: Sequence[Emitted], references: Mapping[str, str]) -> int:
    """Insertions, deletions and substitutions of the best hypotheses."""
    found: dict[str, list[str]] = {}
    for batch in emitted:
        for name, hypotheses in zip(batch.ids, decoder(batch.log_probs, batch.frames)):
            found[name] = [text for text, _, _ in spans_of(hypotheses[0], decoder.tokenizer)]
    operations = align([references[name].split() for name in found], list(found.values()))
    return sum(letter in ERRORS for each in operations for letter in each)


def judged(results: Mapping[str, Result], references: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of every word of the results, (N,) float64, and whether it is right, (N,) bool."""
    names = [name for name in results if name in references]
    ours, theirs = [references[name].split() for name in names], [[word.text for word in results[name].words] for name in names]
    right = [letter == CORRECT for operations, reference, hypothesis in zip(align(ours, theirs), ours, theirs)
             for letter, _, heard in pairs(operations, reference, hypothesis) if heard is not None]
    return np.array([word.confidence for name in names for word in results[name].words]), np.array(right, bool)


def calibrate(results: Mapping[str, Result], references: Mapping[str, str]) -> tuple[Calibration | None, dict[str, Any]]:
    """The calibration that these results call for, and its effect on them; None where there is no word to learn from."""
    confidences, right = judged(results, references)
    if not len(right):
        log.warning("no words were decoded, so confidences are not calibrated")
        return None, {}
    calibration = fit_calibration(confidences, right, "isotonic" if len(right) >= ENOUGH_FOR_ISOTONIC else "temperature")
    return calibration, calibration_error(confidences, right, calibration)


def calibration_error(confidences: np.ndarray, right: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    """Expected calibration error (15 bins) before and after, as plain values."""
    return {"words": len(right), "right": int(right.sum()),
            "expected_calibration_error": {"before": round(expected_calibration_error(confidences, right), 5),
                                           "after": round(expected_calibration_error(calibration(confidences), right), 5)}}


# ------------------------------------------------------------------------------------------------------ files


def save_tuned(out: Path, tuned: Tuned, calibration: Calibration | None, confidence: dict[str, Any], settings: dict[str, Any],
               model: SpeechModel, data: str) -> None:
    """tuned.json (what `--tuned` reads), tuning.tsv (every point) and, of a beam search, tuning.png (the surface)."""
    write_text(out / "tuning.tsv", "lm_weight\tword_bonus\tblank_penalty\tprior_weight\terrors\twer\n" + "".join(
        f"{point.lm_weight:g}\t{point.word_bonus:g}\t{point.blank_penalty:g}\t{point.prior_weight:g}\t{errors}\t"
        f"{errors / tuned.words:.6f}\n"
        for point, errors in tuned.points))
    if len(tuned.points) > 1:
        draw_surface(tuned, out / "tuning.png")
    content = {"weights": asdict(tuned.weights), "prior": tuned.prior,
               "calibration": None if calibration is None else calibration.state(),
               "errors": dict(tuned.points)[tuned.weights], "words": tuned.words, "confidence": confidence, "data": data,
               "model": model.fingerprint, "settings": settings}
    write_text(out / "tuned.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def load_tuned(path: str | Path, model: SpeechModel) -> Found:
    """What was found on dev, of a tuned.json.

    Raises UsageError where the file cannot be read, DataError where it is no such file. Weights of another model are used, and
    that is said on the log.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        weights = Weights(**{name: float(value) for name, value in content["weights"].items()})
        calibration = None if content["calibration"] is None else Calibration.of(content["calibration"])
        prior = content.get("prior")
        prior = None if prior is None else tuple(map(float, prior))
        fingerprint = content["model"]
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ModelError) as error:
        raise DataError(f"{path}: not a tuned.json of `asr decode --tune` ({type(error).__name__}: {error})") from None
    if fingerprint != model.fingerprint:
        log.warning("%s was tuned with another model than %s; tune again for this one", path, model.path)
    return Found(weights, calibration, prior)


def with_tuned(options: DecoderOptions, path: str | Path | None, model: SpeechModel) -> DecoderOptions:
    """The options with the calibration and (for a beam search) the weights of a tuned.json; as they are without one."""
    if path is None:
        return options
    weights, calibration, prior = load_tuned(path, model)
    if options.method != "beam":
        return replace(options, calibration=calibration)
    return replace(options, calibration=calibration, weights=weights, prior=prior)


def draw_surface(tuned: Tuned, path: Path) -> None:
    """Word errors over the weight of the language model and the word bonus, and over the blank penalty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    best = tuned.weights
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    surface, penalties = figure.subplots(1, 2, width_ratios=(3, 2))
    rate = 100 / tuned.words
    grid = {(point.lm_weight, point.word_bonus): rate * errors for point, errors in tuned.points
            if point.blank_penalty == point.prior_weight == 0 and point.lm_weight in (*LM_WEIGHTS, 0.0)
            and point.word_bonus in WORD_BONUSES}
    across, up = sorted({weight for weight, _ in grid}), sorted({bonus for _, bonus in grid})
    values = np.array([[grid.get((weight, bonus), np.nan) for weight in across] for bonus in up])
    surface.imshow(values, origin="lower", aspect="auto", cmap="viridis_r")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(*values.shape):
        surface.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=8,
                     color="white" if values[row, column] > middle else "black")
    surface.set(xticks=range(len(across)), xticklabels=[f"{value:g}" for value in across], yticks=range(len(up)),
                yticklabels=[f"{value:g}" for value in up], xlabel="weight of the language model", ylabel="word bonus",
                title="WER on dev (%), no blank penalty, no prior")
    along = sorted((point.blank_penalty, rate * errors) for point, errors in tuned.points
                   if replace(point, blank_penalty=0.0) == _before_half_steps(tuned))
    penalties.plot(*zip(*along), marker="o", color="#1f5fa8")
    penalties.set(xlabel="blank penalty (nats)", ylabel="WER on dev (%)", ylim=(0, 1.15 * max(rate for _, rate in along) or 1),
                  title=f"best: {best.lm_weight:g}, {best.word_bonus:g}, {best.blank_penalty:g}; prior {best.prior_weight:g}")
    penalties.grid(alpha=0.25)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _before_half_steps(tuned: Tuned) -> Weights:
    """Where on the coarse grid the blank penalty was varied."""
    return next(replace(point, blank_penalty=0.0) for point, _ in tuned.points if point.blank_penalty)
