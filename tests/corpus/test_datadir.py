"""Reading and writing data directories; lhotse reads what we write."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.errors import AudioError, DataError


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_what_is_written(plain: DataDir, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    assert sorted(path.name for path in folder.iterdir()) == ["spk2utt", "text", "utt2spk", "wav.scp"]
    assert lines(folder / "text") == ["ann-1 one two", "ann-2 three", "bob-1 four five six", "bob-2 seven",
                                      "cid-1 eight nine"]
    assert lines(folder / "utt2spk") == ["ann-1 ann", "ann-2 ann", "bob-1 bob", "bob-2 bob", "cid-1 cid"]
    assert lines(folder / "spk2utt") == ["ann ann-1 ann-2", "bob bob-1 bob-2", "cid cid-1"]
    assert lines(folder / "wav.scp")[0] == f"ann-1 {tmp_path}/audio/ann-1.wav"
    assert plain.check() == []


def test_segments_are_written_with_a_closed_end(segmented: DataDir, tmp_path: Path) -> None:
    assert lines(tmp_path / "segmented" / "segments") == ["ann-a call1 0.25 1", "ann-b call2 0 1.5", "bob-a call1 1.25 2.75",
                                                          "bob-b call2 1.5 3"]
    assert segmented.check() == []


def test_order_is_that_of_bytes(tmp_path: Path) -> None:
    ids = ["a", "B", "a-1", "é", "z", "Z9", "日本"]
    tables = {"reco2dur": dict.fromkeys(ids, "1.0")}
    data = DataDir([Utterance(id, id, id, "x") for id in ids], dict.fromkeys(ids, "/nowhere.wav"), tables=tables)
    data.save(tmp_path / "d")
    for name in ("text", "utt2spk", "spk2utt", "wav.scp", "reco2dur"):
        content = (tmp_path / "d" / name).read_bytes().splitlines()
        assert content == sorted(content, key=lambda line: line.split()[0])
        assert len(content) == len(ids)


def test_load_gives_what_was_saved(segmented: DataDir, tmp_path: Path) -> None:
    loaded = DataDir.load(tmp_path / "segmented")
    assert loaded.utterances[:3] == segmented.utterances[:3]
    assert loaded.utterances[3] == Utterance("bob-b", "call2", "bob", "five", 1.5, 3.0)
    assert loaded.wav == segmented.wav
    assert loaded.speakers == {"ann": ["ann-a", "ann-b"], "bob": ["bob-a", "bob-b"]}


word = st.text(st.characters(blacklist_categories=("Z", "C"), blacklist_characters="|"), min_size=1, max_size=6)
sentence = st.lists(word.filter(lambda w: w not in ("<s>", "</s>", "#0")), min_size=1, max_size=5).map(" ".join)
microseconds = st.integers(1, 10**9)


@st.composite
def directories(draw: st.DrawFn) -> DataDir:
    """Any directory: with or without segments, channels, durations, transcripts, features and carried tables."""
    with_segments, with_text, with_duration, with_channels = (draw(st.booleans()) for _ in range(4))
    recordings = draw(st.lists(word, min_size=1, max_size=4, unique=True))
    channels = {recording: draw(st.integers(0, 1)) if with_channels else None for recording in recordings}
    ids = draw(st.lists(word, min_size=len(recordings), max_size=8, unique=True)) if with_segments else recordings
    utterances = []
    for number, id in enumerate(ids):
        recording = recordings[number % len(recordings)] if with_segments else id
        start = draw(microseconds) if with_segments else 0
        end = start + draw(microseconds) if with_segments else None
        utterances.append(Utterance(
            id, recording, draw(word), draw(sentence) if with_text else None, start / 1e6,
            None if end is None else end / 1e6, channels[recording], draw(microseconds) / 1e6 if with_duration else None))
    speakers = {u.speaker for u in utterances}
    return DataDir(utterances, {r: f"/audio/{n} a.wav" for n, r in enumerate(recordings)},
                   draw(st.none() | st.just({id: f"{__file__}:{n}" for n, id in enumerate(ids)})),
                   draw(st.none() | st.just({s: f"{__file__}:{n}" for n, s in enumerate(sorted(speakers))})),
                   draw(st.sampled_from([{}, {"utt2lang": dict.fromkeys(ids, "en"),
                                              "spk2gender": dict.fromkeys(speakers, "f")}])))


@given(data=directories())
def test_round_trip(tmp_path: Path, data: DataDir) -> None:
    data.save(tmp_path / "d")
    loaded = DataDir.load(tmp_path / "d")
    assert loaded.utterances == data.utterances
    assert (loaded.wav, loaded.feats, loaded.cmvn) == (data.wav, data.feats, data.cmvn)
    loaded.tables.pop("reco2file_and_channel", None)
    assert loaded.tables == data.tables
    before = {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()}
    loaded.save(tmp_path / "d")
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == before
    faults = [f for f in data.check(audio="none") if "--prefix-speaker" not in f.cure and "archive cannot be read" not in f.message]
    assert faults == []


def test_load_forgives_order_blanks_and_line_ends(plain: DataDir, tmp_path: Path) -> None:
    text = tmp_path / "plain" / "text"
    text.write_bytes(b"\r\n".join(reversed(text.read_bytes().replace(b" one", b"\tone ").splitlines())) + b" \t\r\n\n")
    loaded = DataDir.load(tmp_path / "plain")
    assert [(u.id, u.text) for u in loaded.utterances] == [(u.id, u.text) for u in plain.utterances]


def test_load_lists_every_fault_that_hides_the_meaning(plain: DataDir, tmp_path: Path, edit) -> None:
    edit("plain/text", "ann-2 three\n", "")
    edit("plain/utt2spk", "bob-1 bob\n", "bob-1 bob\nbob-1 rob\n")
    edit("plain/wav.scp", f"cid-1 {tmp_path}/audio/cid-1.wav", "cid-1 sox cid-1.sph -t wav - |")
    with pytest.raises(DataError) as caught:
        DataDir.load(tmp_path / "plain")
    message = str(caught.value)
    assert "3 fault(s)" in message
    assert "utt2spk:2: utterance ann-2 has no line in text" in message
    assert "utt2spk:4: bob-1 comes twice, first in line 3, with other content" in message
    assert "wav.scp:5: recording cid-1 is a shell command" in message


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such data directory"):
        DataDir.load(tmp_path / "gone")
    with pytest.raises(DataError, match=r"wav.scp: no such file[\s\S]*utt2spk: no such file"):
        DataDir.load(tmp_path)


# ---------------------------------------------------------------------------------------------- audio and durations


def test_audio_is_the_segment(segmented: DataDir) -> None:
    whole, _ = audio.read(segmented.wav["call2"])
    np.testing.assert_array_equal(segmented.audio(segmented.utterances[1], 8000), whole[:12000])
    np.testing.assert_array_equal(segmented.audio(segmented.utterances[3], 8000), whole[12000:])
    assert segmented.audio(segmented.utterances[3], 16000).shape == (24000,)


def test_durations(plain: DataDir, segmented: DataDir, tmp_path: Path) -> None:
    assert [plain.duration(u) for u in plain.utterances] == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4])
    assert [segmented.duration(u) for u in segmented.utterances] == [0.75, 1.5, 1.5, 1.5]
    (tmp_path / "plain" / "utt2dur").write_text("".join(f"{u.id} 7.5\n" for u in plain.utterances))
    loaded = DataDir.load(tmp_path / "plain")
    assert {loaded.duration(u) for u in loaded.utterances} == {7.5}


def test_minus_one_is_the_end_of_the_recording(segmented: DataDir, tmp_path: Path, edit) -> None:
    edit("segmented/segments", "call2 1.5 3\n", "call2 1.5 -1\n")
    loaded = DataDir.load(tmp_path / "segmented")
    assert loaded.utterances[3].end is None
    assert loaded.duration(loaded.utterances[3]) == 1.5
    assert loaded.check() == []


def test_pipes_run_only_when_allowed(plain: DataDir, tmp_path: Path, edit) -> None:
    edit("plain/wav.scp", f"cid-1 {tmp_path}/audio/cid-1.wav",
         f"cid-1 touch {tmp_path}/ran && cat {tmp_path}/audio/cid-1.wav |")
    with pytest.raises(DataError, match="--allow-pipes"):
        DataDir.load(tmp_path / "plain")
    assert not (tmp_path / "ran").exists()
    loaded = DataDir.load(tmp_path / "plain", allow_pipes=True)
    np.testing.assert_array_equal(loaded.audio(loaded.utterances[4], 8000), plain.audio(plain.utterances[4], 8000))
    assert loaded.duration(loaded.utterances[4]) == pytest.approx(1.4)
    assert (tmp_path / "ran").exists()
    hidden = DataDir.from_utterances(loaded.utterances, loaded.wav)
    with pytest.raises(DataError, match="--allow-pipes"):
        hidden.audio(hidden.utterances[4], 8000)


def test_a_command_is_run_once_for_its_segments(segmented: DataDir, tmp_path: Path) -> None:
    wav = {name: f"echo {name} >> {tmp_path}/ran; cat {path} |" for name, path in segmented.wav.items()}
    utterances = [Utterance(f"s-{name}-{n}", name, "s", "x", 0.5 * n, 0.5 * n + 0.5) for name in wav for n in range(5)]
    data = DataDir.from_utterances(utterances, wav, allow_pipes=True)
    for utterance in data.utterances:
        whole, _ = audio.read(segmented.wav[utterance.recording], utterance.start, utterance.end)
        np.testing.assert_array_equal(data.audio(utterance, 8000), whole)
    assert lines(tmp_path / "ran") == ["call1", "call2"]
    assert len(pickle.dumps(data)) < 5000  # a worker is not sent the audio
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.audio(utterance, 8000), whole)


# -------------------------------------------------------------------------------------------------------- channels


@pytest.fixture
def call(tmp_path: Path) -> dict[str, str]:
    import soundfile

    left, right = np.full(16000, 0.25, np.float32), np.full(16000, -0.5, np.float32)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), 8000)
    return {"call": str(tmp_path / "call.wav")}


def test_a_channel_for_each_speaker_of_one_call(call: dict[str, str], tmp_path: Path) -> None:
    data = DataDir.from_utterances([Utterance("ann-1", "call", "ann", "hi", 0.0, 1.0, 0),
                                    Utterance("bob-1", "call", "bob", "ho", 0.5, 2.0, 1)], call)
    data.save(tmp_path / "d")
    assert lines(tmp_path / "d" / "reco2file_and_channel") == ["call-A call A", "call-B call B"]
    assert lines(tmp_path / "d" / "segments") == ["ann-1 call-A 0 1", "bob-1 call-B 0.5 2"]
    assert data.check() == []
    loaded = DataDir.load(tmp_path / "d")
    assert [u.channel for u in loaded.utterances] == [0, 1]
    assert [float(loaded.audio(u, 8000).mean()) for u in loaded.utterances] == [0.25, -0.5]


def test_a_fifth_field_of_segments_is_the_channel(call: dict[str, str], tmp_path: Path) -> None:
    DataDir.from_utterances([Utterance("ann-1", "call", "ann", "hi", 0.0, 1.0)], call).save(tmp_path / "d")
    (tmp_path / "d" / "segments").write_text("ann-1 call 0 1 1\n")
    loaded = DataDir.load(tmp_path / "d")
    assert loaded.audio(loaded.utterances[0], 8000).mean() == -0.5


def test_channels_beside_mono_recordings(call: dict[str, str], plain: DataDir, tmp_path: Path) -> None:
    both = DataDir.from_utterances([Utterance("bob-9", "call", "bob", "ho", 0.5, 2.0, 1), *plain.utterances],
                                   {**call, **plain.wav})
    both.save(tmp_path / "both")
    assert "ann-1 ann-1 A" in lines(tmp_path / "both" / "reco2file_and_channel")
    mixed = DataDir.from_utterances([Utterance("a-1", "call", "a", "x", 0.0, 1.0, 1),
                                     Utterance("a-2", "call", "a", "x", 1.0, 2.0)], call)
    with pytest.raises(DataError, match="name one for each"):
        mixed.save(tmp_path / "mixed")


def test_channels_beyond_the_second(tmp_path: Path) -> None:
    import soundfile

    levels = [0.125, 0.25, -0.5, 0.75]
    soundfile.write(tmp_path / "four.wav", np.tile(np.asarray(levels, np.float32), (16000, 1)), 8000)
    wav = {"call": str(tmp_path / "four.wav")}
    data = DataDir.from_utterances([Utterance(f"ann-{n}", "call", "ann", "hi", 0.0, 1.0, n) for n in range(4)], wav)
    data.save(tmp_path / "d")
    assert lines(tmp_path / "d" / "reco2file_and_channel")[2:] == ["call-C call C", "call-D call D"]
    assert data.check() == []
    loaded = DataDir.load(tmp_path / "d")
    assert [float(loaded.audio(u, 8000).mean()) for u in loaded.utterances] == levels
    with pytest.raises(DataError, match="channel 26 has no letter"):
        DataDir.from_utterances([Utterance("ann-1", "call", "ann", "hi", 0.0, 1.0, 26)], wav).save(tmp_path / "e")


def test_a_channel_s_recording_takes_no_name_that_is_there(call: dict[str, str], plain: DataDir, tmp_path: Path) -> None:
    data = DataDir.from_utterances([Utterance("ann-0", "call", "ann", "hi", 0.0, 1.0, 0),
                                    Utterance("bob-0", "call", "bob", "ho", 0.5, 2.0, 1),
                                    Utterance("cid-0", "call-A", "cid", "hu", 0.0, 1.0)],
                                   {**call, "call-A": plain.wav["cid-1"]})
    with pytest.raises(DataError, match="recordings call and call-A: .* both would have one named call-A"):
        data.save(tmp_path / "d")
    assert not (tmp_path / "d").exists()


# ------------------------------------------------------------------------------------------------------- refusals


def test_from_utterances_refuses(plain: DataDir) -> None:
    with pytest.raises(DataError, match="ann-1 comes twice"):
        DataDir.from_utterances([plain.utterances[0], plain.utterances[0]], plain.wav)
    with pytest.raises(DataError, match="recording ann-1 has no audio"):
        DataDir.from_utterances(plain.utterances, {})


@pytest.mark.parametrize("id", ["", "a b", "a\tb", "a\nb", " a", "a\u00a0b"])
def test_ids_that_no_line_can_hold(tmp_path: Path, id: str) -> None:
    with pytest.raises(DataError, match="must be one word"):
        DataDir.from_utterances([Utterance(id, "r", "s", "x")], {"r": "/a.wav"}).save(tmp_path)


def test_transcripts_are_words_with_single_spaces(plain: DataDir, tmp_path: Path) -> None:
    data = DataDir.from_utterances([Utterance("a", "a", "a", " two\u00a0words\n")], {"a": plain.wav["ann-1"]})
    data.save(tmp_path / "d")
    assert lines(tmp_path / "d" / "text") == ["a two words"]


def test_an_open_end_of_a_missing_file(tmp_path: Path) -> None:
    data = DataDir.from_utterances([Utterance("a", "r", "a", "x", 1.0, None)], {"r": str(tmp_path / "gone.wav")})
    with pytest.raises(AudioError, match=r"gone.wav: cannot read"):
        data.save(tmp_path / "d")


def test_saving_over_another_leaves_none_of_its_tables(plain: DataDir, segmented: DataDir, tmp_path: Path) -> None:
    plain.save(tmp_path / "segmented")
    assert not (tmp_path / "segmented" / "segments").exists()
    assert DataDir.load(tmp_path / "segmented").utterances == plain.utterances


def test_an_incomplete_table_is_left_out_and_named(plain: DataDir, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain.feats = {"ann-1": "/f.ark:6"}
    with caplog.at_level(logging.WARNING, "asr"):
        plain.save(tmp_path / "d")
    assert caplog.messages == ["feats.scp is not written: it has rows for 1 of 5"]
    assert not (tmp_path / "d" / "feats.scp").exists()


# ---------------------------------------------------------------------------------------------------------- lhotse


def test_lhotse_reads_a_directory_of_whole_recordings(plain: DataDir, tmp_path: Path) -> None:
    from lhotse.kaldi import load_kaldi_data_dir

    recordings, supervisions, _ = load_kaldi_data_dir(tmp_path / "plain", sampling_rate=8000)
    assert {r.id: r.duration for r in recordings} == pytest.approx(
        {u.id: plain.duration(u) for u in plain.utterances}, abs=1e-3)
    assert [(s.id, s.speaker, s.text) for s in supervisions] == [(u.id, u.speaker, u.text) for u in plain.utterances]


def test_lhotse_reads_segments(segmented: DataDir, tmp_path: Path) -> None:
    from lhotse import CutSet
    from lhotse.kaldi import load_kaldi_data_dir

    segmented.tables["reco2dur"] = {"call1": "3.0", "call2": "3.0"}
    segmented.tables["utt2lang"] = {u.id: "en" for u in segmented.utterances}
    segmented.tables["spk2gender"] = {"ann": "f", "bob": "m"}
    segmented.save(tmp_path / "d")
    for folder in ("segmented", "d"):
        recordings, supervisions, _ = load_kaldi_data_dir(tmp_path / folder, sampling_rate=8000)
        assert [(s.id, s.recording_id, s.speaker, s.text, s.start, s.duration) for s in supervisions] == [
            (u.id, u.recording, u.speaker, u.text, u.start, segmented.duration(u)) for u in segmented.utterances]
    assert [(s.language, s.gender) for s in supervisions] == [("en", "f"), ("en", "f"), ("en", "m"), ("en", "m")]
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    for cut in cuts.trim_to_supervisions(keep_overlapping=False):
        utterance = next(u for u in segmented.utterances if u.id == cut.supervisions[0].id)
        np.testing.assert_allclose(cut.load_audio()[0], segmented.audio(utterance, 8000), atol=1e-6)
