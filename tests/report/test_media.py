from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from scored import Scored

from asr.errors import DataError
from asr.report.gather import gather
from asr.report.media import FLOOR, RATE, Media, posteriors, spectrogram, within
from asr.transcription import Recognizer


@pytest.fixture(scope="module")
def one_set(made: Scored):
    return gather([made.one, made.other]).sets[0]


def content_of(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def test_sound_picture_and_words(made: Scored, one_set) -> None:
    media = Media(one_set)
    assert media.notes == []
    utterance = made.data.utterances[3]
    content = json.loads(media.of(utterance.id))
    samples, rate = soundfile.read(io.BytesIO(content_of(content["audio"])), dtype="float32")
    assert rate == RATE and np.abs(samples - made.data.audio(utterance, RATE)).max() <= 1 / 32768
    assert content["seconds"] == pytest.approx(len(samples) / RATE, abs=5e-4)
    image = Image.open(io.BytesIO(content_of(content["picture"])))
    assert image.size == (1 + len(samples) // 160, 80)
    spoken = (utterance.text or "").split()
    assert content["words"][0] == [[word, round(0.1 + 0.2 * place, 3), round(0.25 + 0.2 * place, 3)]
                                   for place, word in enumerate(spoken)]


def test_the_picture_shows_the_tone() -> None:
    """One second of 1 kHz in the middle of three: bright there, at the height of 1 kHz on the mel scale, dark elsewhere."""
    time = np.arange(3 * RATE) / RATE
    samples = np.where((time >= 1) & (time < 2), 0.5 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)
    image = np.asarray(Image.open(io.BytesIO(spectrogram(samples))))  # palette indices: 255 the loudest
    rows = image[:, 150].argmax()
    assert image[rows, 110:190].min() > 240 and image[:, :90].max() < 30 and image[:, 210:].max() < 30
    import librosa

    centre = librosa.mel_frequencies(82, fmin=0, fmax=RATE / 2)[1:-1][79 - rows]
    assert abs(centre - 1000) < 60


def test_posteriors_are_the_networks(made: Scored) -> None:
    recognizer = Recognizer.load(made.one.parent / "model.safetensors", device="cpu")
    samples = made.data.audio(made.data.utterances[0], recognizer.sample_rate)
    found = posteriors(recognizer, samples)
    log_probs, frames = recognizer.log_probs([samples])
    probabilities = np.exp(log_probs[0, :int(frames[0])].numpy())
    assert found["step"] == recognizer.model.seconds_per_frame
    shown = np.zeros(len(probabilities))
    for token, first, values in found["runs"]:
        letter = recognizer.model.tokenizer.tokens.index(" " if token == "\u2423" else token)
        np.testing.assert_allclose(100 * probabilities[first:first + len(values), letter], values, atol=0.51)
        assert min(values) >= 100 * FLOOR - 0.51
        shown[first:first + len(values)] += len(values) > 0
    assert (shown == (probabilities[:, 1:] >= FLOOR).sum(axis=1)).all()


def test_what_is_not_there_is_said(made: Scored, one_set, tmp_path: Path) -> None:
    def changed(**decoding):
        system = one_set.systems[0]
        return dataclasses.replace(one_set, systems=[dataclasses.replace(
            system, folder=tmp_path, decoding={**system.decoding, **decoding})])

    assert Media(changed(data=None)).notes == ["No sound: no decode.json names the data directory; name it with --data."]
    gone = Media(changed(data="/no/such/dir"))
    assert gone.notes == ["No sound: /no/such/dir is not here; name it with --data."] and gone.of(made.ids[0]) is None
    notes = Media(changed(model={"path": "/no/model", "fingerprint": "x"})).notes
    assert notes[0].startswith("No word times of one/decode_test: ") and notes[1].endswith("/no/model is not here.")
    path = one_set.systems[0].decoding["model"]["path"]
    assert "another model than the one that decoded" in Media(changed(model={"path": path, "fingerprint": "x"})).notes[1]
    assert Media(changed(model={"path": path, "fingerprint": "x"})).of("unknown") is None
    with_data = Media(changed(data=None), made.data.path)
    assert json.loads(with_data.of(made.ids[0]))["words"] == [[]]


def test_sound_that_cannot_be_read_is_left_out(made: Scored, one_set, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    media = Media(one_set)
    true = media.data.audio

    def broken(utterance, rate):
        if utterance.id == made.ids[0]:
            raise DataError("the file is gone")
        return true(utterance, rate)

    monkeypatch.setattr(media.data, "audio", broken)
    assert [name for name, _ in within(1e9, made.ids[:3], media)] == made.ids[1:3]
    assert f"no sound of {made.ids[0]}: the file is gone" in caplog.text


def test_the_budget_holds(made: Scored, one_set) -> None:
    media = Media(one_set)
    sizes = [len(media.of(name).encode()) for name in made.ids]
    for budget, expected in ((0, 0), (sizes[0], 1), (sum(sizes[:3]), 3), (1e9, 12)):
        found = [name for name, _ in within(budget, made.ids, media)]
        assert found[:expected] == made.ids[:expected] and sum(sizes[made.ids.index(name)] for name in found) <= budget
        left = 12 - len(found)
        assert media.notes == ([f"No sound of {left} of 12 utterances: --max-mb has no room for it."] if left else [])
        media.notes.clear()


def test_a_long_one_does_not_keep_the_others_out(made: Scored, one_set, monkeypatch: pytest.MonkeyPatch) -> None:
    media = Media(one_set)
    sizes = {name: len(media.of(name).encode()) for name in made.ids}
    true = media.data.audio
    media.utterances |= {"long": dataclasses.replace(media.utterances[made.ids[0]], id="long", duration=600.0),
                         "longer": dataclasses.replace(media.utterances[made.ids[0]], id="longer", duration=900.0)}
    read = []

    def audio(utterance, rate):
        read.append(utterance.id)
        if not utterance.id.startswith("long"):
            return true(utterance, rate)
        return np.random.default_rng(0).uniform(-1, 1, 20 * rate).astype(np.float32)

    monkeypatch.setattr(media.data, "audio", audio)
    budget = sum(sizes.values())
    assert [name for name, _ in within(budget, ["long", "longer", *made.ids], media)] == made.ids
    assert media.notes == ["No sound of 2 of 14 utterances: --max-mb has no room for it."]
    assert "long" in read and "longer" not in read  # nothing is prepared that will not fit
