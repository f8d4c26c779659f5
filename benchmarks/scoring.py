"""Scoring a million words: `asr.scoring.score`, with all its checks and detail, against jiwer's bare count of the same texts.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --words 100000 --rounds 5

Both get texts in memory; ours pairs them by id, counts in three ways, and keeps words and alignment of every utterance. Both
must find the same errors; then they are timed in turn, and the best round of each counts. A process of its own that reads two
Kaldi files, scores them and writes the folder tells the memory; another the time of `import asr.scoring`, less Python's own.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jiwer
from memory import run_measured

from asr.scoring import error_rate, score


def texts(words: int, rng: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    """References of 1 to 40 words out of 20,000, and hypotheses with about 14 % errors."""
    vocabulary = [f"word{number}" for number in range(20_000)]
    references, hypotheses, said = {}, {}, 0
    while said < words:
        ref = rng.choices(vocabulary, k=rng.randint(1, 40))
        hyp = []
        for word in ref:
            draw = rng.random()
            if draw > 0.04:
                hyp.append(rng.choice(vocabulary) if draw < 0.1 else word)
            if draw > 0.96:
                hyp.append(rng.choice(vocabulary))
        name = f"s{len(references) % 100:03d}-{len(references):06d}"
        references[name], hypotheses[name] = " ".join(ref), " ".join(hyp)
        said += len(ref)
    return references, hypotheses


def seconds(code: str, rounds: int = 5) -> float:
    """The best time of a Python process that runs this."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def peak_megabytes(references: dict[str, str], hypotheses: dict[str, str]) -> float:
    """Of `asr score --out` on these texts, the interpreter and all its imports included."""
    with tempfile.TemporaryDirectory() as folder:
        for name, side in (("ref", references), ("hyp", hypotheses)):
            (Path(folder) / name).write_text("".join(f"{key} {text}\n" for key, text in side.items()))
        _, peak = run_measured([sys.executable, "-m", "asr", "score", "--ref", f"{folder}/ref", "--hyp", f"{folder}/hyp", "--out",
                                f"{folder}/out"])
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=1_000_000, help="of the references")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    references, hypotheses = texts(arguments.words, random.Random(1))
    first = dict(list(references.items())[:100])
    score(first, {key: hypotheses[key] for key in first}, cer=True)  # compile
    lists = list(references.values()), [hypotheses[key] for key in references]

    ours, jiwers, with_characters = [], [], []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        scores = score(references, hypotheses)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = jiwer.process_words(*lists)
        jiwers.append(time.perf_counter() - start)
        start = time.perf_counter()
        score(references, hypotheses, cer=True)
        with_characters.append(time.perf_counter() - start)
    errors = found.substitutions + found.insertions + found.deletions
    if scores.errors != errors or scores.reference_words != found.hits + found.substitutions + found.deletions:
        sys.exit(f"not equal: ours {scores.errors} errors, jiwer {errors}")
    print(f"equal: {scores.kaldi_line()} over {scores.utterances} utterances; jiwer finds {errors} errors, "
          f"error_rate {error_rate(*lists):.6f} = {scores.wer:.6f}")
    print(f"score {min(ours):.2f} s, jiwer.process_words {min(jiwers):.2f} s, ratio {min(ours) / min(jiwers):.2f}; "
          f"with --cer {min(with_characters):.2f} s")
    print(f"peak memory of the command, files written: {peak_megabytes(references, hypotheses):.0f} MB")
    bare = seconds("pass")
    loaded = seconds("import asr.scoring, sys; assert 'torch' not in sys.modules")
    print(f"import asr.scoring: {loaded - bare:.3f} s over Python's own {bare:.3f} s, without torch")


if __name__ == "__main__":
    main()
