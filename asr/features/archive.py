"""Kaldi archives: features in ``.ark`` files, found through the lines of a ``.scp`` table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from asr.config import FeatureConfig, load_config
from asr.corpus.archive import parse_position
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


def foreign(positions: Iterable[str], config: FeatureConfig) -> list[str]:
    """Why archives are not of features as ``config`` makes them, a line for each folder of theirs; empty where they are.

    `asr features` leaves its configuration beside the archives, and that is compared. Raises DataError for a position
    that is not of a file.
    """
    folders = sorted({parse_position(position)[0].parent for position in positions})
    return [f"{folder}: archives of other features than the model's: {'; '.join(faults)}; write them again with "
            "`asr features --config` and the model's configuration"
            for folder in folders if (faults := _differences(folder, config))]


def _differences(folder: Path, config: FeatureConfig) -> list[str]:
    """Where the configuration that `asr features` left beside its archives differs from the model's; empty if nowhere."""
    path = folder / "features.yaml"
    if not path.exists():
        return [f"there is no {path.name} beside them that says what they are"]
    made = load_config(path).features
    # How features are normalised, and the dither of training, change nothing that is stored.
    return [f"{key} is {getattr(made, key)} there, {value} in the model" for key, value in config
            if key not in ("cmvn", "cmvn_variance", "dither") and getattr(made, key) != value]
