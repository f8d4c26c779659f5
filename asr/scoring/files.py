"""What a score looks like on the screen and in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr.scoring.align import Counts
from asr.scoring.intervals import CONFIDENCE, REPLICATES, SEED, upper_bound_without_errors
from asr.scoring.pretty import pretty
from asr.scoring.wer import Interval, Scores, SpeakerScore, UtteranceScore
from asr.system import atomic_open, write_text

FORMAT = 1  # of scores.json: raised when its keys change meaning
_KINDS = {"S": "substitution", "D": "deletion", "I": "insertion"}


def summary(scores: Scores) -> str:
    """The lines `asr score` prints: Kaldi's, the 95 % intervals, the sentence error rate, and the normaliser."""
    lines = [scores.kaldi_line(), _interval_line(scores.ci, scores.words, scores.utterances, "words"), scores.ser_line()]
    if scores.characters is not None and scores.cer_ci is not None:
        lines += [str(scores.cer_line()), _interval_line(scores.cer_ci, scores.characters, scores.utterances, "characters")]
    if scores.unnormalized is None:
        lines.append(f"normaliser {scores.normalizer}")
    else:
        lines.append(f"normaliser {scores.normalizer}; without it:")
        lines += [f"  {line}" for line in summary(scores.unnormalized).splitlines()[:-1]]
    return "\n".join(lines) + "\n"


def write_scores(scores: Scores, out_dir: str | Path) -> None:
    """Write the folder of a score, every file whole or not at all.

    ``scores.json``       the totals, intervals, normaliser, and the score without the normaliser
    ``per_utt.jsonl``     one JSON object an utterance: texts and counts
    ``per_speaker.tsv``   counts of each speaker (the header alone where speakers are not known)
    ``confusions.tsv``    every error, most frequent first
    ``alignments.txt``    the alignments, to read
    """
    out_dir = Path(out_dir)
    with atomic_open(out_dir / "per_utt.jsonl") as file:
        for utterance in scores.per_utterance:
            file.write(json.dumps(_utterance_row(utterance), ensure_ascii=False) + "\n")
    with atomic_open(out_dir / "alignments.txt") as file:
        for utterance in scores.per_utterance:
            file.write(pretty(utterance) + "\n")
    write_text(out_dir / "per_speaker.tsv", _speakers_table(scores))
    write_text(out_dir / "confusions.tsv", _confusions_table(scores))
    # Last: its presence says that the others are there.
    write_text(out_dir / "scores.json", json.dumps(as_json(scores), ensure_ascii=False, indent=1) + "\n")


def as_json(scores: Scores) -> dict[str, Any]:
    """The totals as plain JSON values; rates are fractions."""
    normalizer = scores.normalizer
    return {
        "format": FORMAT,
        "normalizer": {"name": normalizer.name, "version": normalizer.version, "summary": normalizer.summary},
        "partial": bool(scores.missing),
        "missing": scores.missing,
        "utterances": scores.utterances,
        "wer": scores.wer,
        "cer": scores.cer,
        "ser": scores.ser,
        "wrong_sentences": scores.wrong_sentences,
        "words": _counts(scores.words) | {"interval": list(scores.ci)},
        "characters": _counts(scores.characters) | {"interval": list(scores.cer_ci)}
        if scores.characters is not None and scores.cer_ci is not None else None,
        "bootstrap": {"unit": "utterance", "confidence": CONFIDENCE, "replicates": REPLICATES, "seed": SEED},
        "unnormalized": as_json(scores.unnormalized) if scores.unnormalized is not None else None,
    }


def _counts(counts: Counts) -> dict[str, Any]:
    return {"reference": counts.reference, "errors": counts.errors, "insertions": counts.insertions,
            "deletions": counts.deletions, "substitutions": counts.substitutions}


def _interval_line(interval: Interval, counts: Counts, utterances: int, noun: str) -> str:
    low, high = (100 * edge for edge in interval)
    line = f"95 % interval [ {low:.2f}, {high:.2f} ], bootstrap over {utterances} utterance{'s' if utterances != 1 else ''}"
    if counts.errors == 0:
        bound = 100 * upper_bound_without_errors(counts.reference)
        line += f"; no errors seen: below {bound:.2f} with 95 % confidence if {noun} fail independently"
    return line


def _utterance_row(utterance: UtteranceScore) -> dict[str, Any]:
    row: dict[str, Any] = {"id": utterance.id, "speaker": utterance.speaker, "ref": " ".join(utterance.reference),
                           "hyp": " ".join(utterance.hypothesis), "wer": utterance.words.rate, **_counts(utterance.words)}
    if utterance.characters is not None:
        row |= {"cer": utterance.characters.rate, "characters": _counts(utterance.characters)}
    return row


def _speakers_table(scores: Scores) -> str:
    header = ["speaker", "utterances", "wrong_sentences", "words", "errors", "insertions", "deletions", "substitutions",
              "wer"]
    if scores.characters is not None:
        header += ["characters", "character_errors", "cer"]
    return _tsv([header, *(_speaker_row(speaker) for speaker in scores.per_speaker.values())])


def _speaker_row(speaker: SpeakerScore) -> list[str]:
    counts = speaker.words
    row = [speaker.speaker, speaker.utterances, speaker.wrong_sentences, counts.reference, counts.errors, counts.insertions,
           counts.deletions, counts.substitutions, _rate(counts)]
    if speaker.characters is not None:
        row += [speaker.characters.reference, speaker.characters.errors, _rate(speaker.characters)]
    return [str(value) for value in row]


def _confusions_table(scores: Scores) -> str:
    ordered = sorted(scores.confusions().items(),
                     key=lambda item: (-item[1], item[0][0], item[0][1] or "", item[0][2] or ""))
    return _tsv([["count", "kind", "ref", "hyp"],
                 *([str(times), _KINDS[letter], ours or "", theirs or ""] for (letter, ours, theirs), times in ordered)])


def _rate(counts: Counts) -> str:
    return "" if counts.rate is None else f"{counts.rate:.6f}"


def _tsv(rows: list[list[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)
