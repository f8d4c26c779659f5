"""The recipe template: a folder and a table, in the ways people write them, to a scored model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project_copy import ProjectCopy
from stand_in import TINY, load_script, tone, write_wav

from asr.corpus import DataDir
from asr.errors import DataError, UsageError

template = load_script("recipes/template/local/prepare.py")
PARTS = ("train", "dev", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """recordings/<speaker>_<n>.wav: four speakers, five each."""
    (tmp_path / "recordings").mkdir()
    for speaker in "abcd":
        for n in range(5):
            write_wav(tmp_path / f"recordings/{speaker}_{n}.wav", tone(300 + 200 * n, 0.5))
    return tmp_path / "recordings"


def table(folder: Path, name: str, header: str, row: str, count: int = 20) -> Path:
    """A table beside the folder; ``row`` is a format of speaker, n, part (of every five: three train, dev, test)."""
    parts = ("train", "train", "train", "valid", "test")
    rows = [row.format(s=speaker, n=n, part=parts[n]) for speaker in "abcd" for n in range(5)]
    path = folder.parent / name
    path.write_text("\n".join(([header] if header else []) + rows[:count]) + "\n", encoding="utf-8")
    return path


def prepare(folder: Path, table: Path, seed: int = 1, skip_bad: bool = False) -> list[DataDir]:
    out = folder.parent / "out"
    template.prepare(folder, table, out, seed, "basic", skip_bad)
    made = [DataDir.load(out / part) for part in PARTS]
    assert all(data.check() == [] for data in made)
    return made


def test_a_csv_with_speakers_is_split_by_them(folder):
    parts = prepare(folder, table(folder, "t.csv", "Text,path,Speaker", '"Hello, number {n}",{s}_{n}.wav,{s}'))
    assert sum(map(len, parts)) == 20
    assert sum(len(data.speakers) for data in parts) == 4
    first = parts[0].utterances[0]
    assert first.id == f"{first.speaker}-{first.speaker}_0"
    assert first.text == "hello number 0"


def test_a_name_and_a_text_are_enough(folder):
    parts = prepare(folder, table(folder, "t.txt", "", "{s}_{n}\tnumber {n}"))
    assert [len(data) for data in parts] == [16, 2, 2]
    assert parts[0].utterances[0].id == parts[0].utterances[0].speaker
    again = prepare(folder, folder.parent / "t.txt", seed=2)
    assert {u.id for u in again[2].utterances} != {u.id for u in parts[2].utterances}


def test_the_table_s_own_split_is_kept(folder, caplog):
    parts = prepare(folder, table(folder, "t.tsv", "file\ttext\tsplit", "{s}_{n}.wav\tnumber {n}\t{part}"))
    assert [len(data) for data in parts] == [12, 4, 4]
    assert {u.text for u in parts[2].utterances} == {"number 4"}
    source = folder.parent / "t.tsv"
    source.write_text(source.read_text().replace("\tvalid", "\ttrain"))
    assert [len(data) for data in prepare(folder, source)] == [14, 2, 4]


def test_two_speakers_are_in_every_part_and_that_is_said(folder, caplog):
    for path in [*folder.glob("c_*"), *folder.glob("d_*")]:
        path.unlink()
    parts = prepare(folder, table(folder, "t.tsv", "file\ttext\tspeaker", "{s}_{n}\tnumber {n}\t{s}", count=10))
    assert [len(data) for data in parts] == [8, 1, 1]
    assert "2 speakers are too few to keep them apart" in caplog.text


def test_faults_are_named_and_can_be_left_out(folder):
    source = table(folder, "t.tsv", "file\ttext\tspeaker", "{s}_{n}\tnumber {n}\t{s}")
    lines = source.read_text().splitlines()
    lines[1], lines[2], lines[3], lines[4], lines[5] = "a_0", "a_1\t \ta", "gone\tnumber\ta", "b_0\tagain\tb", "a_4\tfour\t"
    source.write_text("\n".join(lines))
    (folder / "d_4.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError) as caught:
        prepare(folder, source)
    for said in ("9 items cannot be used (14 utterances can)", "1 rows with too few fields", "t.tsv:2",
                 "1 transcripts without words: a-a_1", "1 transcripts without audio: a-gone", "1 rows of a file that has one",
                 "1 rows without a speaker", "3 audio files that are not in the table", "d_4.wav: cannot read"):
        assert said in str(caught.value)
    assert not (folder.parent / "out").exists()
    assert sum(map(len, prepare(folder, source, skip_bad=True))) == 14


@pytest.mark.parametrize(("content", "said"), [("path\tspeaker\na\tb\n", r"t.tsv: line 1: no column for text; there are path"),
                                               ("a\tb\tc\n", "no column for file and text"), ("", "t.tsv: empty"),
                                               ("a_0\tone\n", "no utterance is left for|cannot fill 3 parts|cannot be used")])
def test_what_is_no_table_is_said(folder, content, said):
    (folder.parent / "t.tsv").write_text(content)
    with pytest.raises(DataError, match=said):
        prepare(folder, folder.parent / "t.tsv")
    with pytest.raises(UsageError, match="no such table"):
        prepare(folder, folder.parent / "none.tsv")


def test_the_recipe_from_a_folder_to_a_table_of_results(folder, tmp_path):
    source = table(folder, "t.csv", "file,text,split", "{s}_{n}.wav,number one,{part}")
    project = ProjectCopy(tmp_path / "copy")
    done = project.run("template", "--corpus", folder, "--table", source.name, "--name", "tones", "--set", TINY, cwd=tmp_path,
                       script=project.root / "run.sh")
    assert done.returncode == 0, done.stderr
    run = project.root / "exp/tones/crnn_seed1"
    for method in ("greedy", "beam"):
        scores = json.loads((run / f"decode_test_{method}/scores.json").read_text())
        assert (scores["utterances"], scores["words"]["reference"]) == (4, 8)
        assert f"test, {method}" in done.stdout
    assert (project.root / "data/tones/suspicious.tsv").is_file()
