"""What a score looks like on the screen and in a folder, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import DataError, UsageError
from asr.scoring.agreement import Agreement
from asr.scoring.align import Counts, add
from asr.scoring.intervals import CONFIDENCE, REPLICATES, SEED, upper_bound_without_errors
from asr.scoring.pretty import pretty
from asr.scoring.rules import Rules
from asr.scoring.scores import Interval, Scores, UtteranceScore
from asr.scoring.slices import Slice
from asr.system import atomic_open, sha256_of, write_text
from asr.text.normalize import Normalizer
from asr.text.tables import words

FORMAT = 2  # of scores.json and per_utt.jsonl: raised when their keys change meaning
FILES = ("scores.json", "per_utt.jsonl", "per_speaker.tsv", "slices.tsv", "confusions.tsv", "alignments.txt")
"""What `write_scores` leaves. The first says that the others are there: it goes first and comes last."""
_KINDS = {"S": "substitution", "D": "deletion", "I": "insertion"}
_FEW_UNITS = 10


def summary(scores: Scores) -> str:
    """The lines `asr score` prints: Kaldi's, the 95 % intervals, the other rates, the normaliser and the rules."""
    lines = [scores.kaldi_line(), _interval_line(scores, scores.ci, scores.words, "words"),
             f"{scores.ser_line()}, %MER {100 * scores.mer:.2f}, %WIL {100 * scores.wil:.2f}"]
    if scores.characters is not None and scores.cer_ci is not None:
        lines += [str(scores.cer_line()), _interval_line(scores, scores.cer_ci, scores.characters, "characters")]
    if scores.agreement.more:
        more = scores.agreement.more
        lines.append(f"by sclite's weights {scores.agreement.sclite.kaldi('WER')}, by the fewest errors "
                     f"{scores.agreement.fewest.errors}; they part in {len(more)} utterance{'s' * (len(more) > 1)}: "
                     f"{', '.join(more[:3])}{' ...' * (len(more) > 3)}")
    if scores.unnormalized is None:
        lines.append(f"normaliser {scores.normalizer}, rules {scores.rules}")
    else:
        lines.append(f"normaliser {scores.normalizer}, rules {scores.rules}; without the normaliser:")
        lines += [f"  {line}" for line in summary(scores.unnormalized).splitlines()[:-1]]
    return "\n".join(lines) + "\n"


def breakdown(scores: Scores, column: str) -> str:
    """A table, to read, of the score by the values of a column; raises UsageError that lists the columns there are."""
    if column not in scores.columns:
        raise UsageError(f"--by {column}: nothing is known of the utterances by that name; known: "
                         f"{', '.join(scores.columns) or 'none (give --data, --metadata or --utt2spk)'}")
    rows = [[column, "utts", "words", "%WER", "95 % interval", "ins", "del", "sub"]]
    for each in scores.by(column):
        counts, interval = each.words, each.ci
        rows.append([each.value or "(none)", str(each.utterances), str(counts.reference), _percent(counts.rate),
                     f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else "", str(counts.insertions),
                     str(counts.deletions), str(counts.substitutions)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
                   + "\n" for row in rows)


def frequent_errors(scores: Scores, how_many: int) -> str:
    """The words most often confused, missed and inserted, to read."""
    counted = scores.confusions()
    blocks = []
    for letter, title in (("S", "most confused"), ("D", "most missed"), ("I", "most inserted")):
        found = sorted(((times, ours or "", theirs or "") for (kind, ours, theirs), times in counted.items() if kind == letter),
                       key=lambda row: (-row[0], row[1:]))[:how_many]
        blocks.append("".join([f"{title}:{'' if found else ' none'}\n",
                               *(f"{times:6d}  {' -> '.join(filter(None, (ours, theirs)))}\n" for times, ours, theirs in found)]))
    return "".join(blocks)


def hypotheses_in(folder: str | Path, file: str | Path) -> dict[str, str] | None:
    """The name and SHA-256 of a file of hypotheses that lies in the folder its score is for; None of one elsewhere."""
    file = Path(file)
    beside = file.is_file() and file.parent.resolve() == Path(folder).resolve()
    return {"file": file.name, "sha256": sha256_of(file)} if beside else None


def write_scores(scores: Scores, out_dir: str | Path, hypotheses: dict[str, str] | None = None) -> None:
    """Write the folder of a score, every file whole or not at all.

    ``hypotheses``: what `hypotheses_in` says of the file that was scored, asked before it was read: the score is then refused
    where the file is another later.

    ``scores.json``       the totals, intervals, normaliser, rules, and the score without the normaliser
    ``per_utt.jsonl``     one JSON object an utterance: texts, alignment and counts
    ``per_speaker.tsv``   counts of each speaker (the header alone where speakers are not known)
    ``slices.tsv``        the same of every value of every column: speaker, recording, duration, metadata
    ``confusions.tsv``    every error, most frequent first
    ``alignments.txt``    the alignments, to read
    """
    out_dir = Path(out_dir)
    (out_dir / FILES[0]).unlink(missing_ok=True)
    with atomic_open(out_dir / "per_utt.jsonl") as file:
        for utterance in scores.per_utterance:
            file.write(json.dumps(_utterance_row(utterance), ensure_ascii=False) + "\n")
    with atomic_open(out_dir / "alignments.txt") as file:
        for utterance in scores.per_utterance:
            file.write(pretty(utterance) + "\n")
    slices = {column: scores.by(column) for column in scores.columns}
    characters = scores.characters is not None
    write_text(out_dir / "per_speaker.tsv",
               _slices_table("speaker", [each for each in slices.get("speaker", []) if each.value], characters))
    write_text(out_dir / "slices.tsv",
               _slices_table(None, [each for column in slices.values() for each in column], characters))
    write_text(out_dir / "confusions.tsv", _confusions_table(scores))
    totals = as_json(scores) | ({} if hypotheses is None else {"hypotheses": hypotheses})
    write_text(out_dir / FILES[0], json.dumps(totals, ensure_ascii=False, indent=1) + "\n")


def load_totals(folder: str | Path) -> dict[str, Any]:
    """The content of the scores.json of a folder that `write_scores` wrote.

    Raises UsageError where there is none, DataError for one of another version, that is damaged, or whose hypotheses are others
    by now.
    """
    file = Path(folder) / FILES[0]
    again = f"run `asr score --out {folder}` again"
    if not file.is_file():
        raise UsageError(f"{folder}: not scored (no scores.json); run `asr score --out {folder}` first")
    try:
        totals: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version, scored = totals["format"], totals.get("hypotheses")
        changed = scored is not None and hypotheses_in(folder, Path(folder) / scored["file"]) not in (None, scored)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{folder}: a damaged score ({type(error).__name__}: {error}); {again}") from None
    if version != FORMAT:
        raise DataError(f"{file}: of another version ({version}; this is {FORMAT}); {again}")
    if changed:
        raise DataError(f"{folder}: {scored['file']} is not what scores.json was made of; {again}")
    return totals


def load_scores(folder: str | Path) -> Scores:
    """The score of a folder that `write_scores` wrote, without the texts of the score before normalisation.

    Raises as `load_totals`, and DataError where the files do not agree.
    """
    totals = load_totals(folder)
    again = f"run `asr score --out {folder}` again"
    try:
        lines = (Path(folder) / "per_utt.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        rows = [_utterance(json.loads(line)) for line in lines]
        named = totals["normalizer"]
        counted = totals["agreement"]
        scores = Scores(rows, _counted(totals["words"]), _counted(totals["characters"]) if totals["characters"] else None,
                        Normalizer(named["name"], named["version"], named["summary"], str), Rules(**totals["rules"]),
                        totals["missing"], Agreement(_counted(counted["fewest"]), _counted(counted["sclite"]), counted["more"]),
                        None)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{folder}: a damaged score ({type(error).__name__}: {error}); {again}") from None
    if len(rows) != totals["utterances"]:
        raise DataError(f"{folder}: scores.json counts {totals['utterances']} utterances, per_utt.jsonl holds {len(rows)}; {again}")
    characters = [row.characters for row in rows if row.characters is not None]
    if add([row.words for row in rows]) != scores.words or add(characters) != (scores.characters or Counts()):
        raise DataError(f"{folder}: scores.json and per_utt.jsonl do not count the same errors; {again}")
    return scores


def as_json(scores: Scores) -> dict[str, Any]:
    """The totals as plain JSON values; rates are fractions."""
    normalizer, rules, agreement = scores.normalizer, scores.rules, scores.agreement
    return {
        "format": FORMAT,
        "normalizer": {"name": normalizer.name, "version": normalizer.version, "summary": normalizer.summary},
        "rules": {"name": rules.name, "version": rules.version, "summary": rules.summary},
        "partial": bool(scores.missing),
        "missing": scores.missing,
        "utterances": scores.utterances,
        "wer": scores.wer,
        "cer": scores.cer,
        "mer": scores.mer,
        "wil": scores.wil,
        "ser": scores.ser,
        "wrong_sentences": scores.wrong_sentences,
        "words": _counts(scores.words) | {"interval": list(scores.ci)},
        "characters": _counts(scores.characters) | {"interval": list(scores.cer_ci)}
        if scores.characters is not None and scores.cer_ci is not None else None,
        "bootstrap": {"unit": scores.unit, "units": len(scores.units), "confidence": CONFIDENCE, "replicates": REPLICATES,
                      "seed": SEED},
        "agreement": {"fewest": _counts(agreement.fewest), "sclite": _counts(agreement.sclite), "more": agreement.more},
        "unnormalized": as_json(scores.unnormalized) if scores.unnormalized is not None else None,
    }


def _counts(counts: Counts) -> dict[str, Any]:
    return {"reference": counts.reference, "errors": counts.errors, "insertions": counts.insertions,
            "deletions": counts.deletions, "substitutions": counts.substitutions}


def _counted(row: dict[str, Any]) -> Counts:
    return Counts(row["reference"], row["insertions"], row["deletions"], row["substitutions"])


def _interval_line(scores: Scores, interval: Interval, counts: Counts, noun: str) -> str:
    low, high = (100 * edge for edge in interval)
    units = len(scores.units)
    line = f"95 % interval [ {low:.2f}, {high:.2f} ], bootstrap over {units} {scores.unit}{'s' if units != 1 else ''}"
    if units < _FEW_UNITS:
        line += " (few: take it as a rough one)"
    if counts.errors == 0:
        bound = 100 * upper_bound_without_errors(counts.reference)
        line += f"; no errors seen: below {bound:.2f} with 95 % confidence if {noun} fail independently"
    return line


def _utterance_row(utterance: UtteranceScore) -> dict[str, Any]:
    row: dict[str, Any] = {"id": utterance.id, "speaker": utterance.speaker, "columns": dict(utterance.columns),
                           "ref": " ".join(utterance.reference), "hyp": " ".join(utterance.hypothesis),
                           "operations": utterance.operations, "wer": utterance.words.rate, **_counts(utterance.words)}
    if utterance.slots is not None:
        row["slots"] = list(utterance.slots)
    if utterance.characters is not None:
        row |= {"cer": utterance.characters.rate, "characters": _counts(utterance.characters)}
    return row


def _utterance(row: dict[str, Any]) -> UtteranceScore:
    return UtteranceScore(row["id"], row["speaker"], words(row["ref"]), words(row["hyp"]), row["operations"],
                          _counted(row), _counted(row["characters"]) if row.get("characters") else None,
                          tuple(row["slots"]) if "slots" in row else None, row["columns"])


def _slices_table(column: str | None, slices: Sequence[Slice], characters: bool) -> str:
    header = [*(["column", "value"] if column is None else [column]), "utterances", "wrong_sentences", "words", "errors",
              "insertions", "deletions", "substitutions", "wer", "low", "high"]
    if characters:
        header += ["characters", "character_errors", "cer"]
    return _tsv([header, *([*([each.column, each.value] if column is None else [each.value]), *_slice_row(each)]
                           for each in slices)])


def _slice_row(part: Slice) -> list[str]:
    counts = part.words
    low, high = part.ci or (None, None)
    row = [part.utterances, part.wrong_sentences, counts.reference, counts.errors, counts.insertions, counts.deletions,
           counts.substitutions, _rate(counts.rate), _rate(low), _rate(high)]
    if part.characters is not None:
        row += [part.characters.reference, part.characters.errors, _rate(part.characters.rate)]
    return [str(value) for value in row]


def _confusions_table(scores: Scores) -> str:
    ordered = sorted(scores.confusions().items(),
                     key=lambda item: (-item[1], item[0][0], item[0][1] or "", item[0][2] or ""))
    return _tsv([["count", "kind", "ref", "hyp"],
                 *([str(times), _KINDS[letter], ours or "", theirs or ""] for (letter, ours, theirs), times in ordered)])


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.6f}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.2f}"


def _tsv(rows: list[list[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)
