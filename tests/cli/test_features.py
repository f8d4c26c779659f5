"""``asr features`` as a user calls it."""

from __future__ import annotations

import functools
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from cli.command import heard

from asr import audio
from asr.corpus import DataDir, Utterance

run = functools.partial(heard, "features")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    wav = {f"u{index:02d}": str(tmp_path / f"u{index:02d}.wav") for index in range(21)}
    for path in wav.values():
        audio.write(path, rng.uniform(-0.1, 0.1, 8000).astype(np.float32), 16000)
    DataDir.from_utterances([Utterance(key, key, "someone", "a") for key in wav], wav).save(tmp_path / "data")
    return tmp_path / "data"


def test_defaults_are_kaldis_80_bins(data: Path) -> None:
    done = run(data, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{data}: 21 utterances, 0.00 hours, 1008 frames of fbank in {data}/features\n"
    features = kaldiio.load_scp(str(data / "feats.scp"))
    assert features["u00"].shape == (48, 80)
    assert DataDir.load(data).check() == []


def test_configuration_and_kind(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("features: {num_mel_bins: 30, num_ceps: 20}\ntraining: {epochs: 3}\n")
    assert run(data, "--config", config).returncode == 0
    assert kaldiio.load_scp(str(data / "feats.scp"))["u00"].shape == (48, 30)
    done = run(data, "--config", config, "--kind", "mfcc", "--out", tmp_path / "out", "--compress")
    assert done.returncode == 0 and f"frames of mfcc in {tmp_path}/out" in done.stdout
    assert kaldiio.load_scp(str(data / "feats.scp"))["u00"].shape == (48, 20)


def test_a_corrupt_file_is_named_and_the_status_is_1(data: Path) -> None:
    (data.parent / "u03.wav").write_bytes(b"RIFF")
    done = run(data)
    assert done.returncode == 1
    assert "u03.wav: cannot read" in done.stderr and "1 of 21 utterances gave no features" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(kaldiio.load_scp(str(data / "feats.scp"))) == 20
    (data.parent / "u04.wav").unlink()
    (data / "feats.scp").unlink()
    done = run(data)
    assert done.returncode == 1 and "2 of 21 utterances" in done.stderr
    assert not (data / "feats.scp").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--config", "nowhere.yaml"], "nowhere.yaml: cannot read"),
    (["--kind", "plp"], "plp"),
    (["--jobs", "0"], "--jobs"),
])
def test_wrong_use_is_status_2(data: Path, arguments: list[str], said: str) -> None:
    done = run(data, *arguments)
    assert done.returncode == 2 and said in done.stderr
    assert not (data / "feats.scp").exists()


def test_help_shows_an_example() -> None:
    done = run("--help")
    assert done.returncode == 0 and "asr features data/train --jobs 4" in done.stdout
