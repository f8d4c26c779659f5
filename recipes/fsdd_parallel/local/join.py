"""Join the scores of folds: what was said of every speaker by a model that did not know them, as one scored folder.

    python recipes/fsdd_parallel/local/join.py --out exp/fsdd_parallel/loso/cnn_seed1/eval_test \\
        exp/fsdd_parallel/loso_*/cnn_seed1/eval_test

Leaves predictions.tsv and scores.json, as `asr classify evaluate` does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean

import numpy as np

from asr.classification.metrics import score
from asr.classification.predictions import Predictions, read_predictions
from asr.errors import AsrError, DataError
from asr.system import write_text


def join(folders: list[Path], out: Path) -> float:
    """The accuracy of all folds together. Raises DataError for folds that do not fit together."""
    parts = [read_predictions(folder / "predictions.tsv") for folder in folders]
    ids = [name for part in parts for name in part.ids]
    if len(set(ids)) < len(ids):
        raise DataError(f"{folders[0]} and others: an item is in two folds; join the folds of one system and one seed")
    if len({part.labels for part in parts}) > 1 or any(part.references is None or part.groups is None for part in parts):
        raise DataError(f"{folders[0]} and others: the folds have other classes, or items without label or group")
    whole = Predictions(ids, parts[0].labels, np.concatenate([part.probabilities for part in parts]),
                        [label for part in parts for label in part.references or []],
                        [group for part in parts for group in part.groups or []])
    scores = score(*whole.numbers, whole.labels, whole.groups)
    trained = [json.loads((folder / "scores.json").read_text(encoding="utf-8"))["trained"] for folder in folders]
    notes = [{**members[0], "dev_error": f"{mean(float(each['dev_error']) for each in members):.6g}", "folds": str(len(folders))}
             for members in zip(*trained, strict=True)]
    whole.write(out / "predictions.tsv")
    write_text(out / "scores.json", json.dumps(scores.as_json() | {"trained": notes}, ensure_ascii=False, indent=1) + "\n")
    return scores.accuracy


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("folders", type=Path, nargs="+", help="scored folders of the folds")
    options = parser.parse_args()
    try:
        accuracy = join(options.folders, options.out)
    except AsrError as error:
        print(f"join.py: error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: accuracy {100 * accuracy:.2f} % over {len(options.folders)} folds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
