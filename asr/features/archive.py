"""Kaldi archives: features in ``.ark`` files, found through the lines of a ``.scp`` table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

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


def read_features(position: str, key: str = "") -> np.ndarray:
    """The matrix at ``path:offset``, (T, F); raises DataError, naming ``key``, when it is not there or not whole."""
    import kaldiio

    if not position:
        raise DataError(f"utterance {key}: not in feats.scp; write the features with `asr features`")
    try:
        return np.asarray(kaldiio.load_mat(position))
    except Exception as error:  # kaldiio raises whatever the broken bytes lead to
        raise DataError(f"{key}: cannot read {position}: {error or type(error).__name__}; "
                        "write it again with `asr features`") from error


def read_archive(scp: str | Path) -> dict[str, np.ndarray]:
    """All matrices of a ``.scp`` table, by key. Raises DataError."""
    try:
        lines = Path(scp).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{scp}: cannot read: {error}") from None
    return {key: read_features(position, key) for key, position in (line.split(maxsplit=1) for line in lines)}
