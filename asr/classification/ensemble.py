"""Trained classifiers that decide together: the mean of their probabilities.

Networks of other seeds, or of another build, err on other items; their mean mostly errs less than they do one by one (Hansen and
Salamon, "Neural network ensembles", IEEE PAMI 12, 1990; the mean of probabilities is the sum rule of Kittler et al., "On combining
classifiers", IEEE PAMI 20, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.classification.config import ClassifyConfig
from asr.classification.model import ClassifierModel, Progress, load_classifier
from asr.classification.predictions import Predictions
from asr.classification.table import ItemTable, shown
from asr.errors import ModelError, UsageError

Models = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Ensemble:
    """One classifier or several, of the same classes in the same order and of items with the same columns."""

    members: tuple[ClassifierModel, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.members[0].labels

    @property
    def config(self) -> ClassifyConfig:
        """The first one's: all read a table alike."""
        return self.members[0].config

    def predict(self, table: ItemTable, skip_bad: bool = False, progress: Progress | None = None) -> tuple[Predictions, ItemTable]:
        """As `ClassifierModel.predict`. Each member reads the items in its own way; what one cannot read is in no result."""
        found = []
        for member in self.members:
            predictions, table = member.predict(table, skip_bad, progress)
            found.append(predictions)
        last = found[-1]
        chances = np.mean([_of(predictions, last.ids) for predictions in found], axis=0)
        return Predictions(last.ids, self.labels, chances, last.references, last.groups), table


def load_ensemble(models: Models, device: str | torch.device = "cpu") -> Ensemble:
    """Read one model file or several.

    Raises UsageError for none and for one that is named twice, ModelError as `load_classifier` does and for models that cannot
    decide together: of other classes than the first, or of items with other columns.
    """
    paths = [models] if isinstance(models, str | Path) else list(models)
    if not paths:
        raise UsageError("no model is named")
    seen: set[Path] = set()
    for path in paths:
        if Path(path).resolve() in seen:
            raise UsageError(f"{path}: named twice, and would count double; name each model once")
        seen.add(Path(path).resolve())
    members = tuple(load_classifier(path, device) for path in paths)
    first = members[0]
    for other in members[1:]:
        if other.labels != first.labels:
            raise ModelError(f"{other.path}: its classes ({shown(other.labels)}) are not those of {first.path} "
                             f"({shown(first.labels)}): they cannot decide together")
        if _columns(other) != _columns(first):
            raise ModelError(f"{other.path}: it wants items of {_columns(other)}, {first.path} of {_columns(first)}: they cannot "
                             "decide together")
    return Ensemble(members)


def _columns(member: ClassifierModel) -> str:
    """What a member reads of a table, as text."""
    columns = member.config.table
    inputs = ", ".join(f"{source.kind} in column {source.source!r}" for source in member.config.inputs)
    return f"{inputs} (id {columns.id!r}, label {columns.label!r}, group {columns.group!r})"


def _of(predictions: Predictions, ids: list[str]) -> np.ndarray:
    """The probabilities of these items (N, C), in this order."""
    at = {name: number for number, name in enumerate(predictions.ids)}
    return predictions.probabilities[[at[name] for name in ids]]
