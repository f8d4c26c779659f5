"""The score of a test set: what was counted, in all and of every utterance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from asr.scoring.agreement import Agreement
from asr.scoring.align import ERRORS, Counts, add, pairs
from asr.scoring.intervals import bootstrap_interval
from asr.scoring.rules import Rules
from asr.scoring.slices import Slice, slice_by
from asr.text.normalize import Normalizer

Interval = tuple[float, float]


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance: its words after normalisation, their alignment, and the counts.

    Attributes:
        operations: the alignment, a letter a step (see `asr.scoring.align`).
        slots: of an utterance with alternatives, the place in the reference text of every step; else None.
        columns: what else is known of it: recording, duration in seconds, any column of a table.
    """

    id: str
    speaker: str | None
    reference: list[str]
    hypothesis: list[str]
    operations: str
    words: Counts
    characters: Counts | None
    slots: tuple[int, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """Whether there is any word error in it."""
        return self.words.errors > 0

    def pairs(self) -> Iterable[tuple[str, str | None, str | None]]:
        """The alignment step by step: (letter; reference word or None; hypothesis word or None)."""
        return pairs(self.operations, self.reference, self.hypothesis)


@dataclass(frozen=True)
class Scores:
    """The score of a test set. Rates are fractions: 0.0133 is 1.33 %.

    Attributes:
        per_utterance: in the order of the references.
        words: counts over the whole set.
        characters: the same of characters, spaces between words included; None unless asked for.
        normalizer: what was applied to both sides before counting.
        rules: by which words were aligned.
        missing: references without a hypothesis, left out of every count (only with ``partial``).
        agreement: the same words counted by jiwer and by sclite's weights.
        unnormalized: the score of the same texts as they stand; None where the normaliser is ``none``.
    """

    per_utterance: list[UtteranceScore]
    words: Counts
    characters: Counts | None
    normalizer: Normalizer
    rules: Rules
    missing: list[str]
    agreement: Agreement
    unnormalized: Scores | None

    @property
    def wer(self) -> float:
        return self.words.errors / self.words.reference  # score() sees to it that there are reference words

    @property
    def cer(self) -> float | None:
        """Character error rate; None unless asked for."""
        return self.characters.rate if self.characters is not None else None

    @property
    def mer(self) -> float:
        """Match error rate: errors by steps of the alignment."""
        return self.words.match_error_rate

    @property
    def wil(self) -> float:
        """Word information lost."""
        return self.words.information_lost

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
    def unit(self) -> str:
        """What the bootstrap draws: ``speaker`` where every utterance has one and there are two or more, else ``utterance``."""
        speakers = {utterance.speaker for utterance in self.per_utterance}
        return "speaker" if None not in speakers and len(speakers) > 1 else "utterance"

    @cached_property
    def units(self) -> dict[str, list[UtteranceScore]]:
        """The utterances of each unit of the bootstrap."""
        if self.unit == "utterance":
            return {utterance.id: [utterance] for utterance in self.per_utterance}
        grouped: dict[str, list[UtteranceScore]] = {}
        for utterance in self.per_utterance:
            grouped.setdefault(str(utterance.speaker), []).append(utterance)
        return grouped

    @cached_property
    def ci(self) -> Interval:
        """95 % interval of the WER: bootstrap over speakers or utterances, fixed seed (see asr.scoring.intervals)."""
        return _interval([add([each.words for each in group]) for group in self.units.values()])

    @cached_property
    def cer_ci(self) -> Interval | None:
        """95 % interval of the CER, as ``ci``; None unless the CER was asked for."""
        if self.characters is None:
            return None
        return _interval([add([each.characters for each in group if each.characters is not None])
                          for group in self.units.values()])

    @property
    def columns(self) -> list[str]:
        """What the score can be broken down by: ``speaker``, ``recording``, ``duration``, columns of a table."""
        names = dict.fromkeys(name for utterance in self.per_utterance for name in utterance.columns)
        speakers = ["speaker"] if any(utterance.speaker is not None for utterance in self.per_utterance) else []
        return speakers + list(names)

    def by(self, column: str) -> list[Slice]:
        """The score of each value of a column, of each range of a duration or of another number; see `asr.scoring.slices`."""
        return slice_by(self.per_utterance, column)

    @cached_property
    def per_speaker(self) -> dict[str, Slice]:
        """The score of each speaker, sorted by name; empty where speakers are not known."""
        return {each.value: each for each in self.by("speaker") if each.value} if "speaker" in self.columns else {}

    def confusions(self) -> Counter[tuple[str, str | None, str | None]]:
        """How often each error was made: keys are (``S``, ``D`` or ``I``; reference word, hypothesis word)."""
        return Counter(pair for utterance in self.per_utterance if utterance.wrong
                       for pair in utterance.pairs() if pair[0] in ERRORS)

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


def _interval(counts: Sequence[Counts]) -> Interval:
    return bootstrap_interval([each.errors for each in counts], [each.reference for each in counts])
