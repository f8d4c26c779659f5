from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError, UsageError
from asr.scoring import Scores, as_json, load_scores, pretty, score, summary, write_scores
from asr.scoring.files import frequent_errors, hypotheses_in
from asr.scoring.pretty import display_width

REFERENCES = {"u1": "the cat sat", "u2": "5", "u3": "", "u4": "\u6771\u4eac \u306f \u00e9"}
HYPOTHESES = {"u1": "the bat on sat", "u2": "7", "u3": "uh", "u4": "\u4eac \u306f"}
SPEAKERS = {"u1": "a", "u2": "a", "u3": "b", "u4": "b"}


def scores(**options) -> Scores:
    return score(REFERENCES, HYPOTHESES, utt2spk=SPEAKERS, **options)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_every_file_can_be_read_back(tmp_path) -> None:
    made = scores(cer=True, normalizer="basic")
    write_scores(made, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == \
        ["alignments.txt", "confusions.tsv", "per_speaker.tsv", "per_utt.jsonl", "scores.json", "slices.tsv"]

    totals = json.loads((tmp_path / "new" / "scores.json").read_text(encoding="utf-8"))
    assert totals == json.loads(json.dumps(as_json(made)))
    assert totals["wer"] == made.wer and totals["words"]["interval"] == list(made.ci)
    assert totals["normalizer"]["name"] == "basic" and totals["unnormalized"]["normalizer"]["name"] == "none"
    assert totals["words"]["errors"] == made.errors and totals["characters"]["errors"] == made.characters.errors

    rows = [json.loads(line) for line in (tmp_path / "new" / "per_utt.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(row["id"], row["speaker"], row["ref"], row["hyp"]) for row in rows] == \
        [(u, SPEAKERS[u], REFERENCES[u], HYPOTHESES[u]) for u in REFERENCES]
    assert sum(row["errors"] for row in rows) == made.errors
    assert sum(row["characters"]["errors"] for row in rows) == made.characters.errors
    assert rows[2]["wer"] is None

    speakers = table(tmp_path / "new" / "per_speaker.tsv")
    assert [row["speaker"] for row in speakers] == ["a", "b"]
    assert sum(int(row["errors"]) for row in speakers) == made.errors
    assert sum(int(row["character_errors"]) for row in speakers) == made.characters.errors
    assert float(speakers[0]["wer"]) == pytest.approx(3 / 4)

    confusions = table(tmp_path / "new" / "confusions.tsv")
    assert sum(int(row["count"]) for row in confusions) == made.errors
    letters = {"substitution": "S", "deletion": "D", "insertion": "I"}
    assert {(letters[row["kind"]], row["ref"] or None, row["hyp"] or None): int(row["count"]) for row in confusions} == \
        made.confusions()


def test_confusions_come_most_frequent_first(tmp_path) -> None:
    write_scores(score({"u": "a b c c"}, {"u": "a x d d"}), tmp_path)
    assert [(row["count"], row["ref"], row["hyp"]) for row in table(tmp_path / "confusions.tsv")] == \
        [("2", "c", "d"), ("1", "b", "x")]


def test_speaker_without_reference_words_has_no_rate(tmp_path) -> None:
    write_scores(score({"u1": "a", "u2": ""}, {"u1": "a", "u2": "b"}, utt2spk={"u1": "x", "u2": "y"}), tmp_path)
    assert [row["wer"] for row in table(tmp_path / "per_speaker.tsv")] == ["0.000000", ""]


def test_a_score_is_read_back_whole(tmp_path) -> None:
    made = score({"u1": "{ a / b c } (uh) \u00a0x", "u2": "d e"}, {"u1": "b c x", "u2": "d f"}, rules="sclite", cer=True, data=None,
                 metadata=_metadata(tmp_path), utt2spk={"u1": "s", "u2": "t"})
    write_scores(made, tmp_path / "o")
    again = load_scores(tmp_path / "o")
    assert again.per_utterance == made.per_utterance
    assert (again.words, again.characters, again.ci, again.cer_ci, again.rules, again.agreement, again.unit) == \
        (made.words, made.characters, made.ci, made.cer_ci, made.rules, made.agreement, made.unit)
    assert again.per_utterance[0].slots is not None and str(again.normalizer) == "none (version 1)"
    assert as_json(again) == as_json(made)


def _metadata(folder: Path) -> Path:
    (folder / "m.tsv").write_text("id\troom\nu1\thall\nu2\t\n")
    return folder / "m.tsv"


def test_what_cannot_be_read_back_is_said(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"not scored \(no scores.json\); run `asr score --out"):
        load_scores(tmp_path)
    write_scores(scores(), tmp_path)
    totals = (tmp_path / "scores.json").read_text()
    (tmp_path / "scores.json").write_text(totals.replace('"format": 2', '"format": 1'))
    with pytest.raises(DataError, match=r"of another version \(1; this is 2\)"):
        load_scores(tmp_path)
    (tmp_path / "scores.json").write_text(totals[:-20])
    with pytest.raises(DataError, match="a damaged score"):
        load_scores(tmp_path)
    (tmp_path / "scores.json").write_text(totals)
    rows = (tmp_path / "per_utt.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "per_utt.jsonl").write_text("".join(rows[:-1]))
    with pytest.raises(DataError, match=r"counts 4 utterances, per_utt.jsonl holds 3"):
        load_scores(tmp_path)


def test_a_score_that_was_not_finished_is_none(tmp_path, monkeypatch) -> None:
    """Killed after any of its files: there is no scores.json, of the earlier score neither."""
    write_scores(scores(), tmp_path)

    def killed(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr("asr.scoring.files.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write_scores(score(REFERENCES, REFERENCES), tmp_path)
    with pytest.raises(UsageError, match="not scored"):
        load_scores(tmp_path)


def test_files_of_two_scores_are_refused(tmp_path) -> None:
    for folder, heard in (("a", HYPOTHESES), ("b", HYPOTHESES | {"u2": "5"})):
        write_scores(score(REFERENCES, heard, cer=True), tmp_path / folder)
    (tmp_path / "b/per_utt.jsonl").rename(tmp_path / "a/per_utt.jsonl")
    with pytest.raises(DataError, match="scores.json and per_utt.jsonl do not count the same errors; run `asr score --out"):
        load_scores(tmp_path / "a")


def test_a_score_knows_the_hypotheses_beside_it(tmp_path) -> None:
    (tmp_path / "text").write_text("".join(f"{name} {text}\n" for name, text in HYPOTHESES.items()))
    for folder in (tmp_path, tmp_path / "elsewhere"):
        write_scores(scores(), folder, hypotheses_in(folder, tmp_path / "text"))
        assert load_scores(folder).errors == 6
    (tmp_path / "text").write_text("u1 another decode\n")
    assert load_scores(tmp_path / "elsewhere").errors == 6  # of a file that lies elsewhere, which may be gone
    with pytest.raises(DataError, match="text is not what scores.json was made of; run `asr score --out"):
        load_scores(tmp_path)
    (tmp_path / "text").unlink()
    assert load_scores(tmp_path).errors == 6


def test_summary() -> None:
    assert summary(score(REFERENCES, HYPOTHESES)) == (
        "%WER 85.71 [ 6 / 7, 2 ins, 1 del, 3 sub ]\n"
        "95 % interval [ 66.67, 400.00 ], bootstrap over 4 utterances (few: take it as a rough one)\n"
        "%SER 100.00 [ 4 / 4 ], %MER 66.67, %WIL 83.93\n"
        "normaliser none (version 1), rules edit (version 1)\n")
    assert "over 2 speakers (few" in summary(scores())
    shown = summary(score({"u": "Hi, you"}, {"u": "hi you"}, cer=True, normalizer="basic")).splitlines()
    assert shown[0] == "%WER 0.00 [ 0 / 2, 0 ins, 0 del, 0 sub ]"
    assert "no errors seen: below 77.64 with 95 % confidence if words fail independently" in shown[1]
    assert shown[3].startswith("%CER 0.00 [ 0 / 6,")
    assert shown[5] == "normaliser basic (version 1), rules edit (version 1); without the normaliser:"
    assert shown[6] == "  %WER 50.00 [ 1 / 2, 0 ins, 0 del, 1 sub ]"
    assert all(line.startswith("  ") for line in shown[6:])


def test_frequent_errors() -> None:
    made = score({"u": "a b c c", "v": "c x"}, {"u": "a x d d", "v": "d x y"})
    assert frequent_errors(made, 2) == ("most confused:\n     3  c -> d\n     1  b -> x\nmost missed: none\n"
                                        "most inserted:\n     1  y\n")


def test_alignment_by_hand() -> None:
    rows = {row.id: row for row in scores().per_utterance}
    assert pretty(rows["u3"]) == "u3 (speaker b): 1 error / 0 words\nREF: **\nHYP: uh\nOPS: I\n"
    assert pretty(rows["u4"]) == ("u4 (speaker b): 2 errors / 3 words\n"
                                  "REF: \u6771\u4eac \u306f \u00e9\n"
                                  "HYP: \u4eac   \u306f *\n"
                                  "OPS: S       D\n")
    nothing = score({"u": "", "v": "a"}, {"u": "", "v": "a"}).per_utterance[0]
    assert pretty(nothing) == "u: 0 errors / 0 words\n"


def test_width_of_characters() -> None:
    texts = ("abc", "\u6771\u4eac", "e\u0301", "\uff21", "\uff71", "\u200b", "\u0e01\u0e34")
    assert [display_width(text) for text in texts] == [3, 4, 1, 2, 1, 0, 1]


WORD = st.text(st.sampled_from("ab\u6771e\u0301\uac00"), min_size=1, max_size=6)


@given(st.lists(WORD, min_size=1, max_size=40), st.lists(WORD, max_size=40), st.sampled_from([20, 110]))
def test_columns_line_up(ref: list[str], hyp: list[str], columns: int) -> None:
    row = score({"u": " ".join(ref)}, {"u": " ".join(hyp)}).per_utterance[0]
    lines = pretty(row, columns).split("\n")[1:-1]
    back: list[list[str]] = [[], []]
    for ours, theirs, operations in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        assert (ours[:5], theirs[:5], operations[:4]) == ("REF: ", "HYP: ", "OPS:")
        starts = []
        for side, line in zip(back, (ours, theirs)):
            place, begun = 5, []
            for word in line[5:].split(" "):
                if word:
                    begun.append(place)
                    side.append(word)
                place += display_width(word) + 1
            starts.append(begun)
        assert starts[0] == starts[1]
        assert {place for place, letter in enumerate(operations[5:], start=5) if letter != " "} <= set(starts[0])
    assert [word for word in back[0] if word.strip("*")] == ref and [word for word in back[1] if word.strip("*")] == hyp
