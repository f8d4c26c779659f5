"""Data directories with real (tiny) audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr import audio
from asr.corpus import DataDir, Utterance

TEXTS = {"ann-1": "one two", "ann-2": "three", "bob-1": "four five six", "bob-2": "seven", "cid-1": "eight nine"}


def tone(seconds: float, rate: int = 8000, pitch: float = 300.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def plain(tmp_path: Path) -> DataDir:
    """Five utterances of three speakers, each its own file of 1.0, 1.1, ... seconds; saved in `plain/`."""
    wav = {}
    for number, id in enumerate(TEXTS):
        wav[id] = str(tmp_path / "audio" / f"{id}.wav")
        audio.write(wav[id], tone(1.0 + 0.1 * number), 8000)
    data = DataDir.from_utterances([Utterance(id, id, id[:3], text) for id, text in TEXTS.items()], wav)
    data.save(tmp_path / "plain")
    return data


@pytest.fixture
def segmented(tmp_path: Path) -> DataDir:
    """Four utterances of two speakers in two recordings of 3 s; the last ends with its recording; saved in `segmented/`."""
    wav = {name: str(tmp_path / "audio" / f"{name}.flac") for name in ("call1", "call2")}
    for number, path in enumerate(wav.values()):
        audio.write(path, np.concatenate([tone(1.5, pitch=200.0 + 100 * number), tone(1.5, pitch=500.0)]), 8000)
    data = DataDir.from_utterances([
        Utterance("ann-a", "call1", "ann", "one", 0.25, 1.0), Utterance("ann-b", "call2", "ann", "two three", 0.0, 1.5),
        Utterance("bob-a", "call1", "bob", "four", 1.25, 2.75), Utterance("bob-b", "call2", "bob", "five", 1.5, None)], wav)
    data.save(tmp_path / "segmented")
    return data


@pytest.fixture
def edit(tmp_path: Path) -> Callable[..., None]:
    """Replace text in a table: edit("plain/text", "three", "")."""
    def change(name: str, old: str, new: str) -> None:
        path = tmp_path / name
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new, 1), encoding="utf-8", newline="")
    return change
