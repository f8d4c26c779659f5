"""Tables of items and labels (for `asr classify`) from data directories of single words.

    python recipes/fsdd_parallel/local/tables.py data/fsdd/train data/fsdd/dev data/fsdd/test

Beside the files of each directory appears items.tsv: id, path, label (the transcript), group (the speaker).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asr.corpus import DataDir
from asr.errors import AsrError, DataError
from asr.system import write_text


def write_table(folder: Path) -> None:
    """items.tsv of a data directory; raises DataError for segments, and for transcripts that are not one word."""
    data = DataDir.load(folder)
    rows = ["id\tpath\tlabel\tgroup"]
    for utterance in data.utterances:
        if utterance.start or utterance.end is not None:
            raise DataError(f"{folder}: {utterance.id} is a segment of a recording; a table names whole files")
        if not utterance.text or len(utterance.text.split()) != 1:
            raise DataError(f"{folder}: {utterance.id} says {utterance.text!r}, which is not one word")
        path = Path(data.wav[utterance.recording]).resolve()
        rows.append("\t".join((utterance.id, str(path), utterance.text, utterance.speaker)))
    write_text(folder / "items.tsv", "\n".join(rows) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="data directories of whole recordings of one word each")
    options = parser.parse_args()
    try:
        for folder in options.folders:
            write_table(folder)
    except AsrError as error:
        print(f"tables.py: error: {error}", file=sys.stderr)
        return 1
    print(f"{len(options.folders)} tables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
