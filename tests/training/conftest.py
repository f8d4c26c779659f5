"""One corpus of tones for all tests of training; tests that change a data directory make their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tones import make_tones

from asr.corpus import DataDir


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder with train (60 utterances), dev (12 others) and seen (the first 12 of train under other names)."""
    path = tmp_path_factory.mktemp("tones")
    data = make_tones(path / "train", 60, seed=1)
    make_tones(path / "dev", 12, seed=2)
    seen, wav = [], {}
    for utterance in data.utterances[:12]:
        name = f"{utterance.id}-seen"
        seen.append(replace(utterance, id=name, recording=name))
        wav[name] = data.wav[utterance.id]
    DataDir.from_utterances(seen, wav).save(path / "seen")
    return path
