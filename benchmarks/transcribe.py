"""Batch transcription: its overhead over the bare network, its gain over one file after another, and what survives kill -9.

    python benchmarks/transcribe.py --model model.safetensors --data data/commands/train data/commands/test
    python benchmarks/transcribe.py --model model.safetensors --data data/commands/test --parts kills

short   2,000 files into a folder (looked at, hashed, read, transcribed, written, in the ledger) against the forward pass of the
        same network over the same batches of audio in memory, with as many threads as serve it best; and against
        `Recognizer.transcribe` of one file after another. All give the same transcripts, or nothing is timed.
long    recordings of half an hour and of three, joined of utterances: peak memory, and WER against the utterances each alone.
int8    errors and time against float32.
kills   the command, killed 20 times at random moments; then a last run: every file once, byte for byte as undisturbed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from longform import int8, long_recording

from asr.corpus import DataDir
from asr.ctc import greedy
from asr.system import choose_threads, usable_cores
from asr.transcription import Recognizer
from asr.transcription.job import Job, settings_of
from asr.transcription.ledger import NAME
from asr.transcription.pipeline import Local, plan_batches
from asr.transcription.sources import find_items
from asr.transcription.survey import survey


def files_of(folders: list[Path], count: int) -> list[str]:
    """Files of data directories, in their order."""
    found = [path for folder in folders for path in DataDir.load(folder).wav.values() if not path.endswith("|")]
    if len(found) < count:
        sys.exit(f"{count} files are wanted, and the data directories have {len(found)}; give more of them, or --count")
    return found[:count]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def short(options: argparse.Namespace, folder: Path) -> None:
    recognizer = Recognizer.load(options.model, "cpu").without_times()  # as the command does where it writes text alone
    files = files_of(options.data, options.count)
    items = [item for group in survey(find_items([], listed=files)) for item in group]
    batches = plan_batches(sorted(items, key=lambda item: item.index), options.batch_seconds)
    audio = [[recognizer.read(item.source)[0] for item in batch] for batch in batches]
    seconds = sum(item.duration for item in items)

    def bare() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [recognizer.log_probs(batch) for batch in audio]

    def job(name: str) -> None:
        Job(folder / name, ["txt"], settings_of(recognizer), options.batch_seconds).run(Local(recognizer),
                                                                                        find_items([], listed=files))

    def one_by_one() -> list[str]:
        return [recognizer.transcribe(path).text for path in files]

    def heard(path: str) -> str:
        return (folder / "equal" / f"{name_of[path]}.txt").read_text().rstrip("\n")

    job("equal")
    name_of = {item.source: item.name for item in items}
    mine = [heard(path) for path in files]
    greedily = {item.source: " ".join(text for text, _, _ in recognizer.model.tokenizer.word_spans(hypothesis.tokens))
                for batch, output in zip(batches, bare()) for item, hypothesis in zip(batch, greedy(*output))}
    if not mine == one_by_one() == [greedily[path] for path in files]:
        sys.exit("the transcripts differ")
    print(f"short: {len(files)} files, {seconds:.0f} s of audio, {len(batches)} batches: equal transcripts in batches, one by "
          "one and of the bare network", flush=True)
    bare_on: dict[int, list[float]] = {count: [] for count in sorted({1, usable_cores()})}
    ours, alone = [], []
    for number in range(options.rounds):
        for count, times in bare_on.items():
            torch.set_num_threads(count)
            times.append(timed(bare))
        torch.set_num_threads(choose_threads())
        ours.append(timed(lambda: job(f"round{number}")))  # noqa: B023 (called here)
        alone.append(timed(one_by_one))
    base = min(min(times) for times in bare_on.values())
    said = ", ".join(f"{count} thread(s) {min(times):.2f} s ({max(times):.2f})" for count, times in bare_on.items())
    print(f"short: best of {options.rounds} (worst): bare network {said}; the job {min(ours):.2f} s ({max(ours):.2f}), ratio "
          f"{min(ours) / base:.2f}, real-time factor {min(ours) / seconds:.5f}; one by one {min(alone):.2f} s ({max(alone):.2f}), "
          f"{min(alone) / min(ours):.2f} times the job's", flush=True)


def kills(options: argparse.Namespace, folder: Path) -> None:
    listed = folder / "list"
    files = files_of(options.data, options.count)
    listed.write_text("\n".join(files) + "\n")

    def started(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "asr", "transcribe", "--model", options.model, "--list", listed, "--out", out, "--format",
                   "txt,json,srt", "--device", "cpu", "--batch-seconds", "20"]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def outputs(out: Path) -> dict[str, bytes]:
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*")
                if path.is_file() and path.name not in (NAME, "transcribe.json")}

    def done(out: Path) -> list[str]:
        return [row["file"] for line in (out / NAME).read_text().splitlines() if "file" in (row := json.loads(line))]

    whole, broken = folder / "whole", folder / "broken"
    wall = timed(lambda: started(whole).wait())
    work = json.loads((whole / "transcribe.json").read_text())["wall_seconds"]
    draw, moments = random.Random(options.seed), []
    for _ in range(options.kills):
        process = started(broken)
        # From just before the work begins; so far into it that the kills together reach its end.
        time.sleep(wall - work + draw.uniform(-0.5, 2 * work / options.kills))
        process.send_signal(signal.SIGKILL)
        process.wait()
        moments.append(len(done(broken)) if (broken / NAME).exists() else 0)
    if started(broken).wait() != 0:
        sys.exit("kills: the last run failed")
    names = done(broken)
    if len(names) != len(set(names)) or len(names) != len(files):
        sys.exit(f"kills: {len(names)} rows for {len(set(names))} of {len(files)} files")
    if outputs(broken) != outputs(whole):
        sys.exit("kills: the outputs differ from those of an undisturbed run")
    print(f"kills: {len(files)} files, killed {options.kills} times (files done by then: {', '.join(map(str, moments))}); after "
          f"the last run every file is in the ledger once, and {len(outputs(whole))} outputs are byte for byte those of an "
          "undisturbed run", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {"short": short, "kills": kills, "long": long_recording,
                                                                "int8": int8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model.safetensors")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="Kaldi data directories of short files")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=2000, help="files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-seconds", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hours", type=float, nargs="+", default=[0.5, 3.0], help="of the long recordings")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills, and of the order in long recordings")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="asr-benchmark-"))
    try:
        for part in options.parts:
            PARTS[part](options, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
