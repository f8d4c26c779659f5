"""Which point of the grid of `asr decode --tune` to take: the one with the fewest errors, or the one around which they are fewest.

    python benchmarks/tuning.py --data data/commands/dev --lm exp/commands/lm.arpa.gz \\
        --model exp/commands/crnn_seed1/model.safetensors

Dev is divided in two, at random or by speaker; each half in turn chooses the weights, both ways, and the other counts the errors
they make. First the whole of dev must give the errors at every point, and the weights, that `tune` gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from asr.cli.progress import progress
from asr.corpus import DataDir
from asr.system import choose_threads
from asr.transcription.decoder import DecoderOptions, Weights
from asr.transcription.directory import open_inputs, walk
from asr.transcription.recognizer import Recognizer
from asr.transcription.tuning import Emitted, best_of, errors_by_utterance, grid, smoothed, token_prior, tune


def fewest(tried: dict[Weights, int]) -> Weights:
    """The point with the fewest errors of its own; of equals the smallest weights."""
    return best_of([point._replace(around=point.errors) for point in smoothed(tried)])


def around(tried: dict[Weights, int]) -> Weights:
    """What `tune` takes."""
    return best_of(smoothed(tried))


def halves(names: list[str], speakers: dict[str, str], divisions: int, rng: np.random.Generator, by_speaker: bool) -> np.ndarray:
    """(2 * divisions, names) bool: the half that chooses, and then the other."""
    groups = np.array([speakers[name] for name in names] if by_speaker else names)
    known = np.unique(groups)
    first = np.stack([np.isin(groups, rng.permutation(known)[:len(known) // 2]) for _ in range(divisions)])
    return np.concatenate([first, ~first])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="dev, with transcripts")
    parser.add_argument("--lm", type=Path)
    parser.add_argument("--lexicon", type=Path)
    parser.add_argument("--beam", type=int, default=16)
    parser.add_argument("--divisions", type=int, default=200, help="each gives two halves that choose")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(choose_threads())
    options = DecoderOptions("beam", beam=given.beam, lm=given.lm, lexicon=given.lexicon)
    recognizer = Recognizer.load(given.model, "cpu").with_options(options)
    data, failed = DataDir.load(given.data), {}
    inputs = open_inputs(recognizer.model, data, False)
    emitted = [Emitted.of(batch.on_cpu()) for batch in walk(recognizer.model, data, inputs, data.utterances, 120.0, iter, failed)]
    references = {utterance.id: recognizer.model.tokenizer.normalize(utterance.text or "") for utterance in data.utterances}
    names = [name for batch in emitted for name in batch.ids]
    speakers = {utterance.id: utterance.speaker for utterance in data.utterances}

    decoder, points = recognizer.decoder.with_prior(token_prior(emitted)), grid(options)
    found = [errors_by_utterance(decoder.reweighted(point), emitted, references) for point in progress(points, "points")]
    errors = np.array([[each[name] for name in names] for each in found])  # (points, utterances)
    known = tune(recognizer.decoder, emitted, references)
    assert [(point.weights, point.errors) for point in known.points] == list(zip(points, errors.sum(axis=1).tolist()))
    assert known.weights == around(dict(zip(points, errors.sum(axis=1).tolist())))
    print(f"{given.data}: {len(names)} utterances, {known.words} words, {len(set(speakers.values()))} speakers; {len(points)} "
          "points: the errors and the weights are those of `tune`; mean errors, in brackets the standard error over divisions")
    ways: dict[str, Callable[[dict[Weights, int]], Weights]] = {"fewest": fewest, "around": around}
    for by_speaker in (False, True):
        rng = np.random.default_rng(given.seed)
        here: dict[str, list[int]] = {name: [] for name in ways}
        there: dict[str, list[int]] = {name: [] for name in ways}
        least = []
        for half in halves(names, speakers, given.divisions, rng, by_speaker):
            sums, others = errors[:, half].sum(axis=1), errors[:, ~half].sum(axis=1)
            for name, way in ways.items():
                point = points.index(way(dict(zip(points, sums.tolist()))))
                here[name].append(sums[point])
                there[name].append(others[point])
            least.append(others.min())
        less = np.array(there["fewest"]) - np.array(there["around"])
        print(f"halves {'by speaker' if by_speaker else 'at random'}: "
              + "; ".join(f"{name} {np.mean(here[name]):.2f} where it was tuned, {np.mean(there[name]):.2f} on the other half"
                          for name in ways)
              + f"; {less.mean():.2f} less ({less.std() / len(less) ** 0.5:.2f}); least there can be {np.mean(least):.2f}")


if __name__ == "__main__":
    main()
