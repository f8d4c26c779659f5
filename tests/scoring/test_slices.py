from __future__ import annotations

import csv
from pathlib import Path

import pytest

from asr.errors import UsageError
from asr.scoring import Scores, score, write_scores
from asr.scoring.align import add
from asr.scoring.files import breakdown


def scored(folder: Path, header: str, rows: list[str], **options) -> Scores:
    (folder / "m.tsv").write_text("\n".join(["id\t" + header, *(f"u{number}\t{row}" for number, row in enumerate(rows))]) + "\n")
    texts = {f"u{number}": "a b" for number in range(len(rows))}
    return score(texts, texts | {"u0": "a", "u1": "b b"}, metadata=folder / "m.tsv", **options)


def test_values_in_their_order(tmp_path: Path) -> None:
    scores = scored(tmp_path, "room\tlevel", ["hall\t10", "bath\t9", "hall\t10", "\t100"])
    assert [(each.value, each.utterances, each.words.errors) for each in scores.by("room")] == \
        [("bath", 1, 1), ("hall", 2, 1), ("", 1, 0)]
    assert [each.value for each in scores.by("level")] == ["9", "10", "100"]  # as numbers
    assert scores.columns == ["room", "level"]


def test_durations_have_fixed_groups(tmp_path: Path) -> None:
    scores = scored(tmp_path, "duration", ["0.5", "1", "1.99", "2", "31", "32", "400"])
    assert [(each.value, each.utterances) for each in scores.by("duration")] == \
        [("below 1 s", 1), ("1 to 2 s", 2), ("2 to 4 s", 1), ("16 to 32 s", 1), ("32 s or more", 2)]


def test_many_numbers_are_grouped_by_size(tmp_path: Path) -> None:
    scores = scored(tmp_path, "snr", [str(number / 2) for number in range(40)])
    assert [(each.value, each.utterances) for each in scores.by("snr")] == \
        [("below 5", 10), ("5 to 10", 10), ("10 to 15", 10), ("15 or more", 10)]


def test_speakers_are_names_even_where_they_are_numbers(tmp_path: Path) -> None:
    speakers = {f"u{number}": str(number) for number in range(20)}
    scores = scored(tmp_path, "x", ["1"] * 20, utt2spk=speakers)
    assert list(scores.per_speaker) == sorted(speakers.values())


def test_no_name_is_no_speaker(tmp_path: Path) -> None:
    scores = scored(tmp_path, "speaker", ["a", "b", "", "a"])
    assert [each.speaker for each in scores.per_utterance] == ["a", "b", None, "a"]
    assert (scores.unit, len(scores.units), list(scores.per_speaker)) == ("utterance", 4, ["a", "b"])
    assert add([each.words for each in scores.by("speaker")]) == scores.words
    assert scored(tmp_path, "speaker", ["", ""]).columns == []


def test_slices_sum_to_the_whole_and_are_written(tmp_path: Path) -> None:
    scores = scored(tmp_path, "room\tduration", ["hall\t1.5", "bath\t3", "hall\t1.2", "\t5"], cer=True,
                    utt2spk={"u0": "s", "u1": "t", "u2": "s", "u3": "t"})
    for column in scores.columns:
        assert add([each.words for each in scores.by(column)]) == scores.words
        assert sum(each.wrong_sentences for each in scores.by(column)) == scores.wrong_sentences
    write_scores(scores, tmp_path / "o")
    with open(tmp_path / "o" / "slices.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert {(row["column"], row["value"]) for row in rows} >= {("speaker", "s"), ("room", "hall"), ("room", ""),
                                                              ("duration", "1 to 2 s")}
    hall = next(row for row in rows if row["value"] == "hall")
    assert (hall["errors"], hall["words"], hall["low"], hall["high"], hall["characters"]) == ("1", "4", "0.000000", "0.500000", "6")
    assert next(row for row in rows if row["value"] == "bath")["low"] == ""  # one utterance has no interval


def test_a_column_that_is_not_there() -> None:
    scores = score({"u": "a"}, {"u": "a"})
    with pytest.raises(UsageError, match=r"--by room: nothing is known .*known: none \(give --data"):
        breakdown(scores, "room")
