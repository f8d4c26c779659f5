"""References and their hypotheses, utterance by utterance: by id, or by time where the hypotheses are words with times.

A scorer must not forgive: every reference has its hypothesis and every hypothesis its reference, or it is an error that
names the utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack

from asr.errors import DataError, UsageError
from asr.scoring.formats import Columns, Segment, Timed, Transcripts, format_of, read_ctm, read_stm, read_texts

Texts = Mapping[str, str] | str | Path

_IGNORE = "IGNORE_TIME_SEGMENT_IN_SCORING"


@dataclass(frozen=True)
class Pairs:
    """Utterances to score, in the order of the references.

    Attributes:
        missing: references (or recordings) without a hypothesis, left out; only where that was allowed.
        columns: what is known of the utterances, by name of the column and id.
        nist: whether the references are in NIST's notation.
    """

    ids: list[str]
    references: list[str]
    hypotheses: list[str]
    missing: list[str]
    columns: Columns
    nist: bool


def pair(ref: Texts, hyp: Texts, ref_format: str | None = None, hyp_format: str | None = None,
         partial: bool = False) -> Pairs:
    """Read both sides and pair them; arguments and errors as for `asr.scoring.score`."""
    names = _name(ref, "the reference"), _name(hyp, "the hypotheses")
    kinds = [format_of(side, name) if isinstance(side, (str, Path)) else "text"
             for side, name in ((ref, ref_format), (hyp, hyp_format))]
    if "ctm" in kinds or "stm" in kinds:
        if kinds not in (["stm", "ctm"], ["ctm", "ctm"]):
            raise UsageError(f"{names[1]} ({kinds[1]}) cannot be scored against {names[0]} ({kinds[0]}): words with times (ctm) "
                             "are scored against segments (stm) or words with times (ctm); --ref-format and --hyp-format "
                             "name what a suffix does not")
        spoken = read_ctm(hyp)  # type: ignore[arg-type]  # a path: its kind is ctm
        if kinds[0] == "stm":
            return mediate(read_stm(ref), spoken, names, partial)  # type: ignore[arg-type]
        sides = [Transcripts(_whole(each), {"recording": {_place(place): place[0] for place in each}}, nist=True)
                 for each in (read_ctm(ref), spoken)]  # type: ignore[arg-type]
    else:
        sides = [read_texts(each, kind, side) if isinstance(each, (str, Path)) else Transcripts(dict(each))
                 for each, kind, side in ((ref, kinds[0], "reference"), (hyp, kinds[1], "hypothesis"))]
    references, hypotheses = (side.texts for side in sides)
    missing = _check(references, hypotheses, names, partial)
    ids = [utterance for utterance in references if utterance in hypotheses]
    return Pairs(ids, [references[each] for each in ids], [hypotheses[each] for each in ids], missing,
                 {**sides[1].columns, **sides[0].columns}, sides[0].nist)


def mediate(segments: Sequence[Segment], spoken: Timed, names: tuple[str, str], partial: bool) -> Pairs:
    """Give each segment the words spoken in its time, as sclite does.

    Of a channel's words, in the order of time, a segment takes those whose middle lies before its end and that no earlier
    segment took; the last takes all the rest. So no word is lost: one between two segments goes to the later, where it
    counts as an insertion. Words of a segment whose text is IGNORE_TIME_SEGMENT_IN_SCORING are not scored, nor is it.
    """
    channels: dict[tuple[str, str], list[Segment]] = {}
    for segment in segments:
        channels.setdefault((segment.recording, segment.channel), []).append(segment)
    missing = _check(channels, spoken, names, partial)
    columns: Columns = {name: {} for name in ("speaker", "recording", "duration", "label")}
    texts: dict[str, tuple[str, str]] = {}
    for place, members in channels.items():
        if place not in spoken:
            continue
        words, taken = spoken[place], 0
        members = sorted(members, key=lambda segment: segment.start)
        for segment in members:
            first = taken
            while taken < len(words) and (segment is members[-1]
                                          or words[taken].start + words[taken].duration / 2 < _single(segment.end)):
                taken += 1
            if _IGNORE in segment.text.upper():
                continue
            utterance = _segment_id(segment, texts)
            texts[utterance] = segment.text, " ".join(word.word for word in words[first:taken])
            columns["speaker"][utterance], columns["recording"][utterance] = segment.speaker, segment.recording
            columns["duration"][utterance] = f"{segment.end - segment.start:.3f}"
            if segment.labels:
                columns["label"][utterance] = segment.labels
    return Pairs(list(texts), [ref for ref, _ in texts.values()], [hyp for _, hyp in texts.values()],
                 [_place(place) for place in missing], {name: column for name, column in columns.items() if column},
                 nist=True)


def some(names: Sequence[object], limit: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - limit
    return ", ".join(_place(name) if isinstance(name, tuple) else str(name) for name in names[:limit]) + \
        (f" and {more} more" if more > 0 else "")


def _single(seconds: float) -> float:
    """As sclite keeps the ends of segments, in single precision: it decides where a middle and an end are one number."""
    return float(unpack("f", pack("f", seconds))[0])


def _segment_id(segment: Segment, taken: Mapping[str, object]) -> str:
    begin, end = (round(1000 * time) for time in (segment.start, segment.end))
    name = f"{segment.recording}-{segment.channel}-{begin:07d}-{end:07d}"
    if name in taken:  # two speakers of a channel at one time
        name += f"-{segment.speaker}"
    again = name
    number = 2
    while name in taken:
        name, number = f"{again}-{number}", number + 1
    return name


def _whole(spoken: Timed) -> dict[str, str]:
    return {_place(place): " ".join(word.word for word in words) for place, words in spoken.items()}


def _place(place: tuple[str, ...]) -> str:
    return "-".join(place)


def _check(references: Mapping, hypotheses: Mapping, names: tuple[str, str], partial: bool) -> list:
    """The references without a hypothesis; raises DataError where that, or the reverse, is not to be."""
    if not references:
        raise DataError(f"{names[0]}: no utterances to score")
    strangers = [utterance for utterance in hypotheses if utterance not in references]
    missing = [utterance for utterance in references if utterance not in hypotheses]
    timed = isinstance(next(iter(references)), tuple)
    empty = "a recording without a word is a line `recording channel 0 0 @`" if timed else \
        "an empty result is a line with the id alone"
    faults = []
    if strangers:
        faults.append(f"{len(strangers)} of {len(hypotheses)} hypotheses have no reference: {some(strangers)}; "
                      "remove them, or score against the references they belong to")
    if missing and not partial:
        faults.append(f"{len(missing)} of {len(references)} references have no hypothesis: {some(missing)}; "
                      f"decode them ({empty}), or score the rest with --partial")
    elif len(missing) == len(references):
        faults.append(f"none of the {len(references)} references has a hypothesis: {some(missing)}")
    if faults:
        raise DataError(f"{names[1]} do not match {names[0]}: " + "; ".join(faults))
    return missing


def _name(source: Texts, otherwise: str) -> str:
    return str(source) if isinstance(source, (str, Path)) else otherwise
