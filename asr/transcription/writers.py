"""Transcripts as text: what each format looks like. Nothing here touches a disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from asr.transcription.result import Result, Word


class Place(NamedTuple):
    """Where an utterance lies: CTM times count from the start of the recording, not of the utterance."""

    recording: str
    channel: str
    start: float


def kaldi_text(results: Mapping[str, Result]) -> str:
    """Kaldi's ``text``: a line an utterance, its id and its words, sorted in C order; the id alone where there are none."""
    # Python sorts by code point, which is the order of the UTF-8 bytes, and so C order.
    return "".join(f"{key} {results[key].text}".rstrip(" ") + "\n" for key in sorted(results))


def ctm(results: Mapping[str, Result], places: Mapping[str, Place], tokens: bool = False) -> str:
    """NIST's CTM: ``recording channel start duration word confidence``, sorted by recording, channel and time.

    ``tokens``: of the model's tokens in place of words; those without any length, spaces between words, are left out.
    """
    # Both ends are rounded, not the duration: words that touch must not overlap by a millisecond.
    rows = [(place.recording, place.channel, round(place.start + word.start, 3), round(place.start + word.end, 3), word)
            for key, result in results.items() for place in [places[key]]
            for word in (result.tokens if tokens else result.words) if not tokens or word.end > word.start]
    return "".join(f"{recording} {channel} {start:.3f} {end - start:.3f} {word.text} {word.confidence:.3f}\n"
                   for recording, channel, start, end, word in sorted(rows))


def nbest_jsonl(results: Mapping[str, Result], count: int) -> str:
    """A JSON object a line: ``id``, and ``nbest``, at most ``count`` transcripts with their scores, the best first."""
    rows = ({"id": key, "nbest": [alternative._asdict() for alternative in results[key].nbest[:count]]}
            for key in sorted(results))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_txt(path: Path, result: Result) -> str:
    """The text and a newline."""
    return result.text + "\n"


def as_json(path: Path, result: Result) -> str:
    """An object: ``file``, ``duration``, ``text``, ``words`` and ``tokens`` (text, start, end, confidence), ``nbest``."""
    content = {"file": str(path), "duration": round(result.duration, 6), "text": result.text,
               "words": [_rounded(word) for word in result.words], "tokens": [_rounded(token) for token in result.tokens],
               "nbest": [alternative._asdict() for alternative in result.nbest]}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Path, Result], str]] = {"txt": as_txt, "json": as_json}
"""The formats of a transcribed file, by the suffix they are written with."""


def _rounded(word: Word) -> dict[str, object]:
    return {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
            "confidence": round(word.confidence, 4)}
