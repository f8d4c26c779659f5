"""Kaldi archives: features in ``.ark`` files, found through the lines of a ``.scp`` table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from asr.corpus.archive import read_matrix
from asr.errors import DataError
from asr.system import atomic_path

# kaldiio's number for Kaldi's kSpeechFeature, `copy-feats --compress=true`: 8 bits a value, by column quantiles.
COMPRESSION = 2


def write_archive(path: str | Path, matrices: Iterable[tuple[str, np.ndarray]], compress: bool = False) -> dict[str, str]:
    """Write matrices (T, F) into one ark file, whole or not at all; returns key -> ``path:offset``, the lines of a scp.

    float64 stays float64, all else is written as float32; ``compress`` is Kaldi's 8-bit compression.
    """
    import kaldiio

    path = Path(path).absolute()
    positions: dict[str, str] = {}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for key, matrix in matrices:
            positions[key] = f"{path}:{file.tell() + len(key.encode()) + 1}"
            kind = np.float64 if matrix.dtype == np.float64 else np.float32
            kaldiio.save_ark(file, {key: np.ascontiguousarray(matrix, kind)},
                             compression_method=COMPRESSION if compress else None)
    return positions


def read_archive(scp: str | Path) -> dict[str, np.ndarray]:
    """All matrices of a ``.scp`` table, by key. Raises DataError."""
    try:
        lines = Path(scp).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{scp}: cannot read: {error}") from None
    return {key: read_matrix(position, key) for key, position in (line.split(maxsplit=1) for line in lines)}
