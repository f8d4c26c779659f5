"""A job: what it does again and what not, what it leaves behind, and what bad inputs cost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from transcription.said import RECOGNIZER, outputs, rows, say, work
from transcription.tiny import RATE, plant, planted_model, spell

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.errors import AsrError, UsageError
from asr.system import create_temporary
from asr.text import build_ngram
from asr.transcription import Recognizer, disk, job, pipeline
from asr.transcription.decoder import DecoderOptions, Weights
from asr.transcription.job import Shard
from asr.transcription.sources import find_items
from asr.transcription.writers import FORMATS

OTHER = Recognizer(planted_model())  # another model, for all that a ledger knows
object.__setattr__(OTHER.model, "fingerprint", "1" * 64)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Twelve files in two folders."""
    for index in range(12):
        say(tmp_path / "in" / ("x" if index % 2 else "y") / f"{index:02}.wav", f"text {'abcdefghijkl'[index]} " + "na " * index)
    return tmp_path / "in"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the items that went through the network, as they do."""
    names: list[str] = []
    original = pipeline.transcribe_loaded

    def noting(recognizer, items, loaded):
        names.extend(item.name for item in items)
        return original(recognizer, items, loaded)

    monkeypatch.setattr(pipeline, "transcribe_loaded", noting)
    return names


def age(path: Path) -> None:
    """As if it had been written long ago: its times tell whether it has changed."""
    os.utime(path, (1e9, 1e9))


# --------------------------------------------------------------------------------------------------------- outputs


def test_every_format_in_the_inputs_tree(recordings, tmp_path):
    report = work(tmp_path / "out", recordings, formats=list(FORMATS))
    assert (report.files, report.transcribed, report.kept, report.failed) == (12, 12, 0, {})
    assert set(outputs(tmp_path / "out")) == {f"{'x' if index % 2 else 'y'}/{index:02}.wav.{format}" for index in range(12)
                                              for format in FORMATS}
    assert (tmp_path / "out/x/01.wav.txt").read_text() == "text b na\n"
    content = json.loads((tmp_path / "out/x/01.wav.json").read_text())
    assert content["file"] == str(recordings / "x/01.wav") and content["settings"]["method"] == "greedy"
    assert (tmp_path / "out/x/01.wav.tsv").read_text().splitlines()[1].startswith(f"{recordings}/x/01.wav\t1\t")
    assert content["settings"]["model"] == RECOGNIZER.model.fingerprint
    assert (tmp_path / "out/y/02.wav.stm").read_text().startswith("y/02.wav 1 y/02.wav 0.000 ")
    summary = json.loads((tmp_path / "out/transcribe.json").read_text())
    assert (summary["files"], summary["transcribed"], summary["failed"]) == (12, 12, {}) and summary["real_time_factor"] > 0
    assert summary["audio_seconds"] == pytest.approx(report.audio_seconds, abs=1e-3)


def test_channels_apart(tmp_path):
    left, right = (plant(spell(RECOGNIZER.model.tokenizer, text)) for text in ("left", "reft"))
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in/a.wav", np.stack([left, right], axis=1), RATE)
    say(tmp_path / "in/mono.wav", "one")
    report = work(tmp_path / "out", tmp_path / "in", formats=["txt", "json", "ctm", "stm", "tsv"], apart=True)
    assert report.files == report.transcribed == 3
    assert {name: content for name, content in outputs(tmp_path / "out").items() if name.endswith("txt")} == {
        "a.wav.channel0.txt": b"left\n", "a.wav.channel1.txt": b"reft\n", "mono.wav.channel0.txt": b"one\n"}
    content = json.loads((tmp_path / "out/a.wav.channel1.json").read_text())
    assert (content["file"], content["channel"]) == (f"{tmp_path}/in/a.wav", 1)
    assert (tmp_path / "out/a.wav.channel1.ctm").read_text().startswith("a.wav B 0.000 ")
    assert (tmp_path / "out/a.wav.channel1.stm").read_text().startswith("a.wav B a.wav.channel1 0.000 ")
    assert "\tB\t" in (tmp_path / "out/a.wav.channel1.tsv").read_text()
    assert work(tmp_path / "out", tmp_path / "in", formats=["txt"], apart=True).kept == 3


def test_a_data_directory(tmp_path):
    path = say(tmp_path / "call.wav", "one two")
    half = audio.probe(path).duration * 4 / 7
    DataDir.from_utterances([Utterance("b", "call", "ann", start=0.0, end=half), Utterance("a", "call", "bob", start=half)],
                            {"call": str(path)}).save(tmp_path / "data")
    work(tmp_path / "out", tmp_path / "data", formats=["txt", "ctm", "stm", "json"])
    assert (tmp_path / "out/b.txt").read_text() == "one\n" and (tmp_path / "out/a.txt").read_text() == "two\n"
    assert (tmp_path / "out/a.ctm").read_text().startswith(f"call 1 {half:.3f} ")
    assert (tmp_path / "out/a.stm").read_text().startswith(f"call 1 bob {half:.3f} ")
    content = json.loads((tmp_path / "out/a.json").read_text())
    assert content["file"] == "a" and content["words"][0]["start"] == 0.0


def test_two_outputs_never_have_one_name(tmp_path):
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in/a.wav", np.zeros((800, 2), np.float32), RATE)
    shutil.copy(tmp_path / "in/a.wav", tmp_path / "in/failures")
    with pytest.raises(UsageError, match=r"its output would be failures\.tsv, which the job itself writes"):
        work(tmp_path / "out", tmp_path / "in/failures", formats=["tsv"])
    # A channel's name is only known when the file has been looked at.
    DataDir.from_utterances([Utterance("b.wav", "b.wav", "s"), Utterance("b.wav.channel0", "b.wav.channel0", "s")],
                            {name: f"cat {tmp_path}/in/a.wav |" if "channel" in name else str(tmp_path / "in/a.wav")
                             for name in ("b.wav", "b.wav.channel0")}, allow_pipes=True).save(tmp_path / "data")
    items = find_items([str(tmp_path / "data")], allow_pipes=True)  # a command makes one item, whatever its channels
    with pytest.raises(UsageError, match=r"would share the outputs b\.wav\.channel0; transcribe them apart"):
        job.Job(tmp_path / "out", ["txt"], {}).run(pipeline.Local(RECOGNIZER, 1), items, apart=True)


# -------------------------------------------------------------------------------------------------- what is done again


def test_nothing_is_done_twice(recordings, tmp_path, heard):
    work(tmp_path / "out", recordings)
    before = outputs(tmp_path / "out")
    heard.clear()
    report = work(tmp_path / "out", recordings)
    assert (report.transcribed, report.kept, heard) == (0, 12, []) and outputs(tmp_path / "out") == before
    assert len(rows(tmp_path / "out", "file")) == 12


def test_what_is_new_changed_or_gone_is_done_and_no_more(recordings, tmp_path):
    work(tmp_path / "out", recordings)
    before = outputs(tmp_path / "out")
    say(recordings / "x/new.wav", "new")
    say(recordings / "y/02.wav", "changed")
    (tmp_path / "out/x/01.wav.txt").unlink()
    report = work(tmp_path / "out", recordings)
    assert (report.transcribed, report.kept) == (3, 10)
    assert outputs(tmp_path / "out") == before | {"x/new.wav.txt": b"new\n", "y/02.wav.txt": b"changed\n"}


def test_the_content_counts_not_the_name_or_the_times(recordings, tmp_path):
    work(tmp_path / "out", recordings)
    first, second = recordings / "x/01.wav", recordings / "x/03.wav"
    for path in (first, second):
        os.utime(path)
    assert work(tmp_path / "out", recordings).kept == 12
    first.rename(recordings / "x/swap")
    second.rename(first)
    (recordings / "x/swap").rename(second)
    assert work(tmp_path / "out", recordings).transcribed == 2
    assert (tmp_path / "out/x/01.wav.txt").read_text() == "text d na na na\n"


def two_days(tmp_path):
    """Folders with another recording of one name, the first of which is transcribed."""
    monday, tuesday = tmp_path / "mon", tmp_path / "tue"
    say(monday / "a.wav", "monday")
    say(tuesday / "a.wav", "tuesday")
    work(tmp_path / "out", monday)
    return monday, tuesday


def test_another_recording_of_the_name_is_refused(tmp_path):
    monday, tuesday = two_days(tmp_path)
    with pytest.raises(UsageError, match=r"tue/a\.wav and another recording, transcribed from .*mon/a\.wav, would share the "
                                         r"outputs .*out/a\.wav; give --base"):
        work(tmp_path / "out", tuesday)
    assert (tmp_path / "out/a.wav.txt").read_text() == "monday\n" and work(tmp_path / "out", monday).kept == 1
    assert work(tmp_path / "out", monday, tuesday).transcribed == 2  # mon/a.wav, tue/a.wav


def test_the_same_recording_elsewhere_is_none_other(tmp_path):
    monday, tuesday = two_days(tmp_path)
    shutil.copytree(monday, tmp_path / "copy")
    (tmp_path / "link").symlink_to(monday)
    assert [work(tmp_path / "out", tmp_path / name).kept for name in ("copy", "link")] == [1, 1]
    say(monday / "a.wav", "changed")
    assert work(tmp_path / "out", tmp_path / "link").transcribed == 1
    monday.rename(tmp_path / "moved")  # as from a machine that has the corpus somewhere else
    (tmp_path / "link").unlink()
    assert work(tmp_path / "out", tuesday).transcribed == 1 and (tmp_path / "out/a.wav.txt").read_text() == "tuesday\n"


def test_another_utterance_of_the_name_is_refused(tmp_path):
    for day in ("mon", "tue"):
        DataDir.from_utterances([Utterance("u", "u", "s")], {"u": str(say(tmp_path / f"{day}.wav", day))}).save(tmp_path / day)
    work(tmp_path / "out", tmp_path / "mon")
    with pytest.raises(UsageError, match=r"utterance u and another recording, transcribed from .*/mon, would share the outputs"):
        work(tmp_path / "out", tmp_path / "tue")


def test_a_ledger_that_knows_no_origins_goes_on(tmp_path):
    _, tuesday = two_days(tmp_path)
    path = tmp_path / "out/ledger.jsonl"
    path.write_text("".join(json.dumps({name: value for name, value in json.loads(line).items() if name != "origins"}) + "\n"
                            for line in path.read_text().splitlines()))
    assert work(tmp_path / "out", tuesday).transcribed == 1


def test_what_counts_of_the_settings(tmp_path):
    """The content of the decoder's files, wherever they lie; and the prior, where it has a weight."""
    def fingerprint(lm: Path, weight: float = 0.5, prior: float = -1.0) -> str:
        recognizer = RECOGNIZER.with_options(DecoderOptions("beam", lm=lm, weights=Weights(prior_weight=weight),
                                                            prior=(prior,) * RECOGNIZER.model.tokenizer.vocab_size))
        return job.fingerprint_of(job.settings_of(recognizer))

    lm, same, other = tmp_path / "a.arpa", tmp_path / "b.arpa", tmp_path / "c.arpa"
    for path, sentence in ((lm, "one two"), (same, "one two"), (other, "two one two")):
        build_ngram([sentence] * 4, order=1).save(path)
    assert fingerprint(lm) == fingerprint(same) != fingerprint(other)
    assert fingerprint(lm) != fingerprint(lm, prior=-2.0)
    assert fingerprint(lm, 0.0) == fingerprint(lm, 0.0, prior=-2.0)


def test_a_file_is_read_again_only_when_it_has_been_touched(recordings, tmp_path, monkeypatch):
    """Even one of the same size, changed and set back to its old time, is found: a change of status cannot be set back."""
    from asr.transcription import survey

    monkeypatch.setattr(survey, "SETTLED_S", 0)
    for path in recordings.rglob("*.wav"):
        age(path)
    work(tmp_path / "out", recordings)
    read = []
    original = audio.identify
    monkeypatch.setattr(audio, "identify", lambda path: read.append(Path(path).name) or original(path))
    assert work(tmp_path / "out", recordings).kept == 12 and read == []
    say(recordings / "x/01.wav", "text z na")
    age(recordings / "x/01.wav")
    assert work(tmp_path / "out", recordings).transcribed == 1 and read == ["01.wav"]
    assert (tmp_path / "out/x/01.wav.txt").read_text() == "text z na\n"


def test_another_model_does_all_again_and_leaves_nothing_of_the_first(recordings, tmp_path):
    work(tmp_path / "out", recordings, formats=["txt", "srt"])
    report = work(tmp_path / "out", recordings, recognizer=OTHER)
    assert report.transcribed == 12 and not list((tmp_path / "out").rglob("*.srt"))
    assert work(tmp_path / "out", recordings, recognizer=OTHER).kept == 12


def test_another_format_is_added(recordings, tmp_path, heard):
    work(tmp_path / "out", recordings)
    assert work(tmp_path / "out", recordings, formats=["json"]).transcribed == 12
    heard.clear()
    assert work(tmp_path / "out", recordings, formats=["txt", "json"]).kept == 12 and heard == []
    assert len(outputs(tmp_path / "out")) == 24


def test_a_batch_that_was_begun_is_taken_up_as_it_was(recordings, tmp_path, heard):
    """So that what is left of it is computed with the same mates, to the same bits; only what is missing is written."""
    work(tmp_path / "out", recordings, batch_seconds=2.0)
    mates = next(row["files"] for row in rows(tmp_path / "out", "batch") if "files" in row and len(row["files"]) > 2)
    names = [name for name, _ in mates]
    (tmp_path / "out" / f"{names[1]}.txt").unlink()
    heard.clear()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.txt")}
    report = work(tmp_path / "out", recordings, batch_seconds=9.0)
    assert heard == names and report.transcribed == 1
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


# ------------------------------------------------------------------------------------------------------------ faults


def test_bad_inputs_are_rows_and_the_rest_goes_on(recordings, tmp_path):
    whole = (recordings / "y/00.wav").read_bytes()
    spoilt = {"x/01.wav": whole[:1000], "x/03.wav": b"", "x/05.wav": b"not audio at all, but long enough to be"}
    for name, content in spoilt.items():
        (recordings / name).write_bytes(content)
    report = work(tmp_path / "out", recordings)
    assert (report.files, report.transcribed, len(report.failed)) == (12, 9, 3)
    lines = (tmp_path / "out/failures.tsv").read_text().splitlines()
    assert lines[0] == "path\terror" and [line.split("\t")[0] for line in lines[1:]] == [str(recordings / name) for name in spoilt]
    for line, said in zip(lines[1:], ("cut: its header promises", "the file is empty", "not an audio file")):
        assert said in line
    said = json.loads((tmp_path / "out/transcribe.json").read_text())["failed"]
    assert said.keys() == {str(recordings / name) for name in spoilt}
    (recordings / "x/01.wav").write_bytes(whole)
    (recordings / "x/03.wav").unlink()
    report = work(tmp_path / "out", recordings)
    assert (report.files, report.transcribed, report.kept, len(report.failed)) == (11, 1, 9, 1)
    assert [line.split("\t")[0] for line in (tmp_path / "out/failures.tsv").read_text().splitlines()[1:]] == [
        str(recordings / "x/05.wav")]
    (recordings / "x/05.wav").write_bytes(whole)
    assert work(tmp_path / "out", recordings).failed == {} and not (tmp_path / "out/failures.tsv").exists()


def test_a_failure_that_passes_leaves_the_table(recordings, tmp_path):
    """A file that was done, could not be read for a while, and is as it was."""
    work(tmp_path / "out", recordings)
    path = recordings / "x/01.wav"
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "away")
    listed = find_items([], listed=[str(path)], base=recordings)
    again = job.Job(tmp_path / "out", ["txt"], job.settings_of(RECOGNIZER))
    assert "No such file" in again.run(pipeline.Local(RECOGNIZER, 1), listed).failed[str(path)]
    assert "No such file" in (tmp_path / "out/failures.tsv").read_text()
    path.unlink()
    (tmp_path / "kept").rename(path)
    report = work(tmp_path / "out", recordings)
    assert (report.transcribed, report.kept) == (0, 12) and not (tmp_path / "out/failures.tsv").exists()


@pytest.mark.parametrize("when", ["gone", "changed"])
def test_vanished_or_changed_between_the_first_look_and_the_reading(recordings, tmp_path, monkeypatch, when):
    original = job.survey_all
    path = recordings / "x/01.wav"
    content = path.read_bytes()

    def then(*arguments):
        found = original(*arguments)
        path.unlink() if when == "gone" else say(path, "another text")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(job, "survey_all", then)
        report = work(tmp_path / "out", recordings)
    (error,) = report.failed.values()
    assert ("No such file" if when == "gone" else "it changed while it was being transcribed") in error
    assert report.transcribed == 11 and not (tmp_path / "out/x/01.wav.txt").exists()
    path.write_bytes(content)
    assert work(tmp_path / "out", recordings).transcribed == 1 and not (tmp_path / "out/failures.tsv").exists()


def test_an_output_that_cannot_have_its_name_fails_alone(recordings, tmp_path):
    (tmp_path / "out/x/01.wav.txt").mkdir(parents=True)
    long = say(recordings / "long.wav", "long").rename(recordings / ("n" * 250 + ".wav"))
    report = work(tmp_path / "out", recordings)
    assert report.transcribed == 11 and set(report.failed) == {str(recordings / "x/01.wav"), str(long)}
    assert "x/01.wav.txt: cannot write: Is a directory" in report.failed[str(recordings / "x/01.wav")]
    assert "cannot write: File name too long" in report.failed[str(long)]


def test_a_name_is_too_long_only_where_its_output_is(recordings, tmp_path):
    """Temporary names are longer than final ones: they are cut, between two letters, and swept all the same."""
    name = "é" * 118 + ".wav"
    say(recordings / "long.wav", "long").rename(recordings / name)
    assert work(tmp_path / "out", recordings, formats=["txt", "json"]).failed == {}
    assert (tmp_path / "out" / f"{name}.txt").read_text() == "long\n"
    left, _ = create_temporary(tmp_path / "out" / f"{name}.json")
    assert len(os.fsencode(Path(left).name)) in (254, 255)
    assert work(tmp_path / "out", recordings).kept == 13 and not Path(left).exists()


def test_a_full_disk_ends_the_run_and_the_next_goes_on(recordings, tmp_path, monkeypatch):
    original, written = disk._write, 0

    def filling(path, content):
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(28, "No space left on device", str(path))
        return original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "_write", filling)
        with pytest.raises(AsrError, match=r"\.txt: cannot write: No space left on device; what is done is kept"):
            work(tmp_path / "out", recordings)
    left = len(outputs(tmp_path / "out"))
    assert 0 < left < 12 and not list((tmp_path / "out").rglob("*.tmp"))
    report = work(tmp_path / "out", recordings)
    assert report.transcribed + report.kept == 12 and len(outputs(tmp_path / "out")) == 12
    assert len({row["file"] for row in rows(tmp_path / "out", "file")}) == len(rows(tmp_path / "out", "file")) == 12


def test_fail_fast_stops_at_the_first(recordings, tmp_path):
    (recordings / "x/01.wav").write_bytes(b"")
    with pytest.raises(AsrError, match=r"x/01\.wav: cannot read: the file is empty .*--fail-fast"):
        work(tmp_path / "out", recordings, fail_fast=True)
    assert "x/01.wav" in (tmp_path / "out/failures.tsv").read_text() and not list((tmp_path / "out").rglob("*.txt"))
    (recordings / "x/01.wav").unlink()
    assert work(tmp_path / "out", recordings, fail_fast=True).transcribed == 11


def test_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / "in"
    path = say(folder / "a.wav", "one")
    name = os.fsdecode(b"gr\xf6\xdfe b.wav")
    path.rename(folder / name)
    (folder / os.fsdecode(b"\xff.wav")).write_bytes(b"")
    report = work(tmp_path / "out", folder, formats=list(FORMATS))
    assert report.transcribed == 1 and list(report.failed) == [f"{folder}/\\xff.wav"]
    assert (tmp_path / "out" / f"{name}.txt").read_text() == "one\n"
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["file"] == f"{folder}/gr\\xf6\\xdfe b.wav"
    assert (tmp_path / "out" / f"{name}.ctm").read_text().startswith("gr\\xf6\\xdfe%20b.wav 1 ")
    assert work(tmp_path / "out", folder, formats=list(FORMATS)).kept == 1


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path):
    say(tmp_path / "in/a.wav", "one")
    os.mkfifo(tmp_path / "pipe")
    report = work(tmp_path / "out", tmp_path / "in/a.wav", tmp_path / "pipe")
    assert report.transcribed == 1 and "it is no ordinary file; pipe its audio into" in report.failed[str(tmp_path / "pipe")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_that_may_not_be_read(recordings, tmp_path):
    (recordings / "x/01.wav").chmod(0)
    (recordings / "y").chmod(0)
    try:
        report = work(tmp_path / "out", recordings)
    finally:
        (recordings / "y").chmod(0o755)
    assert set(report.failed) == {str(recordings / "x/01.wav"), str(recordings / "y")} and report.transcribed == 5


# ------------------------------------------------------------------------------------------------------------- shards


def test_shards_part_the_work_by_content(recordings, tmp_path):
    shutil.copy(recordings / "x/01.wav", recordings / "y/same.wav")
    (recordings / "x/03.wav").write_bytes(b"")
    work(tmp_path / "whole", recordings, batch_seconds=0.1)
    reports = [work(tmp_path / "out", recordings, batch_seconds=0.1, shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert sum(report.files for report in reports) == 13 and sum(report.transcribed for report in reports) == 12
    assert min(report.files for report in reports) > 0 and sum(len(report.failed) for report in reports) == 1
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "out").glob("transcribe.*")) == [f"transcribe.{n}-of-3.json" for n in (1, 2, 3)]
    moved = recordings.rename(tmp_path / "elsewhere")
    again = [work(tmp_path / "out2", moved, batch_seconds=0.1, shard=Shard(number, 3)).transcribed for number in (1, 2, 3)]
    assert again == [report.transcribed for report in reports]  # whatever the files are called, and wherever they lie


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/4"])
def test_a_shard_that_is_none(text):
    with pytest.raises(UsageError, match="expected I/N"):
        Shard.parse(text)
