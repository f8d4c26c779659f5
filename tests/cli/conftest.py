"""The model of all tests of commands that need one."""

from __future__ import annotations

from pathlib import Path

import pytest
from transcription.tiny import save_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors")
