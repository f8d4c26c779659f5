"""NATOPS and JapaneseVowels (the .ts files of timeseriesclassification.com) as tables of items.

    python recipes/natops/local/prepare.py --corpus CORPUS --out data/natops

The training file becomes `train.tsv`, the test file `test.tsv`; each case is one .npy of (times, channels). As neither set has a
validation part, the training cases are also cut into five folds, `fold<N>_train.tsv` and `fold<N>_test.tsv`, each class in equal
parts: settings are chosen on them, never on the test file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from asr.classification.table import stratified_folds
from asr.errors import DataError, run_script
from asr.system import write_text

# Folder of the corpus -> name of its files, training and test cases, channels, classes.
SETS = {"natops": ("NATOPS", 180, 180, 24, 6), "japanese_vowels": ("JapaneseVowels", 270, 370, 12, 9)}
FOLDS = 5

Case = tuple[np.ndarray, str]


def read_ts(path: Path) -> list[Case]:
    """The cases of a .ts file: (T, C) float32, and the class.

    After `@data` a line is a case: channels parted by colons, numbers by commas, the class last. Raises DataError with the line
    for channels of different lengths, another number of channels than the case before, or what is no number.
    """
    cases: list[Case] = []
    begun = False
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read: {error}") from None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not begun:
            begun = line.lower() == "@data"
            continue
        if not line:
            continue
        *channels, label = line.split(":")
        try:
            series = [[float(value) for value in channel.split(",")] for channel in channels]
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if not series or len({len(channel) for channel in series}) != 1:
            raise DataError(f"{path}:{number}: its channels have different lengths")
        if cases and len(series) != cases[0][0].shape[1]:
            raise DataError(f"{path}:{number}: {len(series)} channels, the cases before have {cases[0][0].shape[1]}")
        values = np.array(series, np.float64).T  # (C, T) -> (T, C)
        values = values[: _end(values)]
        cases.append((values.astype(np.float32), label.strip().removesuffix(".0")))
    if not cases:
        raise DataError(f"{path}: no cases after @data")
    return cases


def _end(values: np.ndarray) -> int:
    """Where the last row with a number ends: cases of different lengths may be filled up with NaN."""
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    return int(known[-1]) + 1 if len(known) else 0


def prepare(corpus: Path, out: Path, seed: int = 0) -> None:
    """Write `<out>/<set>/` for both sets; raises DataError where a file is absent or not the one that is known.

    Tables come after their items: where there is a table, its items are whole.
    """
    for folder, (name, training, testing, channels, classes) in SETS.items():
        files = {part: corpus / folder / f"{name}_{part.upper()}.ts" for part in ("train", "test")}
        absent = [str(path) for path in files.values() if not path.is_file()]
        if absent:
            raise DataError(f"{corpus}: the corpus lacks {', '.join(absent)}")
        cases = {part: read_ts(path) for part, path in files.items()}
        found = (len(cases["train"]), len(cases["test"]), cases["train"][0][0].shape[1],
                 len({label for _, label in cases["train"]}))
        if found != (training, testing, channels, classes):
            raise DataError(f"{corpus / folder}: {found} training cases, test cases, channels and classes; expected "
                            f"{(training, testing, channels, classes)}")
        base = out / folder
        (base / "items").mkdir(parents=True, exist_ok=True)
        rows: dict[str, list[str]] = {}
        for part, known in cases.items():
            rows[part] = []
            for number, (values, label) in enumerate(known):
                item = f"{part}-{number:03d}"
                np.save(base / "items" / f"{item}.npy", values)
                rows[part].append(f"{item}\titems/{item}.npy\t{label}\n")
            write_table(base / f"{part}.tsv", rows[part])
        fold = stratified_folds([label for _, label in cases["train"]], FOLDS, seed)
        for number in range(FOLDS):
            write_table(base / f"fold{number}_train.tsv", [row for row, its in zip(rows["train"], fold) if its != number])
            write_table(base / f"fold{number}_test.tsv", [row for row, its in zip(rows["train"], fold) if its == number])
        print(f"{base}: {training} training and {testing} test cases, {channels} channels, {classes} classes")


def write_table(path: Path, rows: list[str]) -> None:
    write_text(path, "id\tpath\tlabel\n" + "".join(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with natops/ and japanese_vowels/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.seed))


if __name__ == "__main__":
    sys.exit(main())
