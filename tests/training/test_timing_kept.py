"""A run estimates the timing model from its training data and leaves it in the model file."""

from __future__ import annotations

import numpy as np
import pytest
from tones import make_tones
from training.small import log, run

from asr.corpus import DataDir
from asr.features.extract import extract
from asr.models.storage import load_model
from asr.transcription import Recognizer


def test_a_model_comes_with_a_timing_model(tones, tmp_path):
    model = run(tones, tmp_path / "run", "training.epochs=1")
    timing = load_model(model).timing
    assert timing.characters == "dhilmo" and timing.mean.shape == (2 + 2 * 6, 39)
    recognizer = Recognizer.load(model, "cpu")
    dev = DataDir.load(tones / "dev")
    words = [word for utterance in dev.utterances for word in recognizer.transcribe(dev.wav[utterance.recording]).words]
    shift = recognizer.model.frontend.frame_shift
    edges = np.array([edge for word in words for edge in (word.start, word.end)])
    # Times are those of the front-end's frames (7.5 ms and multiples of 10), not of the network's frames of 20 ms.
    assert not len(edges) or np.allclose((edges - 0.0075) / shift, np.round((edges - 0.0075) / shift), atol=1e-6)


def test_archives_and_audio_give_the_same_one(tmp_path):
    data = make_tones(tmp_path / "train", 24, seed=5)
    make_tones(tmp_path / "dev", 4, seed=6)
    models = [run(tmp_path, tmp_path / "audio", "training.epochs=1")]
    for name in ("train", "dev"):
        extract(DataDir.load(tmp_path / name), load_model(models[0]).config.features)
    models.append(run(tmp_path, tmp_path / "archived", "training.epochs=1", "training.archived=true"))
    audio, archived = (load_model(model).timing for model in models)
    assert len(data) == 24 and audio.characters == archived.characters
    np.testing.assert_allclose(audio.mean, archived.mean, atol=1e-4)


@pytest.mark.parametrize("count", [19, 20])
def test_a_handful_of_utterances_is_too_few(tmp_path, count):
    make_tones(tmp_path / "train", count, seed=5)
    make_tones(tmp_path / "dev", 4, seed=6)
    timing = load_model(run(tmp_path, tmp_path / "run", "training.epochs=1")).timing
    assert (timing is None) == (count < 20) == ("fewer than 20 training utterances" in log(tmp_path / "run"))
