"""From a corpus to data directories: what does not fit is named, and what is written is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asr import audio
from asr.corpus import DataDir, Utterance, check, tables
from asr.corpus.building import LeftOut, durations, pair, some, write_parts
from asr.errors import DataError, UsageError, run_script


def tone(seconds: float, rate: int = 8000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def wavs(tmp_path: Path) -> dict[str, Path]:
    """Four recordings of two speakers, 0.5 s each."""
    files = {id: tmp_path / "corpus" / f"{id}.wav" for id in ("ann-1", "ann-2", "bob-1", "bob-2")}
    for path in files.values():
        audio.write(path, tone(0.5), 8000)
    return files


def utterances(*ids: str) -> list[Utterance]:
    return [Utterance(id, id, id[:3], "words", duration=0.5) for id in ids]


def test_audio_and_text_are_paired_and_the_rest_is_named(wavs):
    left_out = LeftOut()
    texts = {"ann-1": "one", "bob-1": " ", "bob-2": "two", "cid-1": "three"}
    assert pair(wavs, texts, left_out) == ["ann-1", "bob-2"]
    assert {reason: list(names) for reason, names in left_out.items.items()} == {
        "transcripts without audio": ["cid-1"], "audio files without a transcript": ["ann-2"],
        "transcripts without words": ["bob-1"]}
    assert len(left_out) == 3


def test_files_that_cannot_be_read_are_named(wavs):
    wavs["ann-2"].write_bytes(b"not audio")
    content = wavs["bob-1"].read_bytes()
    wavs["bob-1"].write_bytes(content[:-100])
    wavs["bob-2"].unlink()
    left_out = LeftOut()
    asked = []
    assert durations(wavs, left_out, progress=lambda ids: (asked.append(id) or id for id in ids)) == {"ann-1": 0.5}
    assert asked == list(wavs)
    assert list(left_out.items["audio files that cannot be read"]) == ["ann-2", "bob-1", "bob-2"]
    assert "bob-2.wav: cannot read" in str(left_out)


def test_damage_in_the_middle_is_found_by_decoding(tmp_path):
    path = tmp_path / "a.flac"
    audio.write(path, tone(3.0, rate=16000), 16000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 400] = bytes(400)
    path.write_bytes(content)
    header, whole = LeftOut(), LeftOut()
    assert durations({"a": path}, header) == {"a": 3.0}
    assert durations({"a": path}, whole, decode=True) == {}
    assert (len(header), len(whole)) == (0, 1)


def test_faults_stop_the_work_unless_they_may_be_skipped(caplog, tmp_path):
    left_out = LeftOut()
    left_out.settle("corpus", 5, skip_bad=False)
    for n in range(12):
        left_out.add("transcripts without audio", f"u{n:02d}")
    left_out.add("audio files that cannot be read", "x", "x.wav:\tcannot read")
    with pytest.raises(DataError, match=r"(?s)corpus: 13 items cannot be used \(5 utterances can\):\n  12 transcripts "
                                        r"without audio: u00, .*u09 and 2 more\n  1 audio files.*x.wav:.*--skip-bad"):
        left_out.settle("corpus", 5, skip_bad=False)
    left_out.settle("corpus", 5, skip_bad=True)
    assert "13 items are left out" in caplog.text
    with pytest.raises(DataError, match="no utterance that can be used"):
        left_out.settle("corpus", 0, skip_bad=True)
    left_out.write(tmp_path / "left_out.tsv")
    lines = (tmp_path / "left_out.tsv").read_text().splitlines()
    assert (len(lines), lines[1], lines[-1]) == (14, "transcripts without audio\tu00\t",
                                                 "audio files that cannot be read\tx\tx.wav: cannot read")
    LeftOut().write(tmp_path / "left_out.tsv")
    assert not (tmp_path / "left_out.tsv").exists()


def test_parts_are_directories_without_faults(wavs, tmp_path):
    write_parts({tmp_path / "train": utterances("ann-1", "ann-2"), tmp_path / "dev": utterances("bob-1")}, wavs,
                {"spk2gender": {"ann": "f", "bob": "m"}})
    assert check(tmp_path / "train") == check(tmp_path / "dev") == []
    train = DataDir.load(tmp_path / "train")
    assert [u.id for u in train.utterances] == ["ann-1", "ann-2"]
    assert train.tables["spk2gender"] == {"ann": "f"}
    with pytest.raises(DataError, match="test: no utterance is left for it"):
        write_parts({tmp_path / "test": []}, wavs)


class Full:
    """A disk that is full when so many tables have been written."""

    def __init__(self, after: int) -> None:
        self.left, self.real = after, tables._lines

    def __call__(self, rows: object) -> Iterator[str]:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(rows)


@pytest.mark.parametrize("after", range(10))
def test_a_full_disk_leaves_what_was_there_and_nothing_else(wavs, tmp_path, monkeypatch, after):
    """Ten tables are written; at whichever the disk is full, the old directory stays and the new one does not appear."""
    write_parts({tmp_path / "train": utterances("ann-1")}, wavs)
    before = {path: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    parts = {tmp_path / "train": utterances("ann-1", "ann-2"), tmp_path / "dev": utterances("bob-1", "bob-2")}
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_lines", Full(after))
        with pytest.raises(OSError, match="No space") as caught:
            write_parts(parts, wavs)
    assert str(caught.value.filename).startswith(str(tmp_path / ("train" if after < 5 else "dev")))
    assert ".tmp" not in str(caught.value.filename)
    assert {path: path.read_bytes() for path in (tmp_path / "train").iterdir()} == before
    assert not (tmp_path / "dev").exists()
    write_parts(parts, wavs)  # the second run repairs
    assert check(tmp_path / "train") == check(tmp_path / "dev") == []
    assert len(DataDir.load(tmp_path / "train")) == 2


@pytest.mark.parametrize("renames", range(5))
def test_a_directory_caught_between_two_tables_is_refused(wavs, tmp_path, monkeypatch, renames):
    """Killed when all is written and some of it in place: readers refuse it, and the second run repairs."""
    write_parts({tmp_path / "train": utterances("ann-1")}, wavs)
    done, real = [], os.replace

    def replace(*names: object) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(names)
        real(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            write_parts({tmp_path / "train": utterances("ann-1", "ann-2")}, wavs)
    with pytest.raises(DataError, match=r"wav\.scp: no such file"):
        DataDir.load(tmp_path / "train")
    write_parts({tmp_path / "train": utterances("ann-1", "ann-2")}, wavs)
    assert check(tmp_path / "train") == []


def test_a_script_ends_with_a_line_and_a_status(capsys):
    def fails(error: Exception) -> None:
        raise error

    assert run_script("x/prepare.py", lambda: None) == 0
    assert run_script("x/prepare.py", lambda: fails(DataError("bad"))) == 1
    assert run_script("x/prepare.py", lambda: fails(UsageError("wrong"))) == 2
    assert run_script("x/prepare.py", lambda: fails(OSError(errno.ENOSPC, "No space left", "out/text"))) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["prepare.py: error: bad", "prepare.py: error: wrong",
                    "prepare.py: error: out/text: No space left; free some space, then run the same again"]


def test_names_in_a_message_are_few():
    assert some(["a", "b"]) == "a, b"
    assert some(map(str, range(12))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
