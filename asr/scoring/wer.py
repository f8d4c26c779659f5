"""Word and character error rates of hypotheses against references, paired by utterance id.

A scorer must not forgive: every reference has its hypothesis and every hypothesis its reference, or it is an error
that names the utterances. Error rates are of the whole set (all errors by all reference words), never means of rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError
from asr.scoring.align import CORRECT, Counts, align, count, pairs
from asr.scoring.intervals import bootstrap_interval
from asr.text.normalize import Normalizer, get_normalizer
from asr.text.tables import read_table, read_transcripts, words

if TYPE_CHECKING:
    from jiwer import AlignmentChunk

Transcripts = Mapping[str, str] | str | Path
Interval = tuple[float, float]


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance: its words after normalisation, their alignment, and the counts."""

    id: str
    speaker: str | None
    reference: list[str]
    hypothesis: list[str]
    chunks: list[AlignmentChunk]
    words: Counts
    characters: Counts | None

    @property
    def wrong(self) -> bool:
        """Whether there is any word error in it."""
        return self.words.errors > 0

    def pairs(self) -> Iterable[tuple[str, str | None, str | None]]:
        """The alignment word by word: (``C``, ``S``, ``D`` or ``I``; reference word or None; hypothesis word or None)."""
        return pairs(self.reference, self.hypothesis, self.chunks)


@dataclass(frozen=True)
class SpeakerScore:
    """The sums of one speaker's utterances."""

    speaker: str
    utterances: int
    wrong_sentences: int
    words: Counts
    characters: Counts | None


@dataclass(frozen=True)
class Scores:
    """The score of a test set. Rates are fractions: 0.0133 is 1.33 %.

    Attributes:
        per_utterance: in the order of the references.
        words: counts over the whole set.
        characters: the same of characters, spaces between words included; None unless asked for.
        normalizer: what was applied to both sides before counting.
        missing: references without a hypothesis, left out of every count (only with ``partial``).
        unnormalized: the score of the same texts as they stand; None where the normaliser is ``none``.
    """

    per_utterance: list[UtteranceScore]
    words: Counts
    characters: Counts | None
    normalizer: Normalizer
    missing: list[str]
    unnormalized: Scores | None

    @property
    def wer(self) -> float:
        return self.words.errors / self.words.reference  # score() sees to it that there are reference words

    @property
    def cer(self) -> float | None:
        """Character error rate; None unless asked for."""
        return self.characters.rate if self.characters is not None else None

    @property
    def errors(self) -> int:
        return self.words.errors

    @property
    def insertions(self) -> int:
        return self.words.insertions

    @property
    def deletions(self) -> int:
        return self.words.deletions

    @property
    def substitutions(self) -> int:
        return self.words.substitutions

    @property
    def reference_words(self) -> int:
        return self.words.reference

    @property
    def utterances(self) -> int:
        """Utterances scored."""
        return len(self.per_utterance)

    @cached_property
    def wrong_sentences(self) -> int:
        """Utterances with one word error or more."""
        return sum(utterance.wrong for utterance in self.per_utterance)

    @property
    def ser(self) -> float:
        """Sentence error rate."""
        return self.wrong_sentences / self.utterances

    @cached_property
    def ci(self) -> Interval:
        """95 % interval of the WER: percentile bootstrap over utterances, fixed seed (see asr.scoring.intervals)."""
        return _interval([utterance.words for utterance in self.per_utterance])

    @cached_property
    def cer_ci(self) -> Interval | None:
        """95 % interval of the CER, as ``ci``; None unless the CER was asked for."""
        counts = [utterance.characters for utterance in self.per_utterance if utterance.characters is not None]
        return _interval(counts) if counts else None

    @cached_property
    def per_speaker(self) -> dict[str, SpeakerScore]:
        """The sums of each speaker, sorted by name; empty where speakers are not known."""
        grouped: dict[str, list[UtteranceScore]] = {}
        for utterance in self.per_utterance:
            if utterance.speaker is not None:
                grouped.setdefault(utterance.speaker, []).append(utterance)
        return {speaker: SpeakerScore(speaker, len(group), sum(utterance.wrong for utterance in group),
                                      *_totals(group)) for speaker, group in sorted(grouped.items())}

    def confusions(self) -> Counter[tuple[str, str | None, str | None]]:
        """How often each error was made: keys are (``S``, ``D`` or ``I``; reference word, hypothesis word)."""
        return Counter(pair for utterance in self.per_utterance if utterance.wrong
                       for pair in utterance.pairs() if pair[0] != CORRECT)

    def kaldi_line(self) -> str:
        """``%WER 1.33 [ 4 / 300, 0 ins, 1 del, 3 sub ]``; a partial score says so and how much it covers."""
        return self.words.kaldi("WER") + self._partial()

    def cer_line(self) -> str | None:
        """The same of characters, with ``%CER``; None unless the CER was asked for."""
        return self.characters.kaldi("CER") + self._partial() if self.characters is not None else None

    def ser_line(self) -> str:
        """``%SER 1.00 [ 3 / 300 ]``: sentences with any error."""
        return f"%SER {100 * self.ser:.2f} [ {self.wrong_sentences} / {self.utterances} ]"

    def _partial(self) -> str:
        if not self.missing:
            return ""
        return f" [PARTIAL] {self.utterances} of {self.utterances + len(self.missing)} utterances"


def score(ref: Transcripts, hyp: Transcripts, *, cer: bool = False, normalizer: str = "none", partial: bool = False,
          utt2spk: Transcripts | None = None) -> Scores:
    """Count the errors of hypotheses against references.

    Args:
        ref, hyp: utterance id -> text, or the path of a Kaldi ``text`` file.
        cer: count characters too. They are those of the normalised text, the single spaces between words included.
        normalizer: name of the normaliser applied to both sides (``asr.text.NORMALIZERS``); with another than ``none``
            the result holds the score without it as well.
        partial: leave references without a hypothesis out of the count (and say so) instead of refusing.
        utt2spk: utterance id -> speaker, or the path of the file, for counts of each speaker.

    Raises DataError for a missing hypothesis (unless ``partial``), a hypothesis without a reference, an utterance
    without a speaker, a duplicate or malformed line, and references without a single word (no rate is defined);
    UsageError for an unknown normaliser or a file that cannot be opened.
    """
    named = get_normalizer(normalizer)
    names = _name(ref, "the reference"), _name(hyp, "the hypotheses")
    references = read_transcripts(ref) if isinstance(ref, (str, Path)) else ref
    hypotheses = read_transcripts(hyp) if isinstance(hyp, (str, Path)) else hyp
    missing = _check_ids(references, hypotheses, names, partial)
    absent = set(missing)
    scored = [utterance for utterance in references if utterance not in absent]
    speakers = _speakers(utt2spk, scored)
    texts = [references[utterance] for utterance in scored], [hypotheses[utterance] for utterance in scored]
    unnormalized = None
    if normalizer != "none":
        unnormalized = _score(scored, *texts, get_normalizer("none"), cer, speakers, missing, None)
    return _score(scored, *texts, named, cer, speakers, missing, unnormalized)


def error_rate(references: Sequence[str], hypotheses: Sequence[str], characters: bool = False) -> float:
    """The word (or character) error rate of hypotheses against the references at the same places, as a fraction.

    For use within a program, where the two lists are known to belong together; ``score`` pairs by id and keeps the
    detail. Raises ValueError for lists of unequal length, DataError where the references hold no word.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    ours, theirs = ([words(text) for text in texts] for texts in (references, hypotheses))
    if not any(ours):
        raise DataError(f"the error rate is undefined: the {len(references)} references hold no word")
    if characters:
        ours, theirs = ([list(" ".join(text)) for text in texts] for texts in (ours, theirs))
    total = _sum([count(len(items), chunks) for items, chunks in zip(ours, align(ours, theirs))])
    return total.errors / total.reference


def _score(ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], normalizer: Normalizer, cer: bool,
           speakers: Mapping[str, str], missing: list[str], unnormalized: Scores | None) -> Scores:
    ours = [words(normalizer(text)) for text in references]
    theirs = [words(normalizer(text)) for text in hypotheses]
    if not any(ours):
        said = sum(map(len, theirs))
        raise DataError(f"WER is undefined: the {len(ids)} references hold no word after normaliser {normalizer} "
                        f"(the hypotheses hold {said}); score them together with utterances that have words")
    characters: list[Counts | None] = [None] * len(ids)
    if cer:
        letters = [" ".join(text) for text in ours]
        characters = [count(len(text), chunks)
                      for text, chunks in zip(letters, align(letters, [" ".join(text) for text in theirs]))]
    rows = [UtteranceScore(utterance, speakers.get(utterance), reference, hypothesis, chunks,
                           count(len(reference), chunks), characters_of_it)
            for utterance, reference, hypothesis, chunks, characters_of_it
            in zip(ids, ours, theirs, align(ours, theirs), characters)]
    return Scores(rows, *_totals(rows), normalizer, missing, unnormalized)


def _totals(rows: Sequence[UtteranceScore]) -> tuple[Counts, Counts | None]:
    characters = [row.characters for row in rows if row.characters is not None]
    return _sum([row.words for row in rows]), _sum(characters) if characters else None


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(sum(each.reference for each in counts), sum(each.insertions for each in counts),
                  sum(each.deletions for each in counts), sum(each.substitutions for each in counts))


def _interval(counts: Sequence[Counts]) -> Interval:
    return bootstrap_interval([each.errors for each in counts], [each.reference for each in counts])


def _check_ids(references: Mapping[str, str], hypotheses: Mapping[str, str], names: tuple[str, str],
               partial: bool) -> list[str]:
    """The references without a hypothesis; raises DataError where that, or the reverse, is not to be."""
    if not references:
        raise DataError(f"{names[0]}: no utterances to score")
    strangers = [utterance for utterance in hypotheses if utterance not in references]
    missing = [utterance for utterance in references if utterance not in hypotheses]
    faults = []
    if strangers:
        faults.append(f"{len(strangers)} of {len(hypotheses)} hypotheses have no reference: {_some(strangers)}; "
                      "remove them, or score against the references they belong to")
    if missing and not partial:
        faults.append(f"{len(missing)} of {len(references)} references have no hypothesis: {_some(missing)}; "
                      "decode them (an empty result is a line with the id alone), or score the rest with --partial")
    elif len(missing) == len(references):
        faults.append(f"none of the {len(references)} references has a hypothesis: {_some(missing)}")
    if faults:
        raise DataError(f"{names[1]} do not match {names[0]}: " + "; ".join(faults))
    return missing


def _speakers(utt2spk: Transcripts | None, scored: Sequence[str]) -> Mapping[str, str]:
    if utt2spk is None:
        return {}
    table = read_table(utt2spk) if isinstance(utt2spk, (str, Path)) else utt2spk
    unknown = [utterance for utterance in scored if not table.get(utterance)]
    if unknown:
        raise DataError(f"{_name(utt2spk, 'utt2spk')}: no speaker for {len(unknown)} of {len(scored)} utterances: "
                        f"{_some(unknown)}; add their lines")
    return table


def _name(source: Transcripts, otherwise: str) -> str:
    return str(source) if isinstance(source, (str, Path)) else otherwise


def _some(utterances: Sequence[str], limit: int = 5) -> str:
    more = len(utterances) - limit
    return ", ".join(utterances[:limit]) + (f" and {more} more" if more > 0 else "")
