from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["asr.text", "asr.scoring"])
def test_imports_without_torch(module: str) -> None:
    heavy = {"torch", "librosa", "scipy", "sentencepiece", "jiwer", "numba"}
    code = f"import sys, {module}; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
