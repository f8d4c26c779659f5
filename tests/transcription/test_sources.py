"""Which items the inputs are, and what their outputs are called."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcription.said import say

from asr.corpus import DataDir, Utterance
from asr.errors import UsageError
from asr.text.tables import words
from asr.transcription.sources import find_items, item_of, one_word, printable, read_list
from asr.transcription.writers import Place


def names(*inputs: object, **options: object) -> dict[str, str]:
    """Name of each item -> its path."""
    return {item.name: item.source for item in find_items([str(each) for each in inputs], **options)}


def test_a_folder_keeps_its_tree(tmp_path):
    for name in ("in/b.wav", "in/a.flac", "in/deep/er/a.wav"):
        say(tmp_path / name, "a")
    (tmp_path / "in/notes.txt").write_text("no audio")
    assert list(names(tmp_path / "in")) == ["a.flac", "b.wav"]
    assert names(tmp_path / "in", recursive=True) == {
        name: str(tmp_path / "in" / name) for name in ("a.flac", "b.wav", "deep/er/a.wav")}


def test_recordings_that_cannot_be_read_are_counted(tmp_path, caplog):
    """Not those that somebody has converted, and no files that are no recordings."""
    say(tmp_path / "in/a.wav", "a")
    (tmp_path / "in/deep").mkdir()
    for name in ("a.mp4", "c.M4A", "d.webm", "deep/b.m4a", "notes.txt"):
        (tmp_path / "in" / name).write_text("anything")
    assert list(names(tmp_path / "in")) == ["a.wav"]
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/in: 2 recordings are left out, of formats that libsndfile does not read (1 .m4a, 1 .webm); convert them: "
        "ffmpeg -i a.m4a a.flac"]
    names(tmp_path / "in", recursive=True)
    assert "3 recordings are left out" in caplog.text and "(2 .m4a, 1 .webm)" in caplog.text


def test_links_in_a_folder(tmp_path):
    """What has no target is an item, which fails by name; folders are followed once, under their own path where they have one."""
    for name in ("in/a.wav", "in/z/c.wav", "out/b.wav", "out/deep/d.wav"):
        say(tmp_path / name, "a")
    for name, target in (("in/dead.wav", "/no/where"), ("in/dead", "/no/where"), ("in/far", tmp_path / "out"), ("in/near", "z"),
                         ("in/z/again", "../near"), ("out/back", "../in"), ("out/deep/up", "..")):
        (tmp_path / name).symlink_to(target)
    assert list(names(tmp_path / "in")) == ["a.wav", "dead.wav"]
    assert list(names(tmp_path / "in", recursive=True)) == ["a.wav", "dead.wav", "far/b.wav", "far/deep/d.wav", "z/c.wav"]


def test_no_two_inputs_share_a_name(tmp_path):
    paths = [say(tmp_path / name, "a") for name in ("x/a.wav", "x/a.flac", "y/a.wav")]
    assert list(names(*paths)) == ["x/a.wav", "x/a.flac", "y/a.wav"]
    assert list(names(tmp_path / "x", tmp_path / "y")) == ["x/a.flac", "x/a.wav", "y/a.wav"]
    assert list(names(paths[0])) == ["a.wav"]


def test_names_below_a_base_do_not_depend_on_the_other_inputs(tmp_path):
    path = say(tmp_path / "x/a.wav", "a")
    assert list(names(path, base=tmp_path)) == ["x/a.wav"]
    with pytest.raises(UsageError, match=r"a\.wav: is not in the folder .*y that names are counted from \(--base\)"):
        names(path, base=tmp_path / "y")


def test_a_file_met_twice_is_one(tmp_path, monkeypatch):
    path = say(tmp_path / "x/a.wav", "a")
    monkeypatch.chdir(tmp_path)
    assert names(path, tmp_path / "x", "x/a.wav", "x/../x/a.wav", "x/*.wav") == {"a.wav": str(path)}


def test_missing_and_empty_inputs(tmp_path):
    say(tmp_path / "in/deep/a.wav", "a")
    for inputs, said in (("gone.wav", r"gone\.wav: no such file or folder"), ("in", "no audio files in it; --recursive"),
                         ("gone/*.wav", r"gone/\*\.wav: no file or folder matches")):
        with pytest.raises(UsageError, match=said):
            names(tmp_path / inputs)
    with pytest.raises(UsageError, match="name files, folders or data directories"):
        names()


def test_patterns(tmp_path):
    for name in ("in/a.wav", "in/b.flac", "in/deep/er/c.wav", "in/[x].wav"):
        say(tmp_path / name, "a")
    assert sorted(names(tmp_path / "in/*.wav")) == ["[x].wav", "a.wav"]
    assert sorted(names(tmp_path / "in/**/*.wav")) == ["[x].wav", "a.wav", "deep/er/c.wav"]
    assert sorted(names(tmp_path / "in/**")) == ["[x].wav", "a.wav", "b.flac", "deep/er/c.wav"]
    assert list(names(tmp_path / "in/[x].wav")) == ["[x].wav"]  # what exists is no pattern


def test_a_list_names_files_and_folders_and_what_is_gone(tmp_path):
    say(tmp_path / "in/b.wav", "a")
    say(tmp_path / "a file.wav", "a")
    path = tmp_path / "list"
    path.write_bytes(os.fsencode(f"{tmp_path}/a file.wav\r\n\n{tmp_path}/in\n{tmp_path}/gone\udcff.wav\n"))
    assert list(names(listed=read_list(path))) == ["a file.wav", "in/b.wav", "gone\udcff.wav"]
    for content, said in ((None, "cannot read the list"), (b"\n \n", "the list is empty")):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UsageError, match=said):
            read_list(path)


def data_dir(path: Path, wav: dict[str, str], *utterances: Utterance) -> Path:
    (path / "wav").mkdir(parents=True, exist_ok=True)
    DataDir.from_utterances(utterances, wav, allow_pipes=True).save(path)
    return path


def test_a_data_directory_is_its_utterances(tmp_path):
    path = say(tmp_path / "call.wav", "one two three four")
    found = data_dir(tmp_path / "data", {"call": str(path)}, Utterance("u1", "call", "ann", start=0.25, end=0.5),
                     Utterance("u2", "call", "bob", start=0.5, end=0.75))
    items = find_items([str(found)])
    assert [item.file for item in items] == ["u1", "u2"]
    assert [(item.name, item.shown, item.speaker, item.place, item.start, item.end) for item in items] == [
        ("u1", "utterance u1", "ann", Place("call", "1", 0.25), 0.25, 0.5),
        ("u2", "utterance u2", "bob", Place("call", "1", 0.5), 0.5, 0.75)]
    assert list(names(found, path)) == ["data/u1", "data/u2", "call.wav"]


def test_commands_of_a_data_directory_run_only_when_allowed(tmp_path):
    path = say(tmp_path / "a.wav", "one")
    found = data_dir(tmp_path / "data", {"u": f"cat {path} |"}, Utterance("u", "u", "ann"))
    with pytest.raises(Exception, match="is a shell command"):
        find_items([str(found)])[0].read()
    (item,) = find_items([str(found)], allow_pipes=True)
    samples, rate = item.read()
    assert item.command and rate == 8000 and len(samples)


@pytest.mark.parametrize("name", ["../../escape", "a/../b", "/abs", "."])
def test_an_utterance_cannot_leave_the_output_folder(tmp_path, name):
    path = say(tmp_path / "a.wav", "one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"{name} {path}\n")
    (tmp_path / "data/utt2spk").write_text(f"{name} {name}\n")
    with pytest.raises(UsageError, match="no output can have this name"):
        find_items([str(tmp_path / "data")])


def test_standard_input(tmp_path, monkeypatch):
    content = say(tmp_path / "a.wav", "one").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (item,) = find_items(["-"])
    assert (item.name, item.shown, item.file) == ("stdin", "standard input", "-") and Path(item.source).read_bytes() == content


def test_paths_that_are_not_utf8_are_shown_and_written_as_text():
    assert printable(os.fsdecode(b"a\xff.wav")) == "a\\xff.wav" and one_word(os.fsdecode(b"a\xff b.wav")) == "a\\xff%20b.wav"


@given(st.text(min_size=1))
def test_one_word_is_one_word_of_an_stm_line(name):
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return
    word = one_word(name)
    assert words(word) == [word] and not word.startswith(";") and "\n" not in word


def test_pairs_paths_and_arrays_are_items_and_nothing_else():
    import numpy as np

    zeros = np.zeros(4000, np.float32)
    assert [item_of(0, each, 8000).name for each in ("x/a.wav", Path("a.wav"), ("call", "a.wav"), zeros, ("call", zeros))] == [
        "x/a.wav", "a.wav", "call", "0", "call"]
    assert item_of(0, zeros, 8000).duration == 0.5
    with pytest.raises(UsageError, match="item 3: expected a path"):
        item_of(3, 5, 8000)
