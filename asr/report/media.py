"""Sound, spectrogram, word times and CTC posteriors of utterances, for the page to show on demand."""

from __future__ import annotations

import base64
import io
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.errors import AsrError, AudioError, DataError, UsageError
from asr.report.gather import System, TestSet
from asr.scoring.formats import Timed, read_ctm

if TYPE_CHECKING:
    import numpy as np

    from asr.transcription import Recognizer

logger = logging.getLogger("asr")
Watch = Callable[[Sequence[str]], Iterable[str]]

RATE = 16_000  # Hz of the sound on the page
FLOOR = 0.05  # posteriors below this are not shown
_MELS, _WINDOW, _HOP = 80, 400, 160
_RANGE_DB = 70.0


class Media:
    """The media of one test set, of utterances as they are asked for.

    Sound comes from the data directory that was decoded (decode.json) or ``data``; posteriors from the model of each system,
    where its file is still the one that decoded. ``notes`` says what is not there, and why.
    """

    def __init__(self, test_set: TestSet, data: str | Path | None = None):
        self.notes: list[str] = []
        self.data = self._open(test_set, data)
        self.utterances: dict[str, Utterance] = {} if self.data is None else {each.id: each for each in self.data.utterances}
        self.words = [self._word_times(system) for system in test_set.systems] if self.data is not None else []
        self.recognizers = [self._recognizer(system) for system in test_set.systems] if self.data is not None else []

    def of(self, utterance: str) -> str | None:
        """A JSON object: ``audio`` and ``picture`` (data URLs), ``seconds``, and of each system ``words`` (text, start, end) and
        ``posteriors``; None where the sound cannot be had."""
        if self.data is None or utterance not in self.utterances:
            return None
        known = self.utterances[utterance]
        try:
            samples = self.data.audio(known, RATE)
            content = {"audio": _url("audio/flac", _flac(samples)), "picture": _url("image/png", spectrogram(samples)),
                       "seconds": round(len(samples) / RATE, 3),
                       "words": [self._words(times, known) for times in self.words],
                       "posteriors": [None if recognizer is None else posteriors(recognizer, self.data.audio(
                           known, recognizer.sample_rate)) for recognizer in self.recognizers]}
        except (AudioError, DataError) as error:
            logger.warning("no sound of %s: %s", utterance, error)
            return None
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def seconds(self, utterance: str) -> float:
        """How long the sound is; 0 where that cannot be had."""
        try:
            return self.data.duration(self.utterances[utterance]) if self.data is not None else 0.0
        except (AudioError, DataError, KeyError):
            return 0.0

    def _open(self, test_set: TestSet, data: str | Path | None) -> DataDir | None:
        paths = [data] if data is not None else \
            [path for path in dict.fromkeys(system.decoding.get("data") for system in test_set.systems) if path]
        for path in paths:
            if Path(path).is_dir():
                try:
                    return DataDir.load(path)
                except DataError as error:
                    self.notes.append(f"No sound: {error}")
                    return None
        self.notes.append("No sound: " + (f"{paths[0]} is not here" if paths else "no decode.json names the data directory")
                          + "; name it with --data.")
        return None

    def _word_times(self, system: System) -> Timed:
        file = system.folder / "words.ctm"
        try:
            return read_ctm(file)
        except (UsageError, DataError) as error:
            self.notes.append(f"No word times of {system.name}: {error}")
            return {}

    def _recognizer(self, system: System) -> Recognizer | None:
        from asr.transcription import Recognizer

        named = system.decoding.get("model") or {}
        path = named.get("path") if isinstance(named, dict) else None
        if not path or not Path(path).is_file():
            self.notes.append(f"No posteriors of {system.name}: " + (f"{path} is not here." if path else "no model is named."))
            return None
        try:
            recognizer = Recognizer.load(path, device="cpu")
        except AsrError as error:
            self.notes.append(f"No posteriors of {system.name}: {error}")
            return None
        if recognizer.model.fingerprint != named.get("fingerprint"):
            self.notes.append(f"No posteriors of {system.name}: {path} is another model than the one that decoded.")
            return None
        if recognizer.model.config.features.cmvn == "speaker":
            self.notes.append(f"Posteriors of {system.name}: normalised by each utterance's own statistics, not its speaker's.")
        return recognizer

    def _words(self, times: Timed, utterance: Utterance) -> list[tuple[str, float, float]]:
        from asr.transcription.directory import place_of

        place = place_of(self.data, utterance)
        end = utterance.end if utterance.end is not None else float("inf")
        return [(word.word, round(word.start - utterance.start, 3), round(word.start + word.duration - utterance.start, 3))
                for word in times.get((place.recording, place.channel), ())
                if utterance.start <= word.start + word.duration / 2 < end]


def spectrogram(samples: np.ndarray) -> bytes:
    """A PNG of the log-mel spectrogram of (N,) samples at `RATE`: a column a hundredth of a second, low frequencies below."""
    import librosa
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    power = librosa.feature.melspectrogram(y=padded, sr=RATE, n_fft=512, win_length=_WINDOW, hop_length=_HOP, n_mels=_MELS)
    level = librosa.power_to_db(power, ref=np.max, top_db=_RANGE_DB)  # (mels, frames), 0 dB the loudest
    steps = np.round(255 * (1 + level / _RANGE_DB)).astype(np.uint8)[::-1]
    image = Image.fromarray(np.ascontiguousarray(steps))
    image.putpalette(np.round(255 * colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8).tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return content.getvalue()


def posteriors(recognizer: Recognizer, samples: np.ndarray) -> dict[str, Any]:
    """``step``: seconds of an output frame; ``runs``: token, first frame, and its probability (%) in each frame of the run."""
    import numpy as np

    log_probs, frames = recognizer.log_probs([samples])
    probabilities = np.exp(log_probs[0, :int(frames[0])].numpy())  # (T, V)
    tokens = recognizer.model.tokenizer.tokens
    runs = []
    for token in np.flatnonzero((probabilities[:, 1:] >= FLOOR).any(axis=0)) + 1 if len(probabilities) else ():
        heard = np.flatnonzero(probabilities[:, token] >= FLOOR)
        for run in np.split(heard, np.flatnonzero(np.diff(heard) > 1) + 1):
            runs.append((_shown(tokens[token]), int(run[0]), [round(100 * float(each)) for each in probabilities[run, token]]))
    return {"step": recognizer.model.seconds_per_frame, "runs": sorted(runs, key=lambda run: run[1])}


def within(budget: float, names: Sequence[str], media: Media, watch: Watch = iter) -> Iterator[tuple[str, str]]:
    """The media of utterances in this order, as far as the budget, in bytes, has room for each; of how many it has not is noted."""
    prepared, heard = 0, 0.0  # bytes, and seconds of sound, that tell how large the next will be
    left_out = 0
    for name in watch(names):
        seconds = media.seconds(name)
        if seconds * prepared > budget * heard:  # not worth preparing
            left_out += 1
            continue
        content = media.of(name)
        if content is None:
            continue
        size = len(content.encode("utf-8"))
        prepared, heard = prepared + size, heard + seconds
        if size > budget:
            left_out += 1
            continue
        budget -= size
        yield name, content
    if left_out:
        media.notes.append(f"No sound of {left_out} of {len(names)} utterances: --max-mb has no room for it.")


def _shown(token: str) -> str:
    return "\u2423" if token == " " else token.replace("\u2581", "\u2423")


def _flac(samples: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        audio.write(Path(folder) / "a.flac", samples, RATE)
        return (Path(folder) / "a.flac").read_bytes()


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
