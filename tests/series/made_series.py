"""Series made for tests: small tables with a daily shape, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def made_values(rows: int = 400, series: int = 3, seed: int = 0, season: int = 24) -> np.ndarray:
    """(T, C): a season, a slow walk and noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(rows)[:, None]
    phase = rng.uniform(0, 2 * np.pi, series)
    return (10 + np.sin(2 * np.pi * time / season + phase) + 0.05 * rng.standard_normal((rows, series)).cumsum(axis=0)
            + 0.1 * rng.standard_normal((rows, series)))


def made_frame(rows: int = 400, series: int = 3, seed: int = 0, freq: str = "h") -> pd.DataFrame:
    """The same as a table: `date`, and a column a series, `a`, `b` ..."""
    values = made_values(rows, series, seed).round(4)
    frame = pd.DataFrame(values, columns=[chr(ord("a") + n) for n in range(series)])
    frame.insert(0, "date", pd.date_range("2020-01-01", periods=rows, freq=freq))
    return frame


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path
