"""`asr data`: what it prints, what it writes, and its exit status (0 done, 1 faults or data errors, 2 wrong use)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from asr import audio
from asr.cli.main import app
from asr.corpus import DataDir, Utterance
from asr.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`train/`: six utterances of three speakers, a second each; the current folder is the one around it."""
    monkeypatch.chdir(tmp_path)
    wav = {}
    for speaker in ("ann", "bob", "cid"):
        for number in (1, 2):
            id = f"{speaker}-{number}"
            wav[id] = f"audio/{id}.wav"
            audio.write(wav[id], 0.1 * np.ones(8000 + 800 * number), 8000)
    DataDir.from_utterances([Utterance(id, id, id[:3], "yes no") for id in wav], wav).save("train")
    return tmp_path


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["data", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def ids(path: str) -> list[str]:
    return [u.id for u in DataDir.load(path).utterances]


def test_check_and_fix(folder: Path) -> None:
    assert run("check", "train").stdout == "train: no faults\n"
    text = folder / "train" / "text"
    text.write_text(text.read_text().replace("bob-1 yes no\n", "bob-1 \n") + "ann-9 yes\n")
    checked = run("check", "train", status=1)
    assert checked.stdout.splitlines() == [
        "train/text:3: spaces or tabs at the beginning or end of the line [asr data fix]",
        "train/text:3: bob-1: the transcript is empty [asr data fix drops the utterance]",
        "train/text:7: not sorted: ann-9 comes after cid-2 (the order is that of bytes, LC_ALL=C sort) [asr data fix]",
        "train/text:7: utterance ann-9 is unknown: it is not in utt2spk [asr data fix drops the line]"]
    assert checked.stderr == "4 faults\n"
    fixed = run("fix", "train")
    assert "train/utterance bob-1 dropped: it has no line in text" in fixed.stdout
    assert fixed.stdout.splitlines()[-1].endswith("faults that remain: 0; the files as they were are in train/.backup")
    run("check", "train")
    assert run("fix", "train").stdout == "train: 0 repairs; faults that remain: 0\n"


def test_fix_ends_with_1_while_faults_remain(folder: Path) -> None:
    text = folder / "train" / "text"
    text.write_text("ann-1 maybe\n" + text.read_text())
    result = run("fix", "train", status=1)
    assert "train/text:2: ann-1 comes twice" in result.stderr
    assert result.stdout.endswith("train: 0 repairs; faults that remain: 1\n")


def test_check_decodes_when_asked(folder: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 32000)
    audio.write("audio/ann-1.flac", samples, 8000)
    content = bytearray(Path("audio/ann-1.flac").read_bytes())
    content[20000:20100] = bytes(100)
    Path("audio/ann-1.flac").write_bytes(content)
    wav = folder / "train" / "wav.scp"
    wav.write_text(wav.read_text().replace("ann-1.wav", "ann-1.flac"))
    run("check", "train")
    assert "cut or corrupt" in run("check", "--audio", "decode", "train", status=1).stdout


@pytest.mark.parametrize(("options", "expected"), [
    (["--first", "2"], ["ann-1", "ann-2"]), (["--last", "1"], ["cid-2"]), (["--shortest", "2"], ["ann-1", "bob-1"]),
    (["--speakers", "cid,ann"], ["ann-1", "ann-2", "cid-1", "cid-2"]), (["--speakers", "list"], ["bob-1", "bob-2"]),
    (["--utterances", "utts"], ["ann-2", "bob-1"]), (["--utterances", "utts", "--speakers", "bob"], ["bob-1"]),
    (["--speakers", "bob,cid", "--last", "3"], ["bob-2", "cid-1", "cid-2"]),
])
def test_subset(folder: Path, options: list[str], expected: list[str]) -> None:
    (folder / "list").write_text("bob\n")
    (folder / "utts").write_text("bob-1 some text\nann-2\n")
    result = run("subset", "train", "--out", "part", *options)
    assert ids("part") == expected
    assert result.stdout == f"part: {len(expected)} utterances, {len({id[:3] for id in expected})} speakers\n"
    run("check", "part")


def test_subset_at_random(folder: Path) -> None:
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run("subset", "train", "--out", out, "--random", "3", "--seed", seed)
    assert ids("a") == ids("b") != ids("c")


def test_split_and_combine(folder: Path) -> None:
    run("split", "train", "--out", "parts", "--fractions", "0.6,0.4", "--names", "big, small")
    assert {id[:3] for id in ids("parts/big")}.isdisjoint({id[:3] for id in ids("parts/small")})
    run("check", "parts/big", "parts/small")
    run("combine", "parts/small", "parts/big", "--out", "whole")
    for table in ("text", "wav.scp", "utt2spk", "spk2utt"):
        assert (folder / "whole" / table).read_text() == (folder / "train" / table).read_text()
    run("split", "train", "--out", "jobs", "--parts", "4", "--by", "utterance")
    assert sorted(id for part in "1234" for id in ids(f"jobs/{part}")) == ids("train")


def test_info(folder: Path) -> None:
    text = folder / "train" / "text"
    text.write_text(text.read_text().replace("ann-1 yes no", "ann-1 " + "la" * 40))
    lines = run("info", "train").stdout.splitlines()
    for line in ("train", "  utterances  6", "  speakers    3", "  recordings  6", "  duration    0.00 h (0:00:06.9)",
                 "  audio       6 x 8000 Hz, mono, WAV", "    1.1-1.2 s         3  " + "#" * 40,
                 "    'y'         5  #####", "    ann-1: 54 frames, 80 needed"):
        assert line in lines, "\n".join(lines)
    Path("audio/ann-1.wav").unlink()
    assert "  unreadable  1; not counted in the hours" in run("info", "train", status=1).stdout


def test_what_is_suspicious(folder: Path) -> None:
    """The fixture's audio is a constant: no speech, and flat; half of the directory is in another one."""
    run("split", "train", "--out", "parts", "--parts", "2", "--by", "utterance")
    shown = run("info", "--deep", "train", "parts/1", "--out", "found.tsv", "--top", "2", "--jobs", "2").stdout
    assert {"9 silence", "9 clipping", "3 utterance in two parts"} < {*shown.split("suspicious: ")[1].split("\n")[0].split(", ")}
    rows = (folder / "found.tsv").read_text().splitlines()
    assert f"  ... and {len(rows) - 3} more; --out FILE.tsv has them all\nfound.tsv: {len(rows) - 1} findings\n" in shown
    Path("audio/cid-1.wav").unlink()
    assert "cid-1.wav: cannot read" in run("info", "--deep", "train", status=1).stdout
    with pytest.raises(UsageError, match="add --deep"):
        run("info", "train", "--out", "found.tsv")


@pytest.mark.parametrize(("arguments", "message"), [
    (["check", "--audio", "some", "train"], "choose none, header or decode"),
    (["subset", "train", "--out", "part"], "choose one of --first"),
    (["subset", "train", "--out", "part", "--first", "1", "--last", "1"], "choose one of --first"),
    (["subset", "train", "--out", "./train", "--first", "1"], "it is the directory that is read"),
    (["split", "train", "--out", "parts"], "choose --parts N or --fractions"),
    (["split", "train", "--out", "parts", "--parts", "2", "--fractions", "1,1"], "choose --parts N or --fractions"),
    (["split", "train", "--out", "parts", "--fractions", "1,x"], "numbers with commas"),
    (["split", "train", "--out", "parts", "--fractions", "1,-1"], "above 0"),
    (["split", "train", "--out", "parts", "--parts", "2", "--names", "a"], "2 different names"),
    (["split", "train", "--out", "parts", "--parts", "2", "--by", "moon"], "choose speaker or utterance"),
    (["split", "train", "--out", ".", "--parts", "2", "--names", "train,dev"], "would be written over"),
    (["split", "train", "--out", "parts", "--parts", "2", "--names", "../part,b"], "its name has no /"),
    (["split", "train", "--out", "parts", "--parts", "2", "--names", "..,b"], r"is not \. or \.\."),
    (["split", "train", "--out", "parts", "--parts", "2", "--names", "a, a"], "2 different names"),
    (["combine", "train", "--out", "train"], "it is the directory that is read"),
    (["subset", "train", "--out", "part", "--first", "2", "--seed", "0"], "add --random"),
    (["info", "train", "--jobs", "1"], "--jobs: .*add --deep"),
    (["info", "train", "--top", "0", "--jobs", "2"], "--top, --jobs: .*add --deep"),
])
def test_wrong_use(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*arguments)
    assert not (folder / "part").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (["subset", "train", "--out", "part", "--first", "7"], "7 utterances were asked for, it has 6"),
    (["subset", "train", "--out", "part", "--speakers", "zoe"], "no such speaker: zoe"),
    (["subset", "train", "--out", "part", "--utterances", "/dev/null"], "no utterance is in the lists"),
    (["subset", "train", "--out", "part", "--utterances", "utts", "--speakers", "ann"], "no such utterance: ann-9"),
    (["subset", "train", "--out", "part", "--utterances", "bobs", "--speakers", "ann"], "no utterance is in the lists"),
    (["split", "train", "--out", "parts", "--parts", "4"], "3 speaker.* cannot fill 4 parts"),
    (["combine", "train", "train", "--out", "whole"], "are in train and in train"),
])
def test_data_that_does_not_serve(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "utts").write_text("ann-1\nann-9\n")
    (folder / "bobs").write_text("bob-1\n")
    with pytest.raises(DataError, match=message):
        run(*arguments)
    assert not (folder / "part").exists()


def test_exit_status_of_the_program(folder: Path) -> None:
    for arguments, status, said in ((["info", "gone"], 2, "asr: error: gone: no such data directory; check the path\n"),
                                    (["subset", "train", "--out", "train", "--first", "1"], 2, "asr: error: --out train: ")):
        done = subprocess.run([sys.executable, "-m", "asr", "data", *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith(said)


@pytest.mark.parametrize("command", ["check", "fix", "subset", "split", "combine", "info"])
def test_help_shows_an_example(command: str) -> None:
    assert f"asr data {command} data/" in run(command, "--help").stdout


def test_recombine_cuts_words_where_the_ctm_has_them(folder):
    ctm = folder / "words.ctm"
    ctm.write_text("".join(f"{id} 1 0.10 0.40 yes 1.0\n{id} 1 0.55 0.40 no 1.0\n" for id in DataDir.load("train").wav))
    result = run("recombine", "train", "--ctm", str(ctm), "--count", "7", "--words", "2-3", "--seed", "1", "--out", "strings")
    assert "strings: 7 utterances, 3 speakers" in result.output
    made = DataDir.load("strings")
    assert made.check() == [] and all(2 <= len((u.text or "").split()) <= 3 for u in made.utterances)
    run("combine", "train", "strings", "--out", "both")
    assert len(DataDir.load("both")) == 6 + 7

    with pytest.raises(UsageError, match="as in 2-8"):
        run("recombine", "train", "--ctm", str(ctm), "--count", "1", "--words", "2", "--out", "strings")
    ctm.write_text(ctm.read_text() + "dan-1 1 0.10 0.40 yes\n")
    with pytest.raises(DataError, match=r"1 recordings are not in .*train \(first: dan-1 1\)"):
        run("recombine", "train", "--ctm", str(ctm), "--count", "1", "--out", "strings")


def test_recombine_finds_the_words_of_segments(folder):
    """Times of a ctm count from the start of the recording, and a word belongs to the segment that has its middle."""
    from asr.transcription.directory import words_of

    audio.write("call.wav", 0.1 * np.ones(32000), 8000)
    data = DataDir.from_utterances([Utterance("ann-a", "call", "ann", "yes no", 0.0, 2.0),
                                    Utterance("ann-b", "call", "ann", "yes", 2.0, 4.0)], {"call": "call.wav"})
    Path("call.ctm").write_text("call 1 0.5 0.4 yes\ncall 1 1.7 0.5 no\ncall 1 2.5 0.5 yes\n")
    found = words_of(data, "call.ctm")
    assert {id: [(round(word.start, 3), word.word) for word in words] for id, words in found.items()} == {
        "ann-a": [(0.5, "yes"), (1.7, "no")], "ann-b": [(0.5, "yes")]}
