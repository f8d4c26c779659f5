"""Praat's TextGrid: what was said when, on tiers beside the sound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from asr.corpus import Utterance
from asr.transcription.result import Result, Word


class Tier(NamedTuple):
    """Intervals of a tier, none of which overlap, sorted: start and end in seconds, and the label."""

    name: str
    intervals: list[tuple[float, float, str]]


def textgrid(tiers: Sequence[Tier], duration: float) -> str:
    """A TextGrid in Praat's long text format. A tier covers all of 0..duration: what lies between labels has none."""
    duration = round(duration, 6)  # as it is written
    filled = [(tier.name, _filled(tier.intervals, duration)) for tier in tiers]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(duration)}",
             "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(filled, start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}", "        xmin = 0",
                  f"        xmax = {_seconds(duration)}", f"        intervals: size = {len(intervals)}"]
        for index, (start, end, label) in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {_seconds(start)}",
                      f"            xmax = {_seconds(end)}", f"            text = {_quoted(label)}"]
    return "\n".join(lines) + "\n"


def recording_tiers(utterances: Iterable[Utterance], results: Mapping[str, Result]) -> list[Tier]:
    """Tiers ``words`` and ``tokens`` for a recording's utterances, in the recording's time.

    Where several speak, each has two tiers, ``SPEAKER words`` and ``SPEAKER tokens``; where utterances of one speaker
    overlap, those that do not fit go to tiers of their own, numbered.
    """
    ordered = sorted(utterances, key=lambda utterance: (utterance.speaker, utterance.start, utterance.id))
    names = {utterance.speaker: f"{utterance.speaker} " for utterance in ordered}
    if len(names) == 1:
        names = dict.fromkeys(names, "")
    layers: list[tuple[str, float, Tier, Tier]] = []  # speaker, end of the last utterance, words, tokens
    for utterance in ordered:
        result, name = results[utterance.id], names[utterance.speaker]
        mine = [index for index, layer in enumerate(layers) if layer[0] == utterance.speaker]
        free = next((index for index in mine if layers[index][1] <= utterance.start), None)
        if free is None:
            free, number = len(layers), f" {len(mine) + 1}" if mine else ""
            layers.append((utterance.speaker, 0.0, Tier(f"{name}words{number}", []), Tier(f"{name}tokens{number}", [])))
        speaker, _, words, tokens = layers[free]
        words.intervals.extend(_moved(result.words, utterance.start))
        tokens.intervals.extend(_moved(result.tokens, utterance.start))
        layers[free] = (speaker, utterance.start + result.duration, words, tokens)
    return [tier for _, _, words, tokens in layers for tier in (words, tokens)]


def _moved(items: Sequence[Word], start: float) -> list[tuple[float, float, str]]:
    return [(start + item.start, start + item.end, item.text) for item in items]


def _filled(intervals: Sequence[tuple[float, float, str]], duration: float) -> list[tuple[float, float, str]]:
    """Contiguous intervals of the rounded times; one that has no length is left out."""
    found: list[tuple[float, float, str]] = []
    at = 0.0
    for start, end, label in intervals:
        start, end = max(at, round(start, 4)), min(round(end, 4), duration)
        if end <= start:
            continue
        if start > at:
            found.append((at, start, ""))
        found.append((start, end, label))
        at = end
    if at < duration or not found:
        found.append((at, duration, ""))
    return found


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def _quoted(label: str) -> str:
    return '"' + label.replace('"', '""') + '"'
