"""Make the data directories of the yes-no corpus from its 60 recordings.

    python recipes/yesno/local/prepare.py --corpus FOLDER --out data/yesno

The split is Kaldi's (egs/yesno/s5): the file names sorted, the first half training, the second half test; of the wav
files alone that is 30 and 30, so 240 words of test (Kaldi's own list also holds the two README files of the old archive,
which makes its test 232 words). Four training recordings become dev. Transcripts are the file names, 1 YES and 0 NO.

The order of the names is not fair: every training recording begins with NO, most test recordings with YES, and a network
that sees whole recordings learns that too. So training also gets parts of its recordings, cut in the pauses between
words: each single word, each pair and each half.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from asr import audio
from asr.corpus import Utterance
from asr.corpus.building import LeftOut, durations, some, write_parts
from asr.errors import DataError, run_script

NAME = re.compile(r"[01](_[01]){7}")
WORDS = {"0": "NO", "1": "YES"}
RECORDINGS = 60
DEV_EVERY = 8  # of the training recordings in order, the 4th, 12th, 20th and 28th are dev
SPEAKER = "global"

logger = logging.getLogger("asr")


def find_recordings(corpus: Path) -> dict[str, Path]:
    """Id (the file's name) -> path, sorted; raises DataError that names and counts what is wrong with the files."""
    folder = corpus / "waves_yesno" if (corpus / "waves_yesno").is_dir() else corpus
    paths = sorted(folder.glob("*.wav"), key=lambda path: path.name)
    foreign = [path.name for path in paths if not NAME.fullmatch(path.stem)]
    faults = [f"{len(foreign)} names are not eight of 0 and 1: {some(foreign)}"] if foreign else []
    if len(paths) - len(foreign) != RECORDINGS:
        faults.append(f"{len(paths) - len(foreign)} recordings, where the corpus has {RECORDINGS}")
    unreadable = LeftOut()
    durations({path.stem: path for path in paths}, unreadable, decode=True)
    if unreadable:
        faults.append(str(unreadable).strip())
    if faults:
        raise DataError(f"{folder}: " + "; ".join(faults)
                        + "\ngive a whole copy with --corpus DIR, or leave --corpus out to download it")
    return {path.stem: path.resolve() for path in paths}


def find_pauses(samples: np.ndarray, rate: int, words: int) -> list[float] | None:
    """The middles, in seconds, of the pauses between ``words`` words in (N,) samples; None where they cannot be told.

    Loudness varies from word to word, so the threshold is the first, from 15 dB below the loudest frame downwards, at
    which exactly that many stretches of speech stand out. Stretches less than 0.1 s apart are one word, and shorter
    than 0.08 s none.
    """
    from librosa.effects import split

    for threshold_db in range(15, 32):
        stretches: list[list[int]] = []
        for begin, end in split(samples, top_db=threshold_db, frame_length=512, hop_length=128).tolist():
            if stretches and begin - stretches[-1][1] < 0.1 * rate:
                stretches[-1][1] = end
            else:
                stretches.append([begin, end])
        stretches = [stretch for stretch in stretches if stretch[1] - stretch[0] >= 0.08 * rate]
        if len(stretches) == words:
            return [(before[1] + after[0]) / 2 / rate for before, after in pairwise(stretches)]
    return None


def parts_of(id: str, path: Path) -> list[Utterance]:
    """The recording whole, and its single words, pairs and halves where its pauses can be told."""
    words = [WORDS[mark] for mark in id.split("_")]
    samples, rate = audio.read(path)
    utterances = [Utterance(id, id, SPEAKER, " ".join(words), 0.0, len(samples) / rate)]
    pauses = find_pauses(samples, rate, len(words))
    if pauses is None:
        logger.warning("%s: its %d words cannot be told apart by loudness; used whole only", path, len(words))
        return utterances
    edges = [0.0, *pauses, len(samples) / rate]
    for length in (1, 2, 4):
        for first in range(0, len(words), length):
            utterances.append(Utterance(f"{id}-{length}{first}", id, SPEAKER, " ".join(words[first:first + length]),
                                        edges[first], edges[first + length]))
    return utterances


def prepare(corpus: Path, out: Path) -> None:
    """Write train, dev and test below ``out``."""
    recordings = find_recordings(corpus)
    ids = list(recordings)
    training, test = ids[:RECORDINGS // 2], ids[RECORDINGS // 2:]
    dev = training[DEV_EVERY // 2 - 1::DEV_EVERY]
    train = [utterance for id in training if id not in dev for utterance in parts_of(id, recordings[id])]
    whole = {id: Utterance(id, id, SPEAKER, " ".join(WORDS[mark] for mark in id.split("_"))) for id in ids}
    write_parts({out / "train": train, out / "dev": [whole[id] for id in dev], out / "test": [whole[id] for id in test]},
                recordings)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the wav files, or the one above it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out))


if __name__ == "__main__":
    sys.exit(main())
