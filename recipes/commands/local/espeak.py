"""espeak-ng through its C interface: text in, samples and the time of each word out.

The library is a single global machine, and what it says depends on what it said before (the flutter of a voice runs on
from one sentence to the next) and on the clock (it seeds the noise of breathing). So: one process for each speaker, its
sentences in a fixed order, and a seed of our own.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import AsrError, DataError

# Constants and structures of espeak-ng's speak_lib.h.
SYNCHRONOUS, PHONEME_EVENTS = 2, 1
RATE, VOLUME, PITCH, RANGE, WORDGAP = 1, 2, 3, 4, 7
LIST_TERMINATED, WORD, END, PHONEME = 0, 1, 5, 7
CHARS_UTF8 = 1

# The number of phonemes of words that espeak joins to the one before ("in the", "at a") and reports together with it.
CLITICS = {"the": 2, "a": 1, "an": 2}


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", _Id))


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Speech:
    """Samples (N,) float32 in [-1, 1], their rate in Hz, and (word, first sample, sample past the last) for each word."""

    samples: np.ndarray
    sample_rate: int
    words: list[tuple[str, int, int]]


class Espeak:
    """The synthesiser of this process."""

    def __init__(self, seed: int) -> None:
        """Raises AsrError where the library or its voices cannot be loaded."""
        import espeakng_loader

        self.data = Path(espeakng_loader.get_data_path())
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise AsrError(f"espeak-ng cannot be loaded: {error}; reinstall the package espeakng-loader") from None
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, str(self.data).encode(), PHONEME_EVENTS)
        if self.sample_rate <= 0:
            raise AsrError(f"espeak-ng finds no voices in {self.data}; reinstall the package espeakng-loader")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._blocks: list[bytes] = []
        self._events: list[tuple[int, int, int, bytes]] = []  # type, place in the text, sample, phoneme
        self._callback = _CALLBACK(self._receive)  # kept here: ctypes does not keep it alive
        self._library.espeak_SetSynthCallback(self._callback)

    def choose(self, accent: str, voice: str) -> None:
        """Speak as this voice (a file of espeak's `voices/!v`) in this accent (a file of its `lang`) from now on."""
        # espeak passes over a variant it does not know, and would speak as another voice than the name says.
        if not (self.data / "voices" / "!v" / voice).is_file():
            raise DataError(f"voices.yaml: espeak-ng has no voice `{voice}`")
        if self._library.espeak_SetVoiceByName(f"{accent}+{voice}".encode()) != 0:
            raise DataError(f"voices.yaml: espeak-ng has no accent `{accent}`")

    def say(self, text: str, rate: int, pitch: int, range: int) -> Speech:
        """Speak at ``rate`` words a minute, with pitch and its range from 0 to 100 (the voice's own: 50)."""
        # At full volume half of the voices run into the end of the range, where the waveform is cut; at this none does.
        for parameter, value in ((RATE, rate), (VOLUME, 20), (PITCH, pitch), (RANGE, range), (WORDGAP, 0)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        self._events.clear()
        content = text.encode() + b"\0"
        self._library.espeak_Synth(content, len(content), 0, 1, 0, CHARS_UTF8, None, None)
        samples = np.frombuffer(b"".join(self._blocks), np.int16).astype(np.float32) / 32768
        return Speech(samples, self.sample_rate, self._words(text.split(), len(samples)))

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        place = 0
        while events[place].type != LIST_TERMINATED:
            event = events[place]
            phoneme = event.id.string if event.type == PHONEME else b""
            self._events.append((event.type, event.text_position, event.sample, phoneme))
            place += 1
        return 0  # go on

    def _words(self, words: list[str], end: int) -> list[tuple[str, int, int]]:
        """Where each word lies, from the events: a word event says where in the text (from 1) it begins, and when."""
        places = np.cumsum([1] + [len(word) + 1 for word in words[:-1]]).tolist()
        heard: list[tuple[int, int, list[int]]] = []  # place in the text, first sample, where the phonemes begin
        pauses = []
        for kind, place, sample, phoneme in self._events:
            if kind == WORD:
                heard.append((place, sample, []))
            elif kind == END or phoneme.startswith(b"_"):
                pauses.append(sample)
            elif kind == PHONEME and heard:
                heard[-1][2].append(sample)
        for index in range(1, len(heard)):
            place, sample, phonemes = heard[index]
            # Between a nasal or a liquid and a vowel espeak tells of the new word before the old one's last sound.
            if phonemes and heard[index - 1][2] and heard[index - 1][2][-1] >= sample:
                heard[index] = (place, phonemes[0], phonemes)
        starts: dict[int, int] = {}
        for (place, sample, phonemes), following in zip(heard, [*heard[1:], (1 << 30, end, [])]):
            joined = [index for index, at in enumerate(places) if place <= at < following[0]]
            for index, start in zip(joined, _parts([words[i] for i in joined], sample, phonemes)):
                starts[index] = start
        if sorted(starts) != list(range(len(words))):
            raise AsrError(f"espeak-ng reports no times for some words of `{' '.join(words)}`; phrase it otherwise")
        bounds = [starts[index] for index in range(len(words))] + [end]
        return [(word, first, min([p for p in pauses if first < p < past], default=past))
                for word, first, past in zip(words, bounds, bounds[1:])]


def _parts(words: list[str], start: int, phonemes: list[int]) -> list[int]:
    """First samples of words that share one event, by the number of phonemes each has, counted from the last word."""
    starts: list[int] = []
    left = list(phonemes)
    for word, before in zip(reversed(words[1:]), range(len(words) - 1, 0, -1)):
        share = CLITICS.get(word, max(1, len(left) // (before + 1)))
        share = min(share, len(left) - before)
        if share < 1:
            return []
        starts.append(left[-share])
        left = left[:-share]
    return [start, *reversed(starts)]
