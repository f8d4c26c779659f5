"""Join the parts of a data directory that were decoded apart into the folder that one decoding would have written.

    python recipes/utils/join_decoded.py --data data/fsdd/test --out exp/run/decode_test_greedy exp/run/decode_test_greedy/part/*

Every utterance of the data must be in exactly one part, decoded or named as failed there. Counts and seconds of audio are added;
`wall_seconds` is the sum as well, the time of one machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from asr.corpus import DataDir
from asr.errors import AsrError, DataError
from asr.scoring.files import FILES as SCORE_FILES
from asr.system import write_text

COUNTS = ("utterances", "decoded", "frames", "skipped", "audio_seconds", "wall_seconds")
NULL_WORD = " 0.000 @ 0.000\n"


def join(data: DataDir, parts: list[Path], out: Path) -> None:
    """Write text, words.ctm, nbest.jsonl (where all parts have it) and last decode.json. Raises DataError for parts that are not
    those of the data, or not complete, or were made with different settings."""
    missing = [str(part) for part in parts if not (part / "decode.json").is_file()]
    if missing or not parts:
        raise DataError(f"not decoded to the end: {', '.join(missing) or 'no parts'}; decode them again")
    notes = [json.loads((part / "decode.json").read_text(encoding="utf-8")) for part in parts]
    texts = _lines(parts, "text")
    found = sorted([line.split(" ", 1)[0] for line in texts] + [key for note in notes for key in note["failed"]])
    if found != sorted(utterance.id for utterance in data.utterances):
        raise DataError(f"{data.path}: {len(data)} utterances, {len(found)} in the parts, and not the same: decode them again")
    if any(note["settings"] != notes[0]["settings"] or note["model"] != notes[0]["model"] for note in notes):
        raise DataError("the parts were decoded with different models or settings; decode them again")
    whole: dict[str, Any] = notes[0] | {"data": str(data.path), "parts": len(parts)}
    whole |= {name: round(sum(note[name] for note in notes), 3) for name in COUNTS}
    whole["failed"] = {key: why for note in notes for key, why in note["failed"].items()}
    whole["too_short"] = sorted(key for note in notes for key in note["too_short"])
    whole["confidence"] = {}  # the error of a calibration is no sum of those of parts
    whole["real_time_factor"] = round(whole["wall_seconds"] / whole["audio_seconds"], 5) if whole["audio_seconds"] else None
    for name in ("decode.json", *SCORE_FILES):  # no score outlives its hypotheses
        (out / name).unlink(missing_ok=True)
    write_text(out / "text", "".join(sorted(texts, key=lambda line: line.split()[0])))
    write_text(out / "words.ctm", "".join(_words(parts)))
    if all((part / "nbest.jsonl").is_file() for part in parts):
        write_text(out / "nbest.jsonl", "".join(sorted(_lines(parts, "nbest.jsonl"), key=lambda line: json.loads(line)["id"])))
    else:
        (out / "nbest.jsonl").unlink(missing_ok=True)
    write_text(out / "decode.json", json.dumps(whole, ensure_ascii=False, indent=1) + "\n")


def _lines(parts: list[Path], name: str) -> list[str]:
    return [line + "\n" for part in parts for line in (part / name).read_text(encoding="utf-8").split("\n") if line]


def _words(parts: list[Path]) -> list[str]:
    """The lines of words.ctm. A channel whose speakers are in several parts may be silent in one of them: the line that says so
    (NIST's null word) stays where it is in all, once."""
    found = sorted(_lines(parts, "words.ctm"), key=_by_time)
    named = {_by_time(line)[:2] for line in found if not line.endswith(NULL_WORD)}
    lines = []
    for line in found:
        channel = _by_time(line)[:2]
        if not line.endswith(NULL_WORD) or channel not in named:
            lines.append(line)
            named.add(channel)
    return lines


def _by_time(line: str) -> tuple[str, str, float]:
    recording, channel, start, *_ = line.split(" ")
    return recording, channel, float(start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the data directory that was split")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("parts", nargs="+", type=Path, help="decode folders of the parts")
    arguments = parser.parse_args()
    try:
        join(DataDir.load(arguments.data, allow_pipes=True), arguments.parts, arguments.out)
    except AsrError as error:
        print(f"join_decoded.py: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
