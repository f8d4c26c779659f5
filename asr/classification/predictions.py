"""Tables of predictions: what was said of every item, how sure, and what it is where that is known. Imports without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError, UsageError
from asr.system import write_text

_FIRST = ["id", "group", "label", "predicted"]


@dataclass(frozen=True)
class Predictions:
    """Items with their probabilities (N, C) float64, in the order of ``labels``.

    ``references`` and ``groups`` are None where the items have none.
    """

    ids: list[str]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    references: list[str] | None = None
    groups: list[str] | None = None

    @property
    def predicted(self) -> list[str]:
        """The most probable label of each item; of equals, the first."""
        return [self.labels[n] for n in self.probabilities.argmax(axis=1)]

    @property
    def numbers(self) -> tuple[list[int], list[int]]:
        """(references, predictions) as numbers of labels; DataError where an item has no reference."""
        if self.references is None:
            raise DataError("items without labels cannot be scored")
        at = {label: number for number, label in enumerate(self.labels)}
        return [at[label] for label in self.references], self.probabilities.argmax(axis=1).tolist()

    def as_text(self) -> str:
        """A tab-separated table: id, group, label, predicted, and the probability of each class under `p:<label>`."""
        lines = ["\t".join([*_FIRST, *(f"p:{label}" for label in self.labels)])]
        nothing = [""] * len(self.ids)
        for row in zip(self.ids, self.groups or nothing, self.references or nothing, self.predicted, self.probabilities):
            lines.append("\t".join([*row[:4], *(f"{chance:.6f}" for chance in row[4])]))
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> None:
        """`as_text` as a file."""
        write_text(path, self.as_text())


def read_predictions(path: str | Path) -> Predictions:
    """Read what `Predictions.write` wrote. Raises UsageError for an absent file, DataError for another kind of file."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such table of predictions; `asr classify evaluate` writes them")
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # nothing else ends a line: ids may have U+2028
    header = lines[0].split("\t")
    if header[:4] != _FIRST or len(header) < 5 or not all(name.startswith("p:") for name in header[4:]):
        raise DataError(f"{path}:1: not a table of predictions, as `asr classify evaluate` writes them")
    rows: list[Sequence[str]] = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}:{number}: {len(row)} fields, the header has {len(header)}")
    labels = tuple(name[2:] for name in header[4:])
    try:
        chances = np.array([[float(field) for field in row[4:]] for row in rows], np.float64).reshape(-1, len(labels))
    except ValueError as error:
        raise DataError(f"{path}: a probability that is no number: {error}") from None
    groups, references = [row[1] for row in rows], [row[2] for row in rows]
    unknown = sorted({label for label in references if label} - set(labels))
    if unknown:
        raise DataError(f"{path}: labels without a column of probabilities: {', '.join(unknown)}")
    return Predictions([row[0] for row in rows], labels, chances, references if all(references) else None,
                       groups if all(groups) else None)
