"""align_dir: its folder, wildcards, what cannot be aligned, and models without a timing model."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transcription.aloud import RATE as ALOUD_RATE
from transcription.aloud import SENTENCES, STEP, displaced_model, spoken_dir
from transcription.praat import read_textgrid
from transcription.tiny import RATE, plant, planted_model, save_tiny_model, spell

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.errors import DataError, UsageError
from asr.features.extract import extract
from asr.models.storage import load_model
from asr.text import BpeTokenizer, PhoneTokenizer
from asr.transcription import Recognizer, align_dir

RECOGNIZER = Recognizer(planted_model())
TEXTS = {"u1": "hello", "u2": "the longest of all the sentences in this test", "u3": "a b", "u4": "and so on"}


def planted_dir(folder: Path, texts: dict[str, str | None], said: dict[str, str] | None = None) -> DataDir:
    """Utterances whose transcripts are ``texts`` and whose audio says the same, or ``said``."""
    folder.mkdir(exist_ok=True)
    wav = {}
    for key, text in (TEXTS | (said or {}) if said is None else said).items():
        wav[key] = str(folder / f"{key}.wav")
        audio.write(wav[key], plant(spell(RECOGNIZER.model.tokenizer, text)), RATE)
    return DataDir.from_utterances([Utterance(key, key, key, texts.get(key)) for key in wav], wav)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_folder(tmp_path):
    report = align_dir(RECOGNIZER, planted_dir(tmp_path / "data", TEXTS), tmp_path / "out", batch_seconds=2.0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["align.json", "textgrid", "tokens.ctm", "words.ctm"]
    assert sorted(path.name for path in (tmp_path / "out/textgrid").iterdir()) == [f"{key}.TextGrid" for key in TEXTS]
    # Each token is two frames and a blank of 10 ms; "and" is tokens 0 to 2, "so" 4 and 5, "on" 7 and 8.
    assert [line.rsplit(" ", 1)[0] for line in lines(tmp_path / "out/words.ctm") if line.startswith("u4")] == [
        "u4 1 0.000 0.080 and", "u4 1 0.120 0.050 so", "u4 1 0.210 0.050 on"]
    assert [line.split()[2:5] for line in lines(tmp_path / "out/tokens.ctm") if line.startswith("u3")] == [
        ["0.000", "0.020", "a"], ["0.030", "0.020", "<space>"], ["0.060", "0.020", "b"]]
    assert all(float(line.split()[5]) > 0.99 for line in lines(tmp_path / "out/words.ctm"))
    grid = read_textgrid((tmp_path / "out/textgrid/u4.TextGrid").read_text())
    assert grid.xmax == pytest.approx(0.27) and list(grid.tiers) == ["words", "tokens"]
    assert grid.tiers["words"] == [(0, 0.08, "and"), (0.08, 0.12, ""), (0.12, 0.17, "so"), (0.17, 0.21, ""), (0.21, 0.26, "on"),
                                   (0.26, 0.27, "")]
    summary = json.loads((tmp_path / "out/align.json").read_text())
    assert summary["utterances"] == summary["aligned"] == 4 and summary["failed"] == {}
    assert summary["settings"] == {"batch_seconds": 2.0, "device": "cpu", "archived": False, "wildcard": None}
    assert summary["times"] == report.times == "the network's output frames"
    assert summary["model"]["fingerprint"] == "0" * 64 and summary["audio_seconds"] == pytest.approx(report.audio_seconds)


def test_what_cannot_be_aligned_is_named_and_the_others_are(tmp_path, caplog):
    texts = TEXTS | {"u1": "hello hello hello", "u5": "any", "u6": None, "u7": "tschüß", "u8": ""}
    data = planted_dir(tmp_path / "data", texts, {**TEXTS, "u5": "any", "u6": "x", "u7": "tschuess", "u8": ""} | {"u8": "a"})
    Path(data.wav["u5"]).write_bytes(b"no audio")
    with caplog.at_level(logging.ERROR, logger="asr"):
        report = align_dir(RECOGNIZER, data, tmp_path / "out")
    assert list(report.failed) == ["u1", "u5", "u6", "u7"] == list(json.loads((tmp_path / "out/align.json").read_text())["failed"])
    assert report.failed["u1"] == ("text longer than the audio allows: its 17 labels need 20 output frames, its 0.15 s of audio "
                                   "give 15")
    assert "u5.wav: cannot read: " in report.failed["u5"] and "has no transcript" in report.failed["u6"]
    assert "'ß' (U+00DF)" in report.failed["u7"]
    assert sorted({line.split()[0] for line in lines(tmp_path / "out/words.ctm")}) == ["u2", "u3", "u4", "u8"]
    assert report.results["u8"].words == [] and lines(tmp_path / "out/words.ctm")[-1].split()[2:5] == ["0.000", "0.000", "@"]
    assert sorted(path.stem for path in (tmp_path / "out/textgrid").iterdir()) == ["u2", "u3", "u4", "u8"]
    assert {message.partition(": ")[0] for message in caplog.messages} == {f"utterance u{index}" for index in (1, 5, 6, 7)}


def test_a_wildcard_stands_for_what_was_not_written_down(tmp_path):
    said = {"u1": "so and on", "u2": "so and on", "u3": "so and on", "u4": "so and on"}
    texts = {"u1": "<x> on", "u2": "so <x> <x> on", "u3": "so <x>", "u4": "<x>"}
    report = align_dir(RECOGNIZER, planted_dir(tmp_path / "data", texts, said), tmp_path / "out", wildcard="<x>")
    words = {key: {word.text: (round(word.start, 3), round(word.end, 3)) for word in result.words}
             for key, result in report.results.items()}
    # "so" is frames 0 to 4, "and" 9 to 16, "on" 21 to 25, of 27.
    assert words["u1"].keys() == {"<x>", "on"} and words["u1"]["on"] == (0.21, 0.26)
    assert words["u2"]["so"][0] == 0 and words["u2"]["on"][1] == 0.26 and words["u2"]["<x>"][0] <= 0.09
    assert words["u3"]["so"] == (0.0, 0.04) and words["u3"]["<x>"][1] == 0.27
    assert words["u4"]["<x>"] == (0.0, 0.27)
    assert [token.text for token in report.results["u1"].tokens] == ["*", "o", "n"]
    assert report.results["u4"].words[0].confidence == 1
    # Without the option it is text, and this tokenizer cannot write it.
    assert len(align_dir(RECOGNIZER, planted_dir(tmp_path / "data", texts, said), tmp_path / "out").failed) == 4


def test_pieces_make_words_around_a_wildcard(tmp_path):
    tokenizer = BpeTokenizer.train(["the cat sat on the mat", "a dog ran over the hill"], 28)
    recognizer = Recognizer(planted_model(tokenizer))
    audio.write(tmp_path / "a.wav", plant(spell(tokenizer, "the cat ran over the mat")), RATE)
    data = DataDir.from_utterances([Utterance("a", "a", "a", "the cat ... mat")], {"a": str(tmp_path / "a.wav")})
    assert [word.text for word in align_dir(recognizer, data, tmp_path / "out", wildcard="...").results["a"].words] == [
        "the", "cat", "...", "mat"]


def test_of_words_that_sound_alike_the_transcripts_is_written(tmp_path):
    tokenizer = PhoneTokenizer({"to": [["T", "UW"]], "two": [["T", "UW"]], "cats": [["K", "S"]]})
    recognizer = Recognizer(planted_model(tokenizer))
    audio.write(tmp_path / "a.wav", plant(spell(tokenizer, "two cats to")), RATE)
    data = DataDir.from_utterances([Utterance("a", "a", "a", "two cats to")], {"a": str(tmp_path / "a.wav")})
    assert [word.text for word in align_dir(recognizer, data, tmp_path / "out").results["a"].words] == ["two", "cats", "to"]
    assert recognizer.transcribe(tmp_path / "a.wav").text == "to cats to"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return spoken_dir(tmp_path_factory.mktemp("spoken") / "data", SENTENCES)


def worst(report, times) -> float:
    """The median of how many seconds words are off."""
    return float(np.median([abs(word.start - start) + abs(word.end - end) for key, words in times.items()
                            for word, (_, start, end) in zip(report.results[key].words, words)])) / 2


def test_a_model_without_a_timing_model_is_given_one(spoken, tmp_path, caplog):
    data, times = spoken
    model = displaced_model(data, times)
    with caplog.at_level(logging.INFO, logger="asr"):
        report = align_dir(Recognizer(model), data, tmp_path / "out")
    assert report.times == "a timing model of this data" and worst(report, times) < STEP / 2
    assert "it is estimated from this data" in caplog.text
    few = data.select([utterance.id for utterance in data.utterances[:19]])
    with caplog.at_level(logging.WARNING, logger="asr"):
        report = align_dir(Recognizer(model), few, tmp_path / "out")
    assert report.times == "the network's output frames" and "may lie far from the words" in caplog.text
    assert worst(report, {utterance.id: times[utterance.id] for utterance in few.utterances}) > 2 * STEP


def test_fit_writes_a_model_that_decodes_with_times(spoken, tmp_path):
    data, _ = spoken
    path = save_tiny_model(tmp_path / "model.safetensors", kind="char")  # knows only a, b, c, d: 19 sentences are not enough
    with pytest.raises(DataError, match="fewer than 20 utterances with text .*; use more data with --fit"):
        align_dir(path, data.select([u.id for u in data.utterances[:19]]), tmp_path / "out", device="cpu",
                  fit=tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()
    spelt = replace(data, utterances=[replace(u, text="ab cad dab") for u in data.utterances])
    report = align_dir(path, spelt, tmp_path / "out", device="cpu", fit=tmp_path / "new.safetensors")
    assert report.times == "a timing model of this data"
    old, new = load_model(path), load_model(tmp_path / "new.safetensors")
    assert old.timing is None and new.timing is not None and new.timing.characters == "abcd"
    samples = data.audio(data.utterances[0], ALOUD_RATE)
    assert Recognizer(old).transcribe(samples).text == Recognizer(new).transcribe(samples).text
    again = align_dir(tmp_path / "new.safetensors", spelt, tmp_path / "out2", device="cpu")
    assert again.times == "the model's timing model"
    assert (tmp_path / "out/words.ctm").read_bytes() == (tmp_path / "out2/words.ctm").read_bytes() != b""


def test_archives_give_the_same_times_as_audio(tmp_path):
    model = save_tiny_model(tmp_path / "model.safetensors")
    spoken, _ = spoken_dir(tmp_path / "wav", ["bad cab dab bad"] * 22)
    replace(spoken, utterances=[replace(u, text="bad cab dab") for u in spoken.utterances]).save(tmp_path / "data")
    extract(DataDir.load(tmp_path / "data"), load_model(model).config.features)
    data = DataDir.load(tmp_path / "data")
    for name, archived in (("audio", False), ("archived", True)):
        assert not align_dir(model, data, tmp_path / name, device="cpu", archived=archived).failed
    for name in ("words.ctm", "tokens.ctm", "textgrid/u03.TextGrid"):
        assert (tmp_path / "audio" / name).read_bytes() == (tmp_path / "archived" / name).read_bytes() != b""


def test_speakers_and_odd_names_in_one_recording(tmp_path):
    path = spell(RECOGNIZER.model.tokenizer, "left side") + [0] * 20 + spell(RECOGNIZER.model.tokenizer, "right")
    audio.write(tmp_path / "call.wav", plant(path), RATE)
    utterances = [Utterance("a", "tapes/1", "ann", "left side", end=0.3), Utterance("b", "tapes/1", "bob", "right", start=0.3)]
    data = DataDir.from_utterances(utterances, {"tapes/1": str(tmp_path / "call.wav")})
    align_dir(RECOGNIZER, data, tmp_path / "out")
    grid = read_textgrid((tmp_path / "out/textgrid/tapes%2F1.TextGrid").read_text())
    assert list(grid.tiers) == ["ann words", "ann tokens", "bob words", "bob tokens"]
    assert [item for item in grid.tiers["bob words"] if item[2]] == [(pytest.approx(0.47), pytest.approx(0.61), "right")]
    assert lines(tmp_path / "out/words.ctm")[-1].startswith("tapes/1 1 0.470 0.140 right ")


def test_an_earlier_run_leaves_nothing_behind(tmp_path):
    align_dir(RECOGNIZER, planted_dir(tmp_path / "data", TEXTS), tmp_path / "out")
    (tmp_path / "out/notes.md").write_text("mine")
    align_dir(RECOGNIZER, planted_dir(tmp_path / "data", {"u3": "a b"}, {"u3": "a b"}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/textgrid").iterdir()] == ["u3.TextGrid"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["align.json", "notes.md", "textgrid", "tokens.ctm",
                                                                          "words.ctm"]


@pytest.mark.parametrize(("wrong", "words"), [({"batch_seconds": 0}, "--batch-seconds 0"),
                                              ({"wildcard": "two words"}, "--wildcard 'two words': must be one word"),
                                              ({"wildcard": ""}, "--wildcard '': must be one word")])
def test_wrong_use(tmp_path, wrong, words):
    with pytest.raises(UsageError, match=words):
        align_dir(RECOGNIZER, planted_dir(tmp_path / "data", TEXTS), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
