from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr.errors import DataError, UsageError
from asr.scoring import FORMATS, score
from asr.scoring.formats import format_of, read_columns, read_ctm, read_stm, read_texts

SAID = {"s1-a": "a b", "s1-b": "", "s2_c": "5"}
FILES = {
    "r": "s1-a a b\ns1-b\ns2_c 5\n",
    "r.trn": ";; comment\n\na b (s1-a)\n(s1-b)\n 5  (s2_c)\n",
    "r.tsv": "id\tspeaker\ttext\tduration\ns1-a\tx\ta b\t1.5\ns1-b\ty\t\t2\ns2_c\tx\t5\t3\n",
    "r.json": json.dumps(SAID),
    "r.jsonl": "".join(json.dumps({"id": key, "ref": text, "speaker": "x", "words": [1]}) + "\n" for key, text in SAID.items()),
    "list.json": json.dumps([{"audio_filepath": key, "text": text, "duration": 1.5} for key, text in SAID.items()]),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_from_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8")
    read = read_texts(tmp_path / name, format_of(name), "reference")
    assert read.texts == SAID and list(read.texts) == list(SAID)
    scores = score(tmp_path / name, SAID)
    assert scores.errors == 0 and scores.utterances == 3
    assert scores.rules.name == ("sclite" if name.endswith("trn") else "edit")


def test_suffixes_and_names() -> None:
    assert [format_of(name) for name in ("text", "a.TRN", "b.stm", "c.ctm", "d.tsv", "e.json", "f.jsonl", "g.txt", "h.wav")] == \
        ["text", "trn", "stm", "ctm", "tsv", "json", "json", "text", "text"]
    assert format_of("a.trn", "text") == "text" and set(FORMATS) == {"text", "trn", "stm", "ctm", "tsv", "json"}
    with pytest.raises(UsageError, match="unknown format 'csv'; known: text, trn"):
        format_of("a", "csv")


def test_what_a_file_knows_is_kept(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text(FILES[name], "utf-8")
    assert score(tmp_path / "r.tsv", SAID).columns == ["speaker", "duration"]
    assert [row.speaker for row in score(tmp_path / "r.trn", SAID).per_utterance] == ["s1", "s1", "s2"]  # up to - or _
    assert score(tmp_path / "r.jsonl", SAID).columns == ["speaker"]  # lists are not columns


def test_sides_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"id": "u", "text": "a b", "pred_text": "a c"}\n')
    assert score(tmp_path / "m.jsonl", tmp_path / "m.jsonl").kaldi_line() == "%WER 50.00 [ 1 / 2, 0 ins, 0 del, 1 sub ]"


@pytest.mark.parametrize(("name", "content", "fault"), [
    ("r.trn", "a b (s1)\nc d\n", r"r.trn:2: no \(utterance-id\) at the end"),
    ("r.trn", "a b ()\n", r"r.trn:1: no \(utterance-id\)"),
    ("r.trn", "a (u)\nb (u)\n", "r.trn:2: u appears a second time"),
    ("r.tsv", "", "r.tsv: empty"),
    ("r.tsv", "name\ttext\nu\ta\n", "r.tsv:1: the header names no id column; expected one of: id, utt_id"),
    ("r.tsv", "id\twords\nu\ta\n", "r.tsv:1: the header names no column of reference text; expected one of: ref"),
    ("r.tsv", "id\ttext\nu\ta\nv\n", "r.tsv:3: 1 fields, but the header has 2"),
    ("r.tsv", "id\ttext\ttext\nu\ta\tb\n", "r.tsv:1: two columns of the header have one name"),
    ("r.tsv", "id\ttext\n\ta\n", "r.tsv:2: the id is empty"),
    ("r.json", '{"u": "a",\n "v" "b"}', "r.json:2: not JSON: Expecting ':' delimiter"),
    ("r.json", '{"u": 5}', "r.json: u: its text is 5; expected a string"),
    ("r.json", '{"u": "a", "u": "b"}', "r.json: u appears a second time"),
    ("r.json", "5", "r.json: holds int"),
    ("r.json", "[5]", "r.json:1: 5: expected an object"),
    ("r.json", '[{"id": "u"}]', "r.json:1: no reference text"),
    ("r.json", '[{"id": "u", "text": null}]', "r.json:1: no reference text"),
    ("r.jsonl", '{"id": "u", "text": "a"}\n{"id": "v", "text": }\n', "r.jsonl:2: not a JSON line"),
    ("r.jsonl", '{"id": "u", "text": "a"}\n{"text": "a"}\n', "r.jsonl:2: no id"),
    ("r.jsonl", '{"id": "u", "text": "a"}\n{"id": "u", "text": "a"}\n', "r.jsonl:2: u appears a second time"),
])
def test_faults_are_named_with_file_and_line(tmp_path: Path, name: str, content: str, fault: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(DataError, match=fault):
        score(tmp_path / name, SAID)


@pytest.mark.parametrize(("read", "line", "fault"), [
    (read_stm, "rec A s 0\n", ":2: 4 fields; an stm line is"),
    (read_stm, "rec A s 0 1s a\n", ":2: 1s: expected a time in seconds"),
    (read_stm, "rec A s 2 1 a\n", ":2: the segment ends at 1 s, before it starts at 2 s"),
    (read_stm, "rec A s nan 1 a\n", ":2: nan: expected a time"),
    (read_ctm, "rec A 0 1\n", ":2: 4 fields; a ctm line is"),
    (read_ctm, "rec A -1 1 a\n", ":2: -1: expected a time"),
    (read_ctm, "rec A 0 x a\n", ":2: x: expected a time"),
    (read_ctm, "rec A 0 1 {a}\n", ":2: {a}: braces have no meaning in ctm"),
    (read_ctm, "rec A * * <ALT>\n", ":2: <ALT> out of place"),
    (read_ctm, "rec A * * <ALT_BEGIN>\nrec A * * <ALT_BEGIN>\n", ":3: <ALT_BEGIN> out of place"),
    (read_ctm, "rec A * * <ALT_BEGIN>\nrec A * * <ALT>\nrec A * * <ALT_END>\n", ":4: alternatives without a word"),
    (read_ctm, "rec A * * <ALT_BEGIN>\n", "<ALT_BEGIN> without its <ALT_END>"),
    (read_ctm, "rec A 0 1 \udcff\n", ":2: not UTF-8"),
])
def test_faults_of_times(tmp_path: Path, read, line: str, fault: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(b";; comment\n" + line.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=fault):
        read(file)


def test_tables_of_metadata(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("utt_id\troom\tsnr\r\nu\thall\t5\r\nv\t\t10\r\n")
    assert read_columns(tmp_path / "m.tsv") == {"room": {"u": "hall", "v": ""}, "snr": {"u": "5", "v": "10"}}
    with pytest.raises(DataError, match="m.tsv: no row for 1 of 2 utterances: w"):
        score({"u": "a", "w": "b"}, {"u": "a", "w": "b"}, metadata=tmp_path / "m.tsv")
    with pytest.raises(UsageError, match="cannot read"):
        read_columns(tmp_path / "absent.tsv")


def test_a_data_directory_tells_speakers_recordings_and_durations(tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("u s\nv t\n")
    (tmp_path / "segments").write_text("u rec 1 2.5\nv rec 3 4\n")
    scores = score({"u": "a", "v": "b"}, {"u": "a", "v": "b"}, data=tmp_path)
    assert scores.columns == ["speaker", "recording", "duration"]
    assert [row.columns for row in scores.per_utterance] == [{"recording": "rec", "duration": "1.500"},
                                                             {"recording": "rec", "duration": "1.000"}]
    (tmp_path / "utt2dur").write_text("u 7\nv 8\n")
    assert score({"u": "a"}, {"u": "a"}, data=tmp_path).per_utterance[0].columns["duration"] == "7"
    (tmp_path / "segments").write_text("u rec 1\n")
    with pytest.raises(DataError, match="segments: u rec 1: expected an utterance, a recording and two times"):
        score({"u": "a"}, {"u": "a"}, data=tmp_path)
    (tmp_path / "segments").unlink()
    (tmp_path / "utt2spk").write_text("u s\n")
    with pytest.raises(DataError, match="no speaker for 1 of 2 utterances: v"):
        score({"u": "a", "v": "b"}, {"u": "a", "v": "b"}, data=tmp_path)
