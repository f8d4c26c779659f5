"""A corpus and a model to spoil, and `asr` in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bad_input.commands import CONFIG, Ended
from cli.command import here
from tones import make_tones
from transcription.tiny import save_tiny_model


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    """Run a command as `asr ...` does, here: exit status, standard output, and standard error with the log's lines."""
    def run(*arguments: object) -> Ended:
        caplog.clear()
        capsys.readouterr()
        status = here(monkeypatch, *arguments)
        said = capsys.readouterr()
        return Ended(status, said.out, said.err + "\n".join(record.getMessage() for record in caplog.records))
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train`, `dev` (tones), `c.yaml` and `model.safetensors` (untrained), made once."""
    path = tmp_path_factory.mktemp("made")
    make_tones(path / "train", 12, seed=1)
    make_tones(path / "dev", 4, seed=2)
    (path / "c.yaml").write_text(CONFIG)
    save_tiny_model(path / "model.safetensors")
    return path


@pytest.fixture
def corpus(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to spoil; paths in its tables are those of the copy."""
    path = tmp_path / "corpus"
    shutil.copytree(made, path)
    for table in path.glob("*/wav.scp"):
        table.write_text(table.read_text().replace(str(made), str(path)))
    return path
