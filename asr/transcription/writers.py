"""Transcripts as text: what each format looks like. Nothing here touches a disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType
from typing import NamedTuple

from asr.errors import UsageError
from asr.transcription.result import Result, Word
from asr.transcription.subtitles import clock, cues, stretches

STM_PAUSE_S = 0.5  # a pause this long ends a segment
ONE_FIELD = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""How a path becomes one field of a table of tabs."""


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
    A channel without a word is a line with NIST's null word, ``@``, or scorers would miss the recording.
    """
    # Both ends are rounded, not the duration: words that touch must not overlap by a millisecond.
    rows = [(place.recording, place.channel, round(place.start + word.start, 3), round(place.start + word.end, 3), word)
            for key, result in results.items() for place in [places[key]]
            for word in (result.tokens if tokens else result.words) if not tokens or word.end > word.start]
    if not tokens:
        spoken = {row[:2] for row in rows}
        silent = {place[:2]: place.start for place in (places[key] for key in results) if place[:2] not in spoken}
        rows += [(*channel, start, start, Word("@", start, start, 0.0)) for channel, start in silent.items()]
    return "".join(f"{recording} {channel} {start:.3f} {end - start:.3f} {word.text} {word.confidence:.3f}\n"
                   for recording, channel, start, end, word in sorted(rows))


def nbest_jsonl(results: Mapping[str, Result], count: int) -> str:
    """A JSON object a line: ``id``, and ``nbest``, at most ``count`` transcripts with their scores, the best first."""
    rows = ({"id": key, "nbest": [alternative._asdict() for alternative in results[key].nbest[:count]]}
            for key in sorted(results))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def channel_label(channel: int | None) -> str:
    """A channel as NIST's formats name it: A, B, ...; 1 where there is but one, or all are averaged."""
    return "1" if channel is None else chr(ord("A") + channel) if channel < 26 else str(channel + 1)


# ------------------------------------------------------------------------------------------------- a transcribed item


class About(NamedTuple):
    """What a format says of a recording beside what was said in it."""

    file: str
    place: Place
    speaker: str
    channel: int | None = None
    settings: Mapping[str, object] = MappingProxyType({})
    """The model, how it decoded, and whatever else decides what the result is."""


def as_txt(about: About, result: Result) -> str:
    """The text and a newline."""
    return result.text + "\n"


def as_json(about: About, result: Result) -> str:
    """An object: ``file``, ``channel``, ``duration``, ``text``, ``words`` and ``tokens`` (text, start, end, confidence),
    ``nbest``, ``settings``."""
    content = {"file": about.file, "channel": about.channel, "duration": round(result.duration, 6), "text": result.text,
               "words": [_rounded(word) for word in result.words], "tokens": [_rounded(token) for token in result.tokens],
               "nbest": [{"text": each.text, "score": round(each.score, 4), "acoustic_score": round(each.acoustic_score, 4),
                          "lm_score": round(each.lm_score, 4)} for each in result.nbest],
               "settings": dict(about.settings)}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def as_srt(about: About, result: Result) -> str:
    """SubRip: numbered cues, ``HH:MM:SS,mmm``."""
    return "".join(f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n\n"
                   for number, cue in enumerate(cues(result.words, result.duration), start=1))


def as_vtt(about: About, result: Result) -> str:
    """WebVTT (W3C): ``&``, ``<`` and ``>`` are escaped, so no word can be taken for markup or an arrow."""
    return "WEBVTT\n\n" + "".join(
        f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n" + "\n".join(escape(line, quote=False) for line in cue.lines) + "\n\n"
        for cue in cues(result.words, result.duration))


def as_tsv(about: About, result: Result) -> str:
    """A header, and a row a word: ``file  channel  start  end  confidence  word``; times in seconds."""
    rows = [(about.file.translate(ONE_FIELD), about.place.channel, f"{word.start:.3f}", f"{word.end:.3f}",
             f"{word.confidence:.4f}", word.text) for word in result.words]
    return "".join("\t".join(row) + "\n" for row in [("file", "channel", "start", "end", "confidence", "word"), *rows])


def as_ctm(about: About, result: Result) -> str:
    """`ctm` of one recording."""
    return ctm({"": result}, {"": about.place})


def as_stm(about: About, result: Result) -> str:
    """NIST's STM: a line for each stretch of speech between pauses, ``recording channel speaker start end <o> words``.

    Where nothing was said, one line without words. The label is always there, or a first word in angle brackets would be
    taken for one. Braces and parentheses in words mean alternatives and optional words to readers of STM; it has no escape.
    """
    parts = stretches(result.words, STM_PAUSE_S)
    spans = [(part[0].start, part[-1].end, " ".join(word.text for word in part)) for part in parts] or [(0.0, result.duration, "")]
    recording, channel, offset = about.place
    return "".join(f"{recording} {channel} {about.speaker} {offset + start:.3f} {offset + end:.3f} <o> {text}".rstrip(" ") + "\n"
                   for start, end, text in spans)


FORMATS: dict[str, Callable[[About, Result], str]] = {
    "txt": as_txt, "json": as_json, "srt": as_srt, "vtt": as_vtt, "tsv": as_tsv, "ctm": as_ctm, "stm": as_stm}
"""The formats of a transcribed item, by the suffix they are written with."""


def parse_formats(text: str) -> list[str]:
    """``txt,json`` as a list without repeats; raises UsageError for a format that is not known."""
    formats = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"--format {text}: " + (f"unknown format {', '.join(unknown)}; " if unknown else "")
                         + f"choose from {', '.join(FORMATS)}")
    return formats


def _rounded(word: Word) -> dict[str, object]:
    return {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
            "confidence": round(word.confidence, 4)}
