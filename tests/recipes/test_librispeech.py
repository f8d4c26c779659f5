"""The recipes librispeech and mini_librispeech: what preparation makes, what it says of a bad corpus, archives to directories."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project_copy import ProjectCopy
from stand_in import load_script, make_librispeech

from asr.corpus import DataDir, tables
from asr.errors import DataError

librispeech = load_script("recipes/librispeech/local/prepare.py")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_librispeech(tmp_path / "corpus", {"train-a": 2, "dev-a": 1})


def test_directories_hold_what_the_corpus_does(corpus, tmp_path):
    librispeech.prepare(corpus, tmp_path / "out", ["train-a", "dev-a"], skip_bad=False)
    train, dev = (DataDir.load(tmp_path / "out" / part) for part in ("train-a", "dev-a"))
    assert [u.id for u in train.utterances] == [f"{speaker}-7-{n:04d}" for speaker in (100, 101) for n in range(3)]
    assert train.speakers.keys() == {"100", "101"}
    assert train.utterances[1].text == "TWO THREE FOUR"
    assert train.utterances[1].duration == pytest.approx(0.9)
    assert train.wav["100-7-0001"] == str((corpus / "LibriSpeech/train-a/100/7/100-7-0001.flac").resolve())
    assert train.tables["spk2gender"] == {"100": "m", "101": "f"}
    assert train.check() == dev.check() == []
    assert not (tmp_path / "out/left_out.tsv").exists()


@pytest.mark.parametrize("layout", ["LibriSpeech/dev-a", "dev-a", "dev-a/dev-a"])
def test_parts_are_found_in_every_layout(corpus, tmp_path, layout):
    place = tmp_path / "other" / layout
    place.parent.mkdir(parents=True)
    shutil.move(corpus / "LibriSpeech/dev-a", place)
    librispeech.prepare(tmp_path / "other", tmp_path / "out", ["dev-a"], skip_bad=False)
    assert len(DataDir.load(tmp_path / "out/dev-a")) == 3
    with pytest.raises(DataError, match="no part test-a; looked for"):
        librispeech.prepare(tmp_path / "other", tmp_path / "out", ["test-a"], skip_bad=False)


def spoil(corpus: Path) -> None:
    """One fault of every kind in train-a."""
    chapter = corpus / "LibriSpeech/train-a/100/7"
    shutil.copy(chapter / "100-7-0001.flac", chapter / "100-7-0009.flac")
    (chapter / "100-7-0000.flac").unlink()
    (chapter / "100-7-0001.flac").write_bytes(b"fLaC")
    (chapter / "odd name.flac").write_bytes(b"")
    with open(chapter / "100-7.trans.txt", "a") as file:
        file.write("101-7-0000 FROM ANOTHER CHAPTER\n100-7-0002 AGAIN\n")


def test_faults_are_named_and_counted_and_nothing_is_written(corpus, tmp_path):
    spoil(corpus)
    with pytest.raises(DataError) as caught:
        librispeech.prepare(corpus, tmp_path / "out", ["train-a", "dev-a"], skip_bad=False)
    said = str(caught.value)
    for fault in ("6 items cannot be used (7 utterances can)", "1 transcripts without audio: 100-7-0000",
                  "1 audio files without a transcript", "100-7-0009.flac", "1 audio files that cannot be read", "100-7-0001.flac",
                  "1 lines that are no transcript of their chapter", "100-7.trans.txt:4",
                  "1 transcripts of an utterance that has one", "100-7.trans.txt:5: 100-7-0002", "odd name.flac", "--skip-bad"):
        assert fault in said
    assert not (tmp_path / "out").exists()


def test_what_is_faulty_can_be_left_out_and_a_mended_corpus_is_whole(corpus, tmp_path):
    whole = shutil.copytree(corpus, tmp_path / "whole")
    spoil(corpus)
    librispeech.prepare(corpus, tmp_path / "out", ["train-a", "dev-a"], skip_bad=True)
    assert {u.id for u in DataDir.load(tmp_path / "out/train-a").utterances} == {"100-7-0002", *(f"101-7-000{n}" for n in range(3))}
    assert len((tmp_path / "out/left_out.tsv").read_text().splitlines()) == 7
    librispeech.prepare(whole, tmp_path / "out", ["train-a", "dev-a"], skip_bad=True)
    assert len(DataDir.load(tmp_path / "out/train-a")) == 6
    assert not (tmp_path / "out/left_out.tsv").exists()


def test_a_disk_that_is_full_leaves_no_directory_and_the_second_run_makes_them(corpus, tmp_path, monkeypatch, capsys):
    calls, real = [], tables._lines

    def full(rows):
        calls.append(rows)
        if len(calls) > 7:  # in the middle of the second part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(rows)

    monkeypatch.setattr("sys.argv", ["prepare.py", "--corpus", str(corpus), "--out", str(tmp_path / "out"),
                                     "--parts", "train-a", "dev-a"])
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_lines", full)
        assert librispeech.main() == 1
    assert "No space left on device; free some space, then run the same again" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert librispeech.main() == 0
    assert DataDir.load(tmp_path / "out/dev-a").check() == []


def pack(corpus: Path, mirror: Path, project: ProjectCopy, resource: str, parts: list[str]) -> None:
    """Archives as OpenSLR has them, below ``mirror``, and their sums in the copy of the recipe."""
    (mirror / resource).mkdir(parents=True)
    lines = []
    for part in parts:
        archive = mirror / resource / f"{part}.tar.gz"
        subprocess.run(["tar", "-czf", archive, f"LibriSpeech/{part}", "LibriSpeech/SPEAKERS.TXT"], cwd=corpus, check=True)
        lines.append(f"{part} {resource} {hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()}\n")
    (project.root / "recipes/librispeech/local/archives.txt").write_text("".join(lines))


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_from_archives_to_directories_and_a_language_model(tmp_path):
    """Stages 0 to 2 of mini_librispeech: a download that goes on, a wrong checksum, and a second run that repairs."""
    project = ProjectCopy(tmp_path)
    corpus = make_librispeech(tmp_path / "corpus", {"train-clean-5": 10, "dev-clean-2": 2}, utterances=2)
    mirror = tmp_path / "mirror"
    pack(corpus, mirror, project, "31", ["train-clean-5", "dev-clean-2"])
    arguments = ("mini_librispeech", "--mirror", f"file://{mirror}", "--lm", "train", "--lm-order", 2, "--stop-stage", 2)
    good = (mirror / "31/dev-clean-2.tar.gz").read_bytes()
    (mirror / "31/dev-clean-2.tar.gz").write_bytes(good[:-1] + b"x")
    begun = project.root / "data/mini_librispeech/corpus/train-clean-5.tar.gz.part"
    begun.parent.mkdir(parents=True)
    begun.write_bytes((mirror / "31/train-clean-5.tar.gz").read_bytes()[:1000])

    done = project.run(*arguments)
    assert done.returncode == 1
    assert "31/dev-clean-2.tar.gz: not the file this recipe was made for (its MD5 is another)" in done.stderr
    assert os.listdir(begun.parent) == ["train-clean-5"]  # whole, its archive gone

    (mirror / "31/dev-clean-2.tar.gz").write_bytes(good)
    (mirror / "31/train-clean-5.tar.gz").unlink()  # it is not asked for again
    done = project.run(*arguments)
    assert done.returncode == 0, done.stderr
    data = project.root / "data/mini_librispeech"
    train, dev, test = (DataDir.load(data / part) for part in ("train", "dev", "dev-clean-2"))
    assert (len(train), len(dev), len(test)) == (18, 2, 4)
    assert not train.speakers.keys() & dev.speakers.keys()
    assert (project.root / "exp/mini_librispeech/lm_2.arpa.gz").is_file()


def test_wrong_use_is_said_before_any_work(tmp_path):
    project = ProjectCopy(tmp_path)
    for arguments, said in ((("--conf", "none"), "--conf none: there is no recipes/librispeech/conf/none.yaml"),
                            (("--skip-bad", "maybe"), "--skip-bad maybe: choose yes or no"),
                            (("--parts", "train-dirty", "--lm", "train"), "there is no part train-dirty of LibriSpeech")):
        done = project.run("librispeech", "--stop-stage", 0, *arguments)
        assert done.returncode == 1
        assert said in done.stderr
