"""Make the data directories of the Free Spoken Digit Dataset from its 3,000 recordings.

    python recipes/fsdd/local/prepare.py --corpus FOLDER --out data/fsdd [--strings N] [--seed S]

train, dev, test
    The official split: index 0-4 of every digit and speaker is test (300), 5-49 is training (2,700). Of the training
    recordings, index 5-7 become dev (180), so that nothing is ever chosen on test.
loso/<speaker>/{train,dev,test}
    Leave one speaker out: test is all 500 recordings of the speaker; train and dev are the other five speakers' parts of
    the official train and dev. Dev is by utterance: five speakers are few, and holding a second one back would take a
    fifth of what the fold can learn about how voices differ. So dev only chooses among the checkpoints of a run.
tune/<speaker>/{train,dev,test}
    For choosing settings (augmentation, network) without looking at loso: as loso, without the speaker that follows in
    the alphabet too, and its test holds none of the official test recordings.

Training parts also hold strings of three to seven digits, put together from training recordings of one speaker with
pauses and small overlaps: single digits alone teach a recurrent network nothing about where words end. Recordings with
index 0-7 are in no string. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from asr import audio
from asr.corpus import Utterance
from asr.corpus.building import some, write_parts
from asr.corpus.recombine import compose
from asr.errors import AudioError, DataError, run_script
from asr.system import write_text

SAMPLE_RATE = 8000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INDICES = range(50)
TEST_INDICES = range(5)
DEV_INDICES = range(5, 8)
SHOWN = 10  # file names in one message

logger = logging.getLogger("asr")


@dataclass(frozen=True)
class Recording:
    """One spoken digit: who said it, which, the how-many-th time, and where it lies."""

    speaker: str
    digit: int
    index: int
    path: Path

    @property
    def id(self) -> str:
        return f"{self.speaker}-{self.digit}-{self.index:02d}"


def find_recordings(corpus: Path) -> list[Recording]:
    """The recordings of the corpus, by name; raises DataError that names and counts what is missing."""
    folder = corpus / "recordings" if (corpus / "recordings").is_dir() else corpus
    found = {path.name: path for path in folder.glob("*.wav")}
    expected = {f"{digit}_{speaker}_{index}.wav": (speaker, digit, index)
                for speaker, digit, index in product(SPEAKERS, range(10), INDICES)}
    others = sorted(found.keys() - expected.keys())
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise DataError(f"{folder}: {len(missing)} of {len(expected)} recordings are missing: {some(missing)}"
                        + (f"; {len(others)} files have names that are not of the corpus: {some(others)}" if others else "")
                        + "; names are <digit>_<speaker>_<index>.wav; give a whole copy with --corpus DIR, "
                          "or leave --corpus out to download it")
    if others:
        logger.warning("%s: %d files that are not of the corpus are left out: %s", folder, len(others), some(others))
    return [Recording(*expected[name], found[name].resolve()) for name in sorted(expected)]


def read_all(recordings: Iterable[Recording]) -> dict[str, np.ndarray]:
    """Recording id -> (N,) float32 samples at 8 kHz; raises DataError that names and counts every unreadable file."""
    samples, faults = {}, []
    for recording in recordings:
        try:
            samples[recording.id] = audio.load(recording.path, SAMPLE_RATE)
        except AudioError as error:
            faults.append(str(error))
    if faults:
        raise DataError(f"{len(faults)} recordings cannot be read:\n  " + "\n  ".join(faults[:SHOWN])
                        + (f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
                        + "\nput whole copies in their place, or leave --corpus out to download the corpus")
    return samples


# ------------------------------------------------------------------------------------------------------ strings


def make_strings(recordings: list[Recording], samples: dict[str, np.ndarray], folder: Path, count: int,
                 seed: int) -> dict[str, tuple[Utterance, Path]]:
    """Write ``count`` strings for each speaker under ``folder``; returns id -> (utterance, its wav file)."""
    made = {}
    for number, speaker in enumerate(SPEAKERS):
        mine = [[r for r in recordings if r.speaker == speaker and r.digit == digit] for digit in range(10)]
        for n in range(count):
            rng = np.random.default_rng([seed, number, n])
            digits = rng.integers(0, 10, size=rng.integers(3, 8)).tolist()
            chosen = [mine[digit][rng.integers(len(mine[digit]))] for digit in digits]
            string = compose([samples[recording.id] for recording in chosen], SAMPLE_RATE, rng)
            id = f"{speaker}-string-{n:04d}"
            path = folder / speaker / f"{id}.wav"
            audio.write(path, string, SAMPLE_RATE)
            text = " ".join(WORDS[digit] for digit in digits)
            made[id] = Utterance(id, id, speaker, text, duration=len(string) / SAMPLE_RATE), path
    for stale in set(folder.glob("*/*.wav")) - {path for _, path in made.values()}:
        stale.unlink()
    return made


# -------------------------------------------------------------------------------------------------- directories


def make_directories(out: Path, recordings: list[Recording], samples: dict[str, np.ndarray], strings: int,
                     seed: int) -> None:
    """Write every data directory below ``out``, the strings' audio among them."""
    singles = {r.id: Utterance(r.id, r.id, r.speaker, WORDS[r.digit], duration=len(samples[r.id]) / SAMPLE_RATE)
               for r in recordings}
    wav = {r.id: str(r.path) for r in recordings}
    training = [r for r in recordings if r.index not in TEST_INDICES and r.index not in DEV_INDICES]
    composed = make_strings(training, samples, (out / "strings").resolve(), strings, seed)
    wav |= {id: str(path) for id, (_, path) in composed.items()}

    train = [singles[r.id] for r in training] + [utterance for utterance, _ in composed.values()]
    dev = [singles[r.id] for r in recordings if r.index in DEV_INDICES]
    test = [singles[r.id] for r in recordings if r.index in TEST_INDICES]

    parts = {out / "train": train, out / "dev": dev, out / "test": test}
    for number, speaker in enumerate(SPEAKERS):
        following = SPEAKERS[(number + 1) % len(SPEAKERS)]
        own = [singles[r.id] for r in recordings if r.speaker == speaker]
        own_training = [singles[r.id] for r in recordings if r.speaker == speaker and r.index not in TEST_INDICES]
        for kind, held_out, tested in (("loso", {speaker}, own), ("tune", {speaker, following}, own_training)):
            parts[out / kind / speaker / "train"] = [u for u in train if u.speaker not in held_out]
            parts[out / kind / speaker / "dev"] = [u for u in dev if u.speaker not in held_out]
            parts[out / kind / speaker / "test"] = tested
    write_parts(parts, wav)


def prepare(corpus: Path, out: Path, strings: int, seed: int) -> None:
    """All of it; a second call with the same corpus and settings finds its own marker, written last, and does nothing."""
    recordings = find_recordings(corpus)
    marker = out / ".done"
    settings = json.dumps({"corpus": str(corpus.resolve()), "bytes": sum(r.path.stat().st_size for r in recordings),
                           "strings": strings, "seed": seed,
                           "script": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]})
    if marker.is_file() and marker.read_text(encoding="utf-8") == settings:
        logger.info("%s: already made from %s", out, corpus)
        return
    samples = read_all(recordings)
    marker.unlink(missing_ok=True)
    make_directories(out, recordings, samples, strings, seed)
    write_text(marker, settings)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with recordings/<digit>_<speaker>_<index>.wav")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--strings", type=int, default=250, help="digit strings to put together for each speaker")
    parser.add_argument("--seed", type=int, default=1, help="of the strings")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.strings, options.seed))


if __name__ == "__main__":
    sys.exit(main())
