"""decode_dir: planted words from whole utterances, segments and channels; faults; whole folders; archives; speakers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from transcription.tiny import RATE, chirps, plant, planted_model, save_tiny_model, spell

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.errors import AsrError, DataError, UsageError
from asr.features.extract import extract
from asr.models.storage import load_model
from asr.scoring import score, write_scores
from asr.transcription import Recognizer, decode_dir
from asr.transcription.decoder import DecoderOptions
from asr.transcription.inputs import AudioInputs, stats_by_speaker
from asr.transcription.recognizer import emissions_of

RECOGNIZER = Recognizer(planted_model())
TEXTS = {"u1": "hello", "u2": "the longest of all the sentences in this test", "u3": "a b", "u4": "and so on"}


def planted_dir(folder: Path, texts: dict[str, str] | None = None) -> DataDir:
    folder.mkdir(exist_ok=True)
    wav = {}
    for key, text in (texts or TEXTS).items():
        wav[key] = str(folder / f"{key}.wav")
        audio.write(wav[key], plant(spell(RECOGNIZER.model.tokenizer, text)), RATE)
    return DataDir.from_utterances([Utterance(key, key, key) for key in wav], wav)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_decode_folder(tmp_path):
    data = planted_dir(tmp_path / "data")
    report = decode_dir(RECOGNIZER, data, tmp_path / "out", batch_seconds=2.0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decode.json", "text", "words.ctm"]
    assert lines(tmp_path / "out/text") == [f"{key} {text}" for key, text in sorted(TEXTS.items())]
    # Each token is two frames and a blank of 10 ms; "and" is tokens 0 to 2, "so" 4 and 5, "on" 7 and 8.
    assert [line.rsplit(" ", 1)[0] for line in lines(tmp_path / "out/words.ctm") if line.startswith("u4")] == [
        "u4 1 0.000 0.080 and", "u4 1 0.120 0.050 so", "u4 1 0.210 0.050 on"]
    summary = json.loads((tmp_path / "out/decode.json").read_text())
    seconds = sum(3 * len(text) for text in TEXTS.values()) / 100
    assert summary["audio_seconds"] == pytest.approx(seconds) == report.audio_seconds
    assert summary["utterances"] == summary["decoded"] == 4 and summary["failed"] == {} and summary["too_short"] == []
    assert summary["model"] == {"path": "planted", "fingerprint": "0" * 64}
    assert summary["settings"] == {"method": "greedy", "batch_seconds": 2.0, "device": "cpu", "int8": False, "archived": False,
                                   "nbest": 0, "calibrated": False, "tuned": None}
    assert summary["real_time_factor"] == pytest.approx(summary["wall_seconds"] / seconds, abs=1e-2)
    assert "torch" in summary["environment"] and "commit" in summary["environment"]


@pytest.mark.parametrize("options", [DecoderOptions(), DecoderOptions("beam")], ids=["greedy", "beam"])
@pytest.mark.parametrize("batch_seconds", [0.01, 100.0])
def test_an_utterance_that_the_network_has_no_numbers_for_is_named(tmp_path, monkeypatch, caplog, options, batch_seconds):
    def broken(*given):
        found = emissions_of(*given)
        log_probs = found.log_probs.clone()
        log_probs[found.frames == 3 * len(TEXTS["u1"]), 1, 2] = np.nan
        return found._replace(log_probs=log_probs)

    data = planted_dir(tmp_path / "data")
    whole = decode_dir(RECOGNIZER, data, tmp_path / "whole", options)
    monkeypatch.setattr("asr.transcription.directory.emissions_of", broken)
    report = decode_dir(RECOGNIZER, data, tmp_path / "out", options, batch_seconds)
    assert report.failed == {"u1": "the network gives numbers that are not finite; train it again"}
    assert "u1: the network" in caplog.text
    assert report.results == {key: result for key, result in whole.results.items() if key != "u1"} and len(report.results) == 3


def test_segments_and_channels_are_placed_in_their_recording(tmp_path):
    paths = [spell(RECOGNIZER.model.tokenizer, text) for text in ("left side", "right hand")]
    longest = max(map(len, paths))
    sides = [plant([0] * 100 + path + [0] * (longest - len(path))) for path in paths]
    audio.write(tmp_path / "call.wav", np.stack(sides, axis=1), RATE)
    utterances = [Utterance(f"s{channel}", "call", f"s{channel}", start=0.5, end=None if channel else 1.5, channel=channel)
                  for channel in (0, 1)]
    data = DataDir.from_utterances(utterances, {"call": str(tmp_path / "call.wav")})
    decode_dir(RECOGNIZER, data, tmp_path / "out")
    assert lines(tmp_path / "out/text") == ["s0 left side", "s1 right hand"]
    assert [line.split()[:5] for line in lines(tmp_path / "out/words.ctm")] == [
        ["call", "A", "1.000", "0.110", "left"], ["call", "A", "1.150", "0.110", "side"],
        ["call", "B", "1.000", "0.140", "right"], ["call", "B", "1.180", "0.110", "hand"]]
    data.tables["reco2file_and_channel"] = {"call": "tape7 B"}
    decode_dir(RECOGNIZER, data, tmp_path / "out")
    assert {tuple(line.split()[:2]) for line in lines(tmp_path / "out/words.ctm")} == {("tape7", "B")}


@pytest.mark.parametrize("cmvn", ["global", "utterance", "speaker"])
def test_twice_and_at_any_batch_size_the_same_bytes(tmp_path, cmvn):
    model = save_tiny_model(tmp_path / "model.safetensors", cmvn=cmvn)
    waveforms = chirps(9, seed=5)
    wav = {f"u{index}": str(tmp_path / f"u{index}.wav") for index in range(9)}
    for key, waveform in zip(wav, waveforms):
        audio.write(wav[key], waveform, RATE)
    data = DataDir.from_utterances([Utterance(key, key, "s" + str(int(key[1]) % 2)) for key in wav], wav)
    for name, batch_seconds in (("a", 60), ("b", 60), ("c", 0.1), ("d", 3)):
        decode_dir(model, data, tmp_path / name, batch_seconds=batch_seconds, device="cpu")
    for name in ("text", "words.ctm"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    times = [[line.rsplit(" ", 1)[0] for line in lines(tmp_path / name / "words.ctm")] for name in "acd"]
    assert times[0] == times[1] == times[2] and len(times[0]) > 9
    assert len({line.partition(" ")[2] for line in lines(tmp_path / "a/text")}) > 5
    assert lines(tmp_path / "a/text") == lines(tmp_path / "c/text") == lines(tmp_path / "d/text")
    if cmvn != "speaker":
        recognizer = Recognizer.load(model, "cpu")
        alone = [f"{key} {recognizer.transcribe(path).text}".rstrip() for key, path in wav.items()]
        assert lines(tmp_path / "a/text") == alone


def test_a_broken_utterance_is_named_and_the_others_are_written(tmp_path, caplog):
    data = planted_dir(tmp_path / "data")
    Path(data.wav["u2"]).write_bytes(b"no audio")
    Path(data.wav["u3"]).unlink()
    with caplog.at_level(logging.ERROR, logger="asr"):
        report = decode_dir(RECOGNIZER, data, tmp_path / "out")
    assert lines(tmp_path / "out/text") == ["u1 hello", "u4 and so on"]
    assert list(report.failed) == ["u2", "u3"] == list(json.loads((tmp_path / "out/decode.json").read_text())["failed"])
    assert "u2.wav: cannot read: " in report.failed["u2"]
    assert [message.partition(": ")[0] for message in caplog.messages] == ["utterance u2", "utterance u3"]


def test_a_fault_found_only_in_reading_is_named_too(tmp_path):
    data = planted_dir(tmp_path / "data")
    known = [Utterance(u.id, u.recording, u.speaker, duration=1.0) for u in data.utterances]
    Path(data.wav["u1"]).write_bytes(b"")
    report = decode_dir(RECOGNIZER, DataDir.from_utterances(known, data.wav), tmp_path / "out", batch_seconds=1.0)
    assert list(report.failed) == ["u1"] and len(report.results) == 3


def test_nothing_but_broken_utterances(tmp_path):
    data = planted_dir(tmp_path / "data", {"u1": "a"})
    Path(data.wav["u1"]).write_bytes(b"")
    report = decode_dir(RECOGNIZER, data, tmp_path / "out")
    assert report.real_time_factor is None and (tmp_path / "out/text").read_text() == ""
    assert json.loads((tmp_path / "out/decode.json").read_text())["real_time_factor"] is None


def test_shorter_than_a_window_is_empty_and_said(tmp_path, caplog):
    model = save_tiny_model(tmp_path / "model.safetensors")
    audio.write(tmp_path / "a.wav", np.ones(50, np.float32) / 2, RATE)
    data = DataDir.from_utterances([Utterance("a", "a", "a")], {"a": str(tmp_path / "a.wav")})
    with caplog.at_level(logging.WARNING, logger="asr"):
        report = decode_dir(model, data, tmp_path / "out", device="cpu")
    assert (tmp_path / "out/text").read_text() == "a\n"
    assert (tmp_path / "out/words.ctm").read_text() == "a 1 0.000 0.000 @ 0.000\n"
    assert report.too_short == ["a"] and "shorter than one window" in caplog.text
    assert report.results["a"].duration == 50 / RATE


def test_nbest_only_when_asked_and_never_stale(tmp_path):
    data = planted_dir(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.md").write_text("mine")
    decode_dir(RECOGNIZER, data, tmp_path / "out", nbest=1)
    rows = [json.loads(line) for line in lines(tmp_path / "out/nbest.jsonl")]
    assert {row["id"]: row["nbest"][0]["text"] for row in rows} == TEXTS
    decode_dir(RECOGNIZER, data, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decode.json", "notes.md", "text", "words.ctm"]


def test_no_score_outlives_what_it_was_made_of(tmp_path, monkeypatch):
    data, out = planted_dir(tmp_path / "data"), tmp_path / "out"
    decode_dir(RECOGNIZER, data, out)
    write_scores(score(TEXTS, out / "text"), out)
    removed = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, **given: removed.append(path.name) or unlink(path, **given))
    decode_dir(RECOGNIZER, data, out)
    assert sorted(path.name for path in out.iterdir()) == ["decode.json", "text", "words.ctm"]
    ours = [name for name in removed if not name.startswith(".")]
    assert ours[:2] == ["decode.json", "scores.json"]  # killed in between, what says "complete" is gone first


def test_a_full_disk_leaves_the_earlier_folder_whole(tmp_path, monkeypatch):
    data = planted_dir(tmp_path / "data")
    decode_dir(RECOGNIZER, data, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(path, text):
        if Path(path).name == "words.ctm":
            raise OSError(28, "No space left on device")
        Path(path).write_text(text)

    monkeypatch.setattr("asr.transcription.directory.write_text", full)
    with pytest.raises(AsrError, match="out: cannot write the decode folder: No space left"):
        decode_dir(RECOGNIZER, planted_dir(tmp_path / "data", {"u1": "other"}), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_watch_sees_every_batch(tmp_path):
    seen = []

    def watch(batches):
        for batch in batches:
            seen.append([utterance.id for utterance in batch])
            yield batch

    decode_dir(RECOGNIZER, planted_dir(tmp_path / "data"), tmp_path / "out", batch_seconds=0.3, watch=watch)
    assert seen == [["u2"], ["u4"], ["u1", "u3"]]


@pytest.mark.parametrize("wrong, words", [
    ({"tuning": True, "tuned": "tuned.json"}, "--tune finds weights and --tuned gives them"),
    ({"batch_seconds": 0}, "--batch-seconds 0"),
    ({"batch_seconds": float("nan")}, "--batch-seconds nan"), ({"nbest": 2}, "--nbest 2: greedy decoding finds one"),
    ({"nbest": -1}, "--nbest -1")])
def test_wrong_use(tmp_path, wrong, words):
    with pytest.raises(UsageError, match=words):
        decode_dir(RECOGNIZER, planted_dir(tmp_path / "data"), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the decode folder"):
        decode_dir(RECOGNIZER, planted_dir(tmp_path / "data"), tmp_path / "out")


def archived_dir(folder: Path, model: Path) -> DataDir:
    """A data directory of four utterances of two speakers, with the features of the model's configuration."""
    wav = {f"u{index}": str(folder / f"u{index}.wav") for index in range(4)}
    for path, waveform in zip(wav.values(), chirps(4, seed=8)):
        audio.write(path, waveform, RATE)
    data = DataDir.from_utterances([Utterance(key, key, "s" + str(int(key[1]) // 2)) for key in wav], wav)
    data.save(folder / "data")
    extract(DataDir.load(folder / "data"), load_model(model).config.features)
    return DataDir.load(folder / "data")


@pytest.mark.parametrize("cmvn", ["global", "utterance", "speaker"])
def test_archives_give_the_same_bytes_as_audio(tmp_path, cmvn):
    model = save_tiny_model(tmp_path / "model.safetensors", cmvn=cmvn)
    data = archived_dir(tmp_path, model)
    decode_dir(model, data, tmp_path / "a", device="cpu")
    decode_dir(model, data, tmp_path / "b", device="cpu", archived=True)
    for name in ("text", "words.ctm"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() != b""
    for path in data.wav.values():
        Path(path).unlink()
    decode_dir(model, data, tmp_path / "c", device="cpu", archived=True)  # archives outlive their audio
    assert lines(tmp_path / "c/text") == lines(tmp_path / "a/text")


def test_archives_must_be_the_models(tmp_path):
    model = save_tiny_model(tmp_path / "model.safetensors")
    data = archived_dir(tmp_path, model)
    settings = tmp_path / "data/features/features.yaml"
    settings.write_text(settings.read_text().replace("low_freq: 20.0", "low_freq: 40.0"))
    with pytest.raises(DataError, match=r"low_freq is 40\.0 there, 20\.0 in the model; write them again"):
        decode_dir(model, data, tmp_path / "out", device="cpu", archived=True)
    settings.unlink()
    with pytest.raises(DataError, match=r"there is no features\.yaml beside them"):
        decode_dir(model, data, tmp_path / "out", device="cpu", archived=True)
    for command in (f"touch {tmp_path}/ran |", f"touch {tmp_path}/ran |:0"):
        data.feats = dict.fromkeys(data.feats, command)
        with pytest.raises(DataError, match="a shell command in place of an archive"):
            decode_dir(model, data, tmp_path / "out", device="cpu", archived=True)
        assert not (tmp_path / "ran").exists()
    data.feats = None
    with pytest.raises(DataError, match=r"there is no feats\.scp; write it with `asr features`"):
        decode_dir(model, data, tmp_path / "out", device="cpu", archived=True)


def test_an_utterance_without_its_archive_is_named(tmp_path):
    model = save_tiny_model(tmp_path / "model.safetensors")
    data = archived_dir(tmp_path, model)
    del data.feats["u1"]
    data.feats["u2"] = data.feats["u2"].replace(".ark:", ".ark:9999")
    report = decode_dir(model, data, tmp_path / "out", device="cpu", archived=True)
    assert list(report.failed) == ["u1", "u2"]
    assert [line.split()[0] for line in lines(tmp_path / "out/text")] == ["u0", "u3"]


def test_speaker_statistics(tmp_path, caplog):
    model = save_tiny_model(tmp_path / "model.safetensors", cmvn="speaker")
    data = archived_dir(tmp_path, model)
    stored = data.cmvn
    inputs = AudioInputs(load_model(model), data)

    def stats():
        return {speaker: value.numpy() for speaker, value in
                stats_by_speaker(inputs.model, data, inputs, [data.utterances]).items()}

    from_table = stats()
    data.cmvn = None
    computed = stats()
    data.cmvn = {"s0": stored["s0"]}
    mixed = stats()
    for speaker in ("s0", "s1"):
        np.testing.assert_allclose(from_table[speaker], computed[speaker], rtol=1e-4)
        np.testing.assert_allclose(mixed[speaker], computed[speaker], rtol=1e-4)
    assert not np.allclose(computed["s0"], computed["s1"], rtol=1e-2)
    # They are the mean and the inverse deviation of all frames of the speaker.
    frames = np.concatenate([inputs.features([inputs.read(u)])[0][0].numpy() for u in data.utterances if u.speaker == "s1"])
    np.testing.assert_allclose(computed["s1"], [frames.mean(axis=0), 1 / frames.std(axis=0)], rtol=1e-3)
    data.cmvn = stored
    Path(tmp_path / "data/features/features.yaml").unlink()
    np.testing.assert_array_equal(stats()["s0"], computed["s0"])
    assert "cmvn.scp is of other features" in caplog.text


def test_speakers_are_normalised_by_their_own_statistics(tmp_path):
    model = save_tiny_model(tmp_path / "model.safetensors", cmvn="speaker")
    data = archived_dir(tmp_path, model)
    report = decode_dir(model, data, tmp_path / "out", device="cpu")
    recognizer = Recognizer.load(model, "cpu")
    stats = stats_by_speaker(recognizer.model, data, AudioInputs(recognizer.model, data), [data.utterances])
    alone = {}
    for utterance in data.utterances:
        samples = data.audio(utterance, RATE)
        found = recognizer.log_probs([samples], stats[utterance.speaker].unsqueeze(0))
        assert report.results[utterance.id].text == recognizer.results(*found, [len(samples) / RATE])[0].text
        alone[utterance.id] = recognizer.transcribe(samples).text
    assert alone != {key: result.text for key, result in report.results.items()}  # a file alone is its own speaker


def test_statistics_pass_over_what_cannot_be_read(tmp_path):
    model = save_tiny_model(tmp_path / "model.safetensors", cmvn="speaker")
    data = archived_dir(tmp_path, model)
    data.cmvn = None
    Path(data.wav["u0"]).write_bytes(b"")
    report = decode_dir(model, data, tmp_path / "out", device="cpu")
    assert list(report.failed) == ["u0"]
    assert [line.split()[0] for line in lines(tmp_path / "out/text")] == ["u1", "u2", "u3"]
