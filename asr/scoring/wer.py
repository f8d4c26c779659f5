"""Word and character error rates of hypotheses against references. Error rates are of the whole set (all errors by all
reference words), never means of rates.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.errors import DataError
from asr.scoring.agreement import check
from asr.scoring.align import Counts, add, count, count_characters, jiwer_counts
from asr.scoring.formats import Columns, read_columns
from asr.scoring.pairing import Pairs, Texts, pair, some
from asr.scoring.rules import Aligned, Rules, align_texts, get_rules, key
from asr.scoring.scores import Scores, UtteranceScore
from asr.text.normalize import Normalizer, get_normalizer
from asr.text.tables import read_table, words


def score(ref: Texts, hyp: Texts, *, cer: bool = False, normalizer: str = "none", partial: bool = False,
          utt2spk: Texts | None = None, ref_format: str | None = None, hyp_format: str | None = None,
          rules: str | None = None, data: str | Path | None = None, metadata: str | Path | None = None) -> Scores:
    """Count the errors of hypotheses against references.

    Args:
        ref, hyp: utterance id -> text, or the path of a file (see `asr.scoring.formats`); words with times (ctm) are scored
            against segments (stm) or words with times.
        cer: count characters too. They are those of the normalised text, the single spaces between words included.
        normalizer: name of the normaliser applied to both sides (``asr.text.NORMALIZERS``); with another than ``none``
            the result holds the score without it as well.
        partial: leave references without a hypothesis out of the count (and say so) instead of refusing.
        utt2spk: utterance id -> speaker, or the path of the file, for counts of each speaker.
        ref_format, hyp_format: the formats of files whose suffix does not tell.
        rules: how words are aligned (``asr.scoring.RULES``); by default ``sclite`` for trn, stm and ctm, whose notation it
            knows, else ``edit``.
        data: a Kaldi data directory, whose utt2spk, segments and utt2dur tell speakers, recordings and durations.
        metadata: a tsv table with a header and an id column; the score can be broken down by every other column.

    Raises DataError for a missing hypothesis (unless ``partial``), a hypothesis without a reference, an utterance
    without a speaker, a duplicate or malformed line, and references without a single word (no rate is defined);
    UsageError for an unknown name or a file that cannot be opened; AsrError where ways of counting that must agree do not.
    """
    named = get_normalizer(normalizer)
    chosen = get_rules(rules) if rules is not None else None
    found = pair(ref, hyp, ref_format, hyp_format, partial)
    columns = _columns(found, utt2spk, data, metadata)
    chosen = chosen or get_rules("sclite" if found.nist else "edit")
    unnormalized = None
    with _collector_at_rest():
        if normalizer != "none":
            unnormalized = _score(found, chosen, get_normalizer("none"), cer, columns, None)
        return _score(found, chosen, named, cer, columns, unnormalized)


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
    total = jiwer_counts(ours, theirs)
    return total.errors / total.reference


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Millions of small objects are made here, none of them in a cycle: walking them again and again would take half the time."""
    working = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if working:
            gc.enable()


def _score(found: Pairs, rules: Rules, normalizer: Normalizer, cer: bool, columns: list[dict[str, str]],
           unnormalized: Scores | None) -> Scores:
    aligned = align_texts(rules, normalizer, found.ids, found.references, found.hypotheses)
    if not any(row.reference for row in aligned):
        said = sum(len(row.hypothesis) for row in aligned)
        raise DataError(f"WER is undefined: the {len(found.ids)} references hold no word after normaliser {normalizer} "
                        f"(the hypotheses hold {said}); score them together with utterances that have words")
    agreement = check(rules, found.ids, aligned)
    characters: list[Counts | None] = [None] * len(aligned)
    if cer:
        characters = list(count_characters([_spelled(rules, row, row.reference, "Ii", "d") for row in aligned],
                                           [_spelled(rules, row, row.hypothesis, "Dd", "i") for row in aligned]))
    rows = [UtteranceScore(utterance, own.get("speaker") or None, row.reference, row.hypothesis, row.operations,
                           count(row.operations), letters, row.slots,
                           {name: value for name, value in own.items() if name != "speaker"} if own else {})
            for utterance, row, letters, own in zip(found.ids, aligned, characters, columns)]
    counted = [letters for letters in characters if letters is not None]
    return Scores(rows, add([row.words for row in rows]), add(counted) if counted else None, normalizer, rules, found.missing,
                  agreement, unnormalized)


def _spelled(rules: Rules, row: Aligned, side: list[str], absent: str, forgiven: str) -> str:
    """One side as characters are counted: as words are compared, without optional words that are on this side only."""
    if rules.name == "edit":
        return " ".join(side)
    letters = (letter for letter in row.operations if letter not in absent)
    return " ".join(key(rules, word) for word, letter in zip(side, letters) if letter != forgiven)


def _columns(found: Pairs, utt2spk: Texts | None, data: str | Path | None, metadata: str | Path | None,
             ) -> list[dict[str, str]]:
    """What is known of each scored utterance; later sources win."""
    known = dict(found.columns)
    if data is not None:
        known.update(_of_directory(Path(data)))
    if metadata is not None:
        table = read_columns(metadata)
        strangers = [utterance for utterance in found.ids if not any(utterance in column for column in table.values())]
        if strangers:
            raise DataError(f"{metadata}: no row for {len(strangers)} of {len(found.ids)} utterances: {some(strangers)}; "
                            "add their rows (fields may be empty)")
        known.update(table)
    if utt2spk is not None:
        known["speaker"] = dict(read_table(utt2spk) if isinstance(utt2spk, (str, Path)) else utt2spk)
    unknown = [utterance for utterance in found.ids if not known.get("speaker", {}).get(utterance)]
    if unknown and (utt2spk is not None or (data is not None and "speaker" in known)):
        source = utt2spk if isinstance(utt2spk, (str, Path)) else data if utt2spk is None else "utt2spk"
        raise DataError(f"{source}: no speaker for {len(unknown)} of {len(found.ids)} utterances: {some(unknown)}; "
                        "add their lines")
    return [{name: column[utterance] for name, column in known.items() if utterance in column} for utterance in found.ids]


def _of_directory(data: Path) -> Columns:
    """Speakers, recordings and durations of a Kaldi data directory, as far as its tables tell them."""
    columns: Columns = {}
    if (data / "utt2spk").is_file():
        columns["speaker"] = read_table(data / "utt2spk")
    if (data / "segments").is_file():
        columns["recording"], columns["duration"] = {}, {}
        for utterance, rest in read_table(data / "segments").items():
            try:
                recording, start, end = words(rest)
                columns["duration"][utterance] = f"{float(end) - float(start):.3f}"
            except ValueError:
                raise DataError(f"{data / 'segments'}: {utterance} {rest}: expected an utterance, a recording and two times; "
                                f"`asr data check {data}` names every fault") from None
            columns["recording"][utterance] = recording
    if (data / "utt2dur").is_file():
        columns["duration"] = read_table(data / "utt2dur")
    return columns
