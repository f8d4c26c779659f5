"""`asr decode --tune`: the weights of the search around which word errors on dev are fewest, and confidences that are true there.

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
WORD_BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
LEXICON_BONUSES = (-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0)  # without a language model a word costs nothing else
PRIOR_WEIGHTS = (0.0, 0.3)
BLANK_PENALTIES = (-0.5, 0.0, 0.5, 1.0, 2.0)
ALIKE = (0.25, 1.0, 1.0, 0.3)  # differences of each of `Weights` at which two points still say much of each other
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


class Point(NamedTuple):
    """A point of the grid: the weights, their word errors on dev, and the mean of those of all points, weighted by likeness."""

    weights: Weights
    errors: int
    around: float


@dataclass(frozen=True)
class Tuned:
    """The best weights; ``points`` are all that were tried, with their word errors among ``words`` of reference; and the prior of
    the tokens that their prior_weight is of."""

    weights: Weights
    points: list[Point]
    words: int
    prior: tuple[float, ...] | None = None

    @property
    def errors(self) -> int:
        """Word errors of the best weights."""
        return next(point.errors for point in self.points if point.weights == self.weights)


class Found(NamedTuple):
    """What a tuned.json has."""

    weights: Weights
    calibration: Calibration | None
    prior: tuple[float, ...] | None
    settings: dict[str, Any]
    """How the decode was done that they were found by (`DecoderOptions.settings`)."""


def tune(decoder: Decoder, emitted: Sequence[Emitted], references: Mapping[str, str], watch: Watch = iter) -> Tuned:
    """Count word errors at every point of the grid, and take the best.

    With a language model: its weight by word bonus, without and with a part of the prior (which the blank has as well, so its
    penalty is left alone). Without one: the blank penalty, with a lexicon by word bonus. ``watch`` is given the points and yields
    them on, to show how far the work is. Raises DataError where there is no word to count errors by.
    """
    options = decoder.options
    words = sum(len(references[name].split()) for batch in emitted for name in batch.ids)
    if not words:
        raise DataError("--tune: nothing to tune on: the utterances that could be read have no word in their transcripts")
    if options.method == "greedy":
        return Tuned(options.weights, smoothed({options.weights: word_errors(decoder, emitted, references)}), words)
    prior = token_prior(emitted)
    decoder = decoder.with_prior(prior)
    points = smoothed({point: word_errors(decoder.reweighted(point), emitted, references) for point in watch(grid(options))})
    best = best_of(points)
    return Tuned(best, points, words, prior if best.prior_weight else None)


def grid(options: DecoderOptions) -> list[Weights]:
    """The points that are tried for a beam search with these options."""
    none = (0.0,)
    if options.lm is not None:
        axes = LM_WEIGHTS, WORD_BONUSES, none, PRIOR_WEIGHTS
    else:
        axes = none, none if options.lexicon is None else LEXICON_BONUSES, BLANK_PENALTIES, none
    return [Weights(*values) for values in product(*axes)]


def token_prior(emitted: Sequence[Emitted]) -> tuple[float, ...]:
    """ln of each token's mean posterior over the frames of dev, a tenth of a frame of each token added."""
    vocabulary = emitted[0].log_probs.shape[2]
    total = torch.full((vocabulary,), 0.1, dtype=torch.float64)
    for batch in emitted:
        for log_probs, frames in zip(batch.log_probs, batch.frames.tolist()):
            total += log_probs[:frames].double().exp().sum(dim=0)
    return tuple((total / total.sum()).log().tolist())


def smoothed(tried: Mapping[Weights, int]) -> list[Point]:
    """The points with the errors around each: a mean over all of them, those that are alike counting most (Nadaraya and Watson's
    kernel regression, with a Gaussian of widths `ALIKE`).

    A dev set has few errors, and of a hundred points the one with the fewest is to a good part lucky: one that stands among
    equally good ones makes fewer errors on other data (docs/decoding.md has figures).
    """
    places = np.array([list(asdict(point).values()) for point in tried]) / ALIKE
    likeness = np.exp(-0.5 * np.square(places[:, None] - places[None]).sum(axis=2))
    around = likeness @ np.array(list(tried.values()), np.float64) / likeness.sum(axis=1)
    return [Point(weights, errors, float(mean)) for (weights, errors), mean in zip(tried.items(), around)]


def best_of(points: Iterable[Point]) -> Weights:
    """The fewest errors around; of equals the smallest weights, which change least."""
    return min(points, key=lambda point: (round(point.around, 6), sum(map(abs, asdict(point.weights).values())),
                                          *asdict(point.weights).values())).weights


def word_errors(decoder: Decoder, emitted: Sequence[Emitted], references: Mapping[str, str]) -> int:
    """Insertions, deletions and substitutions of the best hypotheses."""
    return sum(errors_by_utterance(decoder, emitted, references).values())


def errors_by_utterance(decoder: Decoder, emitted: Sequence[Emitted], references: Mapping[str, str]) -> dict[str, int]:
    """Word errors of each utterance's best hypothesis."""
    found: dict[str, list[str]] = {}
    for batch in emitted:
        for name, hypotheses in zip(batch.ids, decoder(batch.log_probs, batch.frames)):
            found[name] = [text for text, _, _ in spans_of(hypotheses[0], decoder.tokenizer)]
    operations = align([references[name].split() for name in found], list(found.values()))
    return {name: sum(letter in ERRORS for letter in each) for name, each in zip(found, operations)}


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
    write_text(out / "tuning.tsv", "lm_weight\tword_bonus\tblank_penalty\tprior_weight\terrors\twer\twer_around\n" + "".join(
        "\t".join(f"{value:g}" for value in asdict(weights).values())
        + f"\t{errors}\t{errors / tuned.words:.6f}\t{around / tuned.words:.6f}\n" for weights, errors, around in tuned.points))
    if len(tuned.points) > 1:
        draw_surface(tuned, out / "tuning.png")
    content = {"weights": asdict(tuned.weights), "prior": tuned.prior,
               "calibration": None if calibration is None else calibration.state(),
               "errors": tuned.errors, "words": tuned.words, "confidence": confidence, "data": data,
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
        fingerprint, settings = content["model"], dict(content.get("settings", {}))
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ModelError) as error:
        raise DataError(f"{path}: not a tuned.json of `asr decode --tune` ({type(error).__name__}: {error})") from None
    if fingerprint != model.fingerprint:
        log.warning("%s was tuned with another model than %s; tune again for this one", path, model.path)
    return Found(weights, calibration, prior, settings)


def with_tuned(options: DecoderOptions, path: str | Path | None, model: SpeechModel) -> DecoderOptions:
    """The options with the calibration and (for a beam search) the weights of a tuned.json; as they are without one.

    Raises as `load_tuned`, and UsageError where the weight of a language model has none to weigh, or the language model no weight.
    What else this search has in another way than the tuned one is said on the log.
    """
    if path is None:
        return options
    found = load_tuned(path, model)
    _compare(found, options, path)
    if options.method != "beam":
        return replace(options, calibration=found.calibration)
    return replace(options, calibration=found.calibration, weights=found.weights, prior=found.prior)


def _compare(found: Found, options: DecoderOptions, path: str | Path) -> None:
    weight = found.weights.lm_weight
    if options.method == found.settings.get("method", "beam") == "beam":
        if weight and options.lm is None:
            raise UsageError(f"{path}: was tuned with a language model (lm_weight {weight:g}); name it with --lm, or tune without "
                             "one")
        if not weight and options.lm is not None and found.settings.get("lm", "") is None:
            raise UsageError(f"{path}: was tuned without a language model, and gives it no weight; leave out --lm, or tune with it")
    tuned, given = map(_kind, (found.settings, options.settings()))
    others = [f"{name} {value}, not {given[name]}" for name, value in tuned.items() if given.get(name, value) != value]
    if others:
        log.warning("%s was tuned for another search (%s); tune again for this one", path, "; ".join(others))


def _kind(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What, beside the language model, decides what a search's weights are good for."""
    kind = {name: settings[name] for name in ("method", "lm_unit") if name in settings}
    return kind | {"lexicon": "none" if settings["lexicon"] is None else "given"} if "lexicon" in settings else kind


def draw_surface(tuned: Tuned, path: Path) -> None:
    """Word errors over the weight of the language model, or the blank penalty, and the word bonus; a panel a prior_weight."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    best, rate = tuned.weights, 100 / tuned.words
    name = "lm_weight" if any(weights.lm_weight for weights, _, _ in tuned.points) else "blank_penalty"
    priors = sorted({weights.prior_weight for weights, _, _ in tuned.points})
    surfaces = [{(getattr(weights, name), weights.word_bonus): rate * errors for weights, errors, _ in tuned.points
              if weights.prior_weight == prior} for prior in priors]
    across, up = (sorted(set(values)) for values in zip(*surfaces[0]))
    figure = Figure(figsize=(0.7 * len(across) * len(surfaces) + 1.2, 0.55 * len(up) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    low, high = np.quantile([value for surface in surfaces for value in surface.values()], (0, 0.8))  # the worst take one
    for axes, surface, prior in zip(figure.subplots(1, len(surfaces), sharey=True, squeeze=False)[0], surfaces, priors):
        values = np.array([[surface[weight, bonus] for weight in across] for bonus in up])
        axes.imshow(values, origin="lower", aspect="auto", cmap="viridis_r", vmin=low, vmax=high)
        for row, column in np.ndindex(*values.shape):
            axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if values[row, column] > (low + high) / 2 else "black")
        axes.set(xticks=range(len(across)), xticklabels=[f"{value:g}" for value in across], yticks=range(len(up)),
                 yticklabels=[f"{value:g}" for value in up], title=f"prior_weight {prior:g}" if len(surfaces) > 1 else "",
                 xlabel="weight of the language model" if name == "lm_weight" else "blank penalty (nats)")
        if prior == best.prior_weight:
            axes.add_patch(Rectangle((across.index(getattr(best, name)) - 0.5, up.index(best.word_bonus) - 0.5), 1, 1, fill=False,
                                     edgecolor="#d62728", linewidth=2.5))
    figure.axes[0].set(ylabel="word bonus")
    figure.suptitle("WER on dev (%); framed: the weights around which it is lowest", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
