"""Every planted fault is found, with its file and line; repairing makes a clean directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr import audio
from asr.corpus import DataDir, Utterance, check
from asr.corpus import tables as corpus_tables
from asr.corpus.check import _difference
from asr.corpus.repair import fix
from asr.errors import DataError
from asr.system import atomic_path

Edit = Callable[..., None]


def tone(seconds: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * 8000)) / 8000)).astype(np.float32)


# table, old text, new text, file and line of the fault, its message, a part of its cure
PLANTED = [
    ("text", "ann-1 one two\nann-2 three\n", "ann-2 three\nann-1 one two\n", "text:2", "not sorted: ann-1 comes after ann-2",
     "fix"),
    ("text", "ann-2 three\n", "ann-2 three\nann-2 three\n", "text:3", "ann-2 comes twice, first in line 2, with the same",
     "fix"),
    ("text", "ann-2 three\n", "ann-2 three\nann-2 tree\n", "text:3", "ann-2 comes twice, first in line 2, with other",
     "decide"),
    ("text", "ann-2 three\n", "", "utt2spk:2", "utterance ann-2 has no line in text", "fix"),
    ("text", "ann-2 three", "ann-2", "text:2", "ann-2: the transcript is empty", "fix"),
    ("text", "cid-1 eight nine\n", "cid-1 eight nine\ndan-1 ten\n", "text:6", "utterance dan-1 is unknown", "fix"),
    ("text", "three", "three ", "text:2", "spaces or tabs at the beginning or end", "fix"),
    ("text", "three", "three\t", "text:2", "spaces or tabs at the beginning or end", "fix"),
    ("text", "three\n", "three\n\n", "text:3", "the line is empty", "fix"),
    ("text", "three\n", "three\r\n", "text:2", "CR LF", "fix"),
    ("text", "eight nine\n", "eight nine", "text:5", "the last line has no line end", "fix"),
    ("text", "ann-1 one", "\ufeffann-1 one", "text:1", "byte-order mark", "fix"),
    ("text", "three", "thr\u00a0ee", "text:2", "Unicode blank U+00A0", "fix"),
    ("text", "three", "three </s>", "text:2", "holds </s>", "by hand"),
    ("utt2spk", "bob-2 bob\n", "bob-2 bob\nbob-2 bob\n", "utt2spk:5", "bob-2 comes twice, first in line 4, with the same",
     "fix"),
    ("utt2spk", "bob-1 bob", "bob-1", "utt2spk:3", "expected `utterance speaker`, found `bob-1`", "fix"),
    ("utt2spk", "bob-1 bob", "bob-1 bob x", "utt2spk:3", "expected `utterance speaker`", "fix"),
    ("utt2spk", "bob-1 bob", "bob-1 ann", "spk2utt:1", "the utterances of ann are not those of utt2spk: lacks bob-1", "fix"),
    ("utt2spk", "bob-1 bob", "bob-1 zed", "utt2spk:4", "bob-2 of bob follows bob-1 of zed", "--prefix-speaker"),
    ("spk2utt", "bob bob-1 bob-2", "bob bob-1", "spk2utt:2", "lacks bob-2", "fix"),
    ("spk2utt", "cid cid-1\n", "cid cid-1\ndan dan-1\n", "spk2utt:4", "speaker dan is not in utt2spk", "fix"),
    ("spk2utt", "cid cid-1\n", "", "spk2utt", "speaker cid of utt2spk is missing", "fix"),
    ("wav.scp", "ann-2.wav", "gone.wav", "wav.scp:2", "cannot read: No such file", "fix"),
    ("wav.scp", "ann-2 /", "ann-2 ~/", "wav.scp:2", "begins with ~", "full path"),
    ("wav.scp", "ann-2.wav", "ann-2.wav |", "wav.scp:2", "recording ann-2 is a shell command", "--allow-pipes"),
    ("wav.scp", "bob-1 ", "bob-3 ", "utt2spk:3", "recording bob-1 has no line in wav.scp", "fix"),
]


@pytest.mark.parametrize(("table", "old", "new", "where", "message", "cure"), PLANTED,
                         ids=[f"{number}-{fault[0]}" for number, fault in enumerate(PLANTED)])
def test_a_planted_fault_is_found(plain: DataDir, edit: Edit, table: str, old: str, new: str, where: str, message: str,
                                  cure: str) -> None:
    edit(f"plain/{table}", old, new)
    faults = plain.check()
    found = [fault for fault in faults if str(fault).startswith(f"{where}: ") and message in fault.message]
    assert len(found) == 1, [str(fault) for fault in faults]
    assert cure in found[0].cure


SEGMENT_FAULTS = [
    ("ann-a call1 0.25 1", "ann-a call1 1 0.25", "expected `utterance recording start end, with 0 <= start < end"),
    ("ann-a call1 0.25 1", "ann-a call1 0.25 0.25", "expected `utterance recording start end"),
    ("ann-a call1 0.25 1", "ann-a call1 -0.25 1", "expected `utterance recording start end"),
    ("ann-a call1 0.25 1", "ann-a call1 nan 1", "expected `utterance recording start end"),
    ("ann-a call1 0.25 1", "ann-a call1 0.25", "expected `utterance recording start end"),
    ("ann-a call1 0.25 1", "ann-a call1 0.25 3.6", "0.25-3.6 s is beyond the end of recording call1 at 3 s"),
    ("ann-a call1 0.25 1", "ann-a call1 3 3.2", "3-3.2 s is beyond the end"),
    ("ann-a call1 0.25 1", "ann-a call9 0.25 1", "recording call9 has no line in wav.scp"),
]


@pytest.mark.parametrize(("old", "new", "message"), SEGMENT_FAULTS)
def test_a_faulty_segment(segmented: DataDir, tmp_path: Path, edit: Edit, old: str, new: str, message: str) -> None:
    edit("segmented/segments", old, new)
    found = [fault for fault in segmented.check() if message in fault.message]
    assert [(fault.file, fault.line) for fault in found] == [("segments", 1)]
    repair = fix(tmp_path / "segmented")
    assert repair.remaining == []
    assert [u.id for u in DataDir.load(tmp_path / "segmented").utterances] == ["ann-b", "bob-a", "bob-b"]


def test_small_overshoot_and_open_ends_are_no_faults(segmented: DataDir, edit: Edit, tmp_path: Path) -> None:
    edit("segmented/segments", "call2 1.5 3\n", "call2 1.5 -1\n")
    edit("segmented/segments", "call1 1.25 2.75", "call1 1.25 3.4")
    assert segmented.check() == []
    assert fix(tmp_path / "segmented").remaining == []
    assert (tmp_path / "segmented" / "segments").read_text().splitlines()[2:] == ["bob-a call1 1.25 3.4",
                                                                                  "bob-b call2 1.5 3"]


ARCHIVE = f"{__file__}:6"  # a place in a file that is there

CARRIED_FAULTS = [
    ("utt2dur", "{u} 1.2\n", "ann-1 1.2", "ann-1 0", "expected `utterance seconds, above 0`"),
    ("utt2dur", "{u} 1.2\n", "ann-1 1.2", "ann-1 60", "ann-1: 60 s is on record, its audio lasts 1.000 s"),
    ("reco2dur", "{u} 1.2\n", "ann-1 1.2\n", "", "recording ann-1 has no line in reco2dur"),
    ("utt2num_frames", "{u} 98\n", "ann-1 98", "ann-1 9.8", "a whole number"),
    ("utt2lang", "{u} en\n", "ann-1 en", "ann-1 en de", "expected `utterance language`"),
    ("feats.scp", f"{{u}} {ARCHIVE}\n", f"ann-1 {ARCHIVE}", "ann-1", "no path after the id"),
    ("spk2gender", "{s} f\n", "ann f", "ann x", "expected `speaker m|f`"),
    ("cmvn.scp", f"{{s}} {ARCHIVE}\n", f"ann {ARCHIVE}\n", "", "speaker ann has no line in cmvn.scp"),
    ("utt2warp", "{u} 0.9\n", "ann-1 0.9", "ann-1 9", "from 0.5 to 1.5"),
]


@pytest.mark.parametrize(("table", "line", "old", "new", "message"), CARRIED_FAULTS)
def test_faults_of_tables_beside_the_main_ones(plain: DataDir, tmp_path: Path, edit: Edit, table: str, line: str, old: str,
                                               new: str, message: str) -> None:
    ids = plain.speakers if table.startswith(("spk", "cmvn")) else [u.id for u in plain.utterances]
    (tmp_path / "plain" / table).write_text("".join(line.format(u=id, s=id) for id in ids))
    assert plain.check() == []
    edit(f"plain/{table}", old, new)
    faults = plain.check()
    assert any(message in fault.message for fault in faults), [str(fault) for fault in faults]
    assert fix(tmp_path / "plain").remaining == []


def test_what_spk2utt_lacks_is_found_in_one_pass() -> None:
    class Id(str):
        hashed = 0

        def __hash__(self) -> int:
            Id.hashed += 1
            return super().__hash__()

    ids = [Id(f"u{number:04d}") for number in range(1000)]
    assert _difference(ids, ids[:-1]) == "lacks u0999"
    assert Id.hashed < 10 * len(ids)


def test_fix_never_takes_a_channel_away(plain: DataDir, tmp_path: Path, edit: Edit) -> None:
    """A recording without its line would be read as the average of its channels."""
    soundfile.write(plain.wav["bob-1"], np.stack([tone(1.2), tone(1.2) / 2], axis=1), 8000)
    table = tmp_path / "plain" / "reco2file_and_channel"
    table.write_text("bob-1 call B\n")
    repair = fix(tmp_path / "plain")
    assert repair.remaining == []
    assert table.read_text() == "ann-1 ann-1 A\nann-2 ann-2 A\nbob-1 call B\nbob-2 bob-2 A\ncid-1 cid-1 A\n"
    for line, message, cure in (("bob-1 call 2\n", "expected `recording file channel, a letter from A to Z`", "by hand"),
                                ("", "recording bob-1 has no line in reco2file_and_channel", "add the line")):
        table.write_text(f"ann-1 ann-1 A\n{line}")
        remaining = fix(tmp_path / "plain").remaining
        assert [message in fault.message and cure in fault.cure for fault in remaining] == [True]
        assert line in table.read_text() and "cid-1 cid-1 A\n" in table.read_text()


def test_text_that_is_not_utf8(plain: DataDir, tmp_path: Path) -> None:
    (tmp_path / "plain" / "text").write_bytes((tmp_path / "plain" / "text").read_bytes().replace(b"three", b"thr\xe9e"))
    fault = next(fault for fault in plain.check() if fault.file == "text")
    assert fault.message == "not UTF-8 (byte 0xe9 in column 10)"
    assert "iconv" in fault.cure
    with pytest.raises(DataError, match="nothing was changed"):
        fix(tmp_path / "plain")
    assert not (tmp_path / "plain" / ".backup").exists()


@pytest.mark.parametrize("name", ["cut", "empty", "text"])
def test_audio_that_cannot_be_read(plain: DataDir, tmp_path: Path, name: str) -> None:
    path = Path(plain.wav["bob-1"])
    content = path.read_bytes()
    path.write_bytes({"cut": content[:5000], "empty": b"", "text": b"no sound at all" * 10}[name])
    assert [(f.file, f.line) for f in plain.check()] == [("wav.scp", 3)]
    assert plain.check(audio="none") == []
    repair = fix(tmp_path / "plain")
    assert repair.remaining == []
    assert any(line.startswith("wav.scp:3: dropped: bob-1:") for line in repair.done)
    assert len(DataDir.load(tmp_path / "plain")) == 4


def test_decoding_finds_what_headers_hide(plain: DataDir) -> None:
    path = Path(plain.wav["ann-1"]).with_suffix(".flac")
    audio.write(path, tone(3.0), 8000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2:len(content) // 2 + 40] = b"\0" * 40
    path.write_bytes(content)
    data = DataDir.from_utterances([Utterance("a", "a", "a", "x")], {"a": str(path)})
    assert data.check() == []
    assert "cut or corrupt" in data.check(audio="decode")[0].message


def test_a_pipe_is_checked_when_it_may_run(plain: DataDir, tmp_path: Path, edit: Edit) -> None:
    edit("plain/wav.scp", f"{tmp_path}/audio/ann-1.wav", f"cat {tmp_path}/audio/ann-1.wav |")
    edit("plain/wav.scp", f"{tmp_path}/audio/ann-2.wav", "cat gone.wav |")
    assert [fault.line for fault in check(tmp_path / "plain")] == [1, 2]
    (fault,) = check(tmp_path / "plain", allow_pipes=True)
    assert "ended with status 1" in fault.message


# --------------------------------------------------------------------------------------------------------- repair


# Faults that need no decision: whichever are planted together, the repair leaves none. (A line of `text` that comes twice
# is left out: another fault planted in one of the two makes them contradict each other.)
MENDABLE = [number for number, fault in enumerate(PLANTED) if fault[5] == "fix" and number != 1]


@given(chosen=st.sets(st.sampled_from(MENDABLE), min_size=1, max_size=6))
def test_fix_then_check_is_clean(tmp_path: Path, chosen: set[int]) -> None:
    folder = tmp_path / "d"
    wav = {}
    for number, id in enumerate(("ann-1", "ann-2", "bob-1", "bob-2", "cid-1")):
        wav[id] = str(tmp_path / f"{id}.wav")
        if not Path(wav[id]).exists():
            audio.write(wav[id], tone(1.0 + 0.1 * number), 8000)
    texts = ["one two", "three", "four five six", "seven", "eight nine"]
    DataDir.from_utterances([Utterance(id, id, id[:3], text) for id, text in zip(wav, texts)], wav).save(folder)
    planted = 0
    for number in sorted(chosen):
        table, old, new = PLANTED[number][:3]
        content = (folder / table).read_text(encoding="utf-8")
        if old in content:  # an earlier fault may have taken the line away
            (folder / table).write_text(content.replace(old, new, 1), encoding="utf-8", newline="")
            planted += 1
    assert (len(check(folder)) > 0) == (planted > 0)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    repair = fix(folder)
    assert repair.remaining == check(folder) == []
    assert DataDir.load(folder).check() == []
    if repair.done:
        assert repair.backup is not None
        assert {path.name: path.read_bytes() for path in repair.backup.iterdir()} == before
    assert fix(folder).done == []


def test_fix_names_what_it_drops_and_keeps_a_backup(plain: DataDir, tmp_path: Path, edit: Edit) -> None:
    edit("plain/text", "ann-2 three\n", "ann-2\n")
    (tmp_path / "plain" / "utt2lang").write_text("ann-1 en\nann-2 en\n")
    repair = fix(tmp_path / "plain")
    assert repair.done == ["text:2: dropped: ann-2: the transcript is empty",
                           "utterance ann-2 dropped: it has no line in text",
                           *[f"{name}: 1 line(s) dropped that belong to no utterance left: ann-2"
                             for name in ("utt2spk", "utt2lang")],
                           "utt2lang: set aside: it has not a line for every id",
                           "wav.scp: 1 line(s) dropped that belong to no utterance left: ann-2",
                           "spk2utt: derived from utt2spk"]
    assert not (tmp_path / "plain" / "utt2lang").exists()
    assert (tmp_path / "plain" / ".backup" / "utt2lang").read_text() == "ann-1 en\nann-2 en\n"


def test_fix_leaves_contradictions_to_a_person(plain: DataDir, tmp_path: Path, edit: Edit) -> None:
    edit("plain/text", "ann-2 three\n", "ann-2 three\nann-2 tree\n")
    edit("plain/utt2spk", "bob-1 bob\nbob-2 bob\n", "bob-2 bob\nbob-1 bob\n")
    repair = fix(tmp_path / "plain")
    assert [(f.file, f.line) for f in repair.remaining] == [("text", 3)]
    assert "utt2spk: sorted" in repair.done
    assert "ann-2 three\nann-2 tree\n" in (tmp_path / "plain" / "text").read_text()


def test_fix_changes_nothing_when_nothing_would_remain(plain: DataDir, tmp_path: Path) -> None:
    for path in plain.wav.values():
        Path(path).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    with pytest.raises(DataError, match="no utterance is whole, so nothing was changed"):
        fix(tmp_path / "plain")
    assert {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()} == before


def test_speakers_become_prefixes(tmp_path: Path, plain: DataDir) -> None:
    names = {"7_zoe": "zoe", "8_abe": "abe", "zoe-9": "zoe"}
    data = DataDir([Utterance(id, id, speaker, "x") for id, speaker in names.items()],
                   dict(zip(names, plain.wav.values())), feats={id: f"{__file__}:{place}" for place, id in enumerate(names)})
    data.save(tmp_path / "d")
    assert ["--prefix-speaker" in fault.cure for fault in data.check()] == [True]
    assert fix(tmp_path / "d", prefix_speaker=True).remaining == []
    renamed = DataDir.load(tmp_path / "d")
    assert [u.id for u in renamed.utterances] == ["abe-8_abe", "zoe-7_zoe", "zoe-9"]
    assert renamed.feats == {"abe-8_abe": data.feats["8_abe"], "zoe-7_zoe": data.feats["7_zoe"], "zoe-9": data.feats["zoe-9"]}
    assert renamed.wav["abe-8_abe"] == data.wav["8_abe"]
    assert (tmp_path / "d" / ".backup" / "text").read_text() == "7_zoe x\n8_abe x\nzoe-9 x\n"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_backup_is_of_the_files_as_they_were(plain: DataDir, tmp_path: Path, edit: Edit) -> None:
    """Also where the repair has two steps; and a later repair has a backup of its own."""
    folder = tmp_path / "plain"
    edit("plain/text", "three", "three ")
    edit("plain/utt2spk", "bob-1 bob\nbob-2 bob\n", "bob-1 zoe\nbob-2 bob\n")
    before = contents(folder)
    repair = fix(folder, prefix_speaker=True)
    assert "utterance ids begin with their speaker's" in repair.done
    assert repair.backup == folder / ".backup" and contents(repair.backup) == before
    assert fix(folder, prefix_speaker=True).backup is None
    edit("plain/text", "three", "three ")
    between = contents(folder)
    second = fix(folder).backup
    assert second == folder / ".backup.2" and contents(second) == between
    assert contents(folder / ".backup") == before


def test_a_repair_that_fails_leaves_the_files_as_they_were(plain: DataDir, tmp_path: Path, edit: Edit,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plain"
    for name in ("text", "utt2spk", "wav.scp"):
        edit(f"plain/{name}", "ann-2", " ann-2")
    before = contents(folder)
    names = []

    def full(path: Path) -> object:
        names.append(path)
        if len(names) == 3:
            raise OSError("No space left on device")
        return atomic_path(path)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_tables, "atomic_path", full)
        with pytest.raises(OSError, match="No space left"):
            fix(folder)
    assert contents(folder) == before
    assert fix(folder).backup == folder / ".backup.2"
    assert contents(folder / ".backup") == contents(folder / ".backup.2") == before
    (folder / "wav.scp").unlink()
    with pytest.raises(DataError, match=r"wav\.scp: no such file.*an earlier one is in .*\.backup"):
        fix(folder)
