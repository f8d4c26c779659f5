"""The parts of `benchmarks/transcribe.py` about one long recording, and about int8."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from bisect import bisect
from pathlib import Path

import soundfile
import torch
from memory import run_measured
from torch.nn.utils.rnn import pack_padded_sequence

from asr import Recognizer
from asr.config import parse_config
from asr.corpus import DataDir
from asr.models import build_model
from asr.models.int8 import to_int8
from asr.scoring import score
from asr.transcription.batches import batches_by_length

ALONE = """
import json, sys, time
from asr import Recognizer
recognizer = Recognizer.load(sys.argv[1], "cpu")
start = time.perf_counter()
result = recognizer.transcribe(sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - start, "words": result.words, "duration": result.duration}))
"""
"""A process of its own that transcribes one recording: its peak memory is that of the job, interpreter and imports included."""


def spoken(recognizer: Recognizer, folders: list[Path]) -> list[tuple[str, str, object]]:
    """Reference, what the recogniser makes of it alone, and samples, of every utterance."""
    found = []
    for data in map(DataDir.load, folders):
        samples = [data.audio(utterance, recognizer.sample_rate) for utterance in data.utterances]
        alone: dict[int, str] = {}
        for batch in batches_by_length([len(each) / recognizer.sample_rate for each in samples], 120.0):
            alone.update(zip(batch, (result.text for result in recognizer.transcribe_batch([samples[index] for index in batch]))))
        found += [(recognizer.model.tokenizer.normalize(utterance.text), alone[index], samples[index])
                  for index, utterance in enumerate(data.utterances)]
    return found


def join(utterances: list, hours: float, rate: int, path: Path, rng: random.Random) -> tuple[list[int], list[float]]:
    """Write utterances in random order, 0.6 to 2 s of silence before each; which they are, and where in time each one's share
    begins, half-way through the silence before it."""
    order: list[int] = []
    begins: list[float] = []
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while file.tell() < hours * 3600 * rate:
            for index in rng.sample(range(len(utterances)), len(utterances)):
                silence = round(rng.uniform(0.6, 2.0) * rate)
                begins.append((file.tell() + silence / 2) / rate)
                order.append(index)
                file.write([0.0] * silence)
                file.write(utterances[index][2])
                if file.tell() >= hours * 3600 * rate:
                    break
    return order, begins


def long_recording(options: argparse.Namespace, folder: Path) -> None:
    """One recording of hours, of utterances with digital silence between them, against the same utterances each alone."""
    recognizer = Recognizer.load(options.model, "cpu")
    utterances = spoken(recognizer, options.data)
    for hours in options.hours:
        path = folder / "long.wav"
        order, begins = join(utterances, hours, recognizer.sample_rate, path, random.Random(options.seed))
        printed, peak = run_measured([sys.executable, "-c", ALONE, str(options.model), str(path)])
        done = json.loads(printed)
        heard: list[list[str]] = [[] for _ in order]
        for text, start, end, _ in done["words"]:
            heard[max(0, bisect(begins, (start + end) / 2) - 1)].append(text)
        references = {str(place): utterances[index][0] for place, index in enumerate(order)}
        whole = score(references, {str(place): " ".join(words) for place, words in enumerate(heard)})
        alone = score(references, {str(place): utterances[index][1] for place, index in enumerate(order)})
        differ = sum(" ".join(words) != utterances[index][1] for words, index in zip(heard, order))
        print(f"long: {done['duration'] / 3600:.2f} h, {len(order)} utterances of {len(utterances)}: peak memory "
              f"{peak / 2**20:.0f} MB, {done['seconds']:.1f} s; WER {100 * whole.wer:.3f} % ({whole.errors} of "
              f"{whole.reference_words}), of the utterances each alone {100 * alone.wer:.3f} % ({alone.errors}), difference "
              f"{100 * (whole.wer - alone.wer):+.3f} points; {differ} utterances read otherwise", flush=True)


def int8(options: argparse.Namespace, _: Path) -> None:
    """int8 against float32: errors, whether batches matter, and CPU time; then the time of a larger network, untrained."""
    torch.set_num_threads(1)
    exact, quick = Recognizer.load(options.model, "cpu"), Recognizer.load(options.model, "cpu", int8=True)
    for folder in options.data:
        data = DataDir.load(folder)
        references = {each.id: exact.model.tokenizer.normalize(each.text) for each in data.utterances}
        samples = [data.audio(each, exact.sample_rate) for each in data.utterances]
        batches = batches_by_length([len(each) / exact.sample_rate for each in samples], 120.0)
        said, seconds = {}, {}
        for _ in range(options.rounds):
            for name, recognizer in (("float32", exact), ("int8", quick)):
                start, texts = time.process_time(), {}
                for batch in batches:
                    results = recognizer.transcribe_batch([samples[index] for index in batch])
                    texts.update((data.utterances[index].id, result.text) for index, result in zip(batch, results))
                said[name] = texts
                seconds[name] = min(seconds.get(name, 1e9), time.process_time() - start)
        alone = sum(quick.transcribe_batch([each])[0].text != said["int8"][utterance.id]
                    for utterance, each in zip(data.utterances, samples))
        scores = {name: score(references, texts) for name, texts in said.items()}
        differ = sum(said["int8"][key] != said["float32"][key] for key in references)
        print(f"int8: {folder.name}, {len(samples)} utterances: WER {100 * scores['int8'].wer:.2f} % ({scores['int8'].errors} of "
              f"{scores['int8'].reference_words}), float32 {100 * scores['float32'].wer:.2f} % ({scores['float32'].errors}); "
              f"{differ} read otherwise; {alone} read otherwise alone than in batches; {seconds['int8']:.2f} s, float32 "
              f"{seconds['float32']:.2f} s of one core, all but reading", flush=True)
    for hidden, layers in ((160, 2), (512, 3), (800, 3)):
        untrained(hidden, layers, options.rounds)


def untrained(hidden: int, layers: int, rounds: int) -> None:
    """The time of a network of Deep Speech 2's kind, whole and above its convolutions."""
    config = parse_config({"model": {"conv": {"layers": [{"channels": 32, "kernel": [11, 41], "stride": [2, 2]},
                                                         {"channels": 32, "kernel": [11, 21], "stride": [1, 2]}]},
                                     "rnn": {"hidden": hidden, "layers": layers}}}).model
    torch.manual_seed(1)
    network = build_model(config, 80, 1000).eval()
    features, frames = torch.randn(8, 1000, 80), torch.full((8,), 1000)
    inner = pack_padded_sequence(torch.randn(8, 500, network.encoder.conv.dim), torch.full((8,), 500), batch_first=True)
    times: dict[str, float] = {}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, each in (("float32", network), ("int8", to_int8(network))):
                for part, work in (("", lambda: each(features, frames)), (" GRUs", lambda: each.encoder.context.rnn(inner))):  # noqa: B023
                    start = time.process_time()
                    work()
                    times[name + part] = min(times.get(name + part, 1e9), time.process_time() - start)
    print(f"int8: 8 x 10 s through {layers} bidirectional GRUs of {hidden} over 2 convolutions: {1000 * times['int8']:.0f} ms, "
          f"float32 {1000 * times['float32']:.0f} ms, ratio {times['float32'] / times['int8']:.2f}; the GRUs alone "
          f"{times['float32 GRUs'] / times['int8 GRUs']:.2f}", flush=True)
