"""benchmarks/ctc_gpu.py where there is no GPU: it says so, and what it compares there compares well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, BENCHMARKS / "ctc_gpu.py"], capture_output=True, text=True, check=False,
                          env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert done.stderr == "ctc_gpu: there is no CUDA device here; --interpreted checks errors without one\n"


def test_the_loss_is_compared_with_float64_and_a_wrong_one_is_found(monkeypatch, capsys):
    pytest.importorskip("triton")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ctc_gpu_loss as loss

    batch = loss.made(12, 2, 9, 3, device="cpu", ragged=True)
    loss.compare("small", batch)
    assert "loss small: largest relative error of a loss" in capsys.readouterr().out
    right = loss.ours
    monkeypatch.setattr(loss, "ours", lambda some, backend="triton": tuple(1.01 * one for one in right(some, backend)))
    monkeypatch.setattr(loss, "exact", lambda some: tuple(one.double() for one in right(some, "torch")))
    with pytest.raises(SystemExit, match="loss: small: too far from float64"):
        loss.compare("small", batch)
