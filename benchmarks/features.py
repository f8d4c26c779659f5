"""Log-mel features: ours in padded batches, against torchaudio.compliance.kaldi.fbank one utterance at a time.

    python benchmarks/features.py                       # made speech of 1-15 s
    python benchmarks/features.py --data data/train     # the utterances of a data directory
    python benchmarks/features.py --data data/fsdd/test --sample-rate 8000 --seconds 1e9 --rounds 1    # all of them, once

Both sides first give their features, which must be equal; then both are timed in turn, on the same audio in memory and the
same number of threads, and the best round of each counts. kaldi-native-fbank (one thread, online interface) is for
information. A ratio above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import kaldi_native_fbank
import numpy as np
import torch
import torchaudio.compliance.kaldi
from torch import Tensor

from asr.corpus import DataDir
from asr.features import Fbank

BATCH_SECONDS = 120.0
CLOSE, REACH = 1e-3, 16.0  # nats: how equal, and down to where below the loudest filter of a frame (70 dB)


def made_speech(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances of 1-15 s, each a buzz of a drawn pitch, its loudness moving like syllables, over a noise floor."""
    time_s = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * rng.uniform(90, 250) * harmonic * time_s) / harmonic for harmonic in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 2 * time_s + rng.uniform(0, 6)), 0.01, 1)
    return (0.2 * buzz * syllables + 0.001 * rng.standard_normal(len(time_s))).astype(np.float32)


def utterances(data: str | None, seconds: float, rate: int) -> list[np.ndarray]:
    """Samples of utterances of so many seconds in all."""
    rng = np.random.default_rng(1)
    found: list[np.ndarray] = []
    directory = DataDir.load(data) if data else None
    while sum(map(len, found)) < seconds * rate and (directory is None or len(found) < len(directory)):
        found.append(made_speech(rng.uniform(1, 15), rate, rng) if directory is None
                     else directory.audio(directory.utterances[len(found)], rate))
    return found


def batches(waves: list[np.ndarray], rate: int) -> list[tuple[Tensor, Tensor]]:
    """Padded batches of like lengths, of at most 120 padded seconds: what training feeds."""
    groups: list[list[np.ndarray]] = [[]]
    for wave in sorted(waves, key=len):
        if len(wave) * (len(groups[-1]) + 1) > BATCH_SECONDS * rate and groups[-1]:
            groups.append([])
        groups[-1].append(wave)
    made = []
    for group in groups:
        padded = torch.zeros(len(group), max(map(len, group)))
        for row, wave in zip(padded, group):
            row[:len(wave)] = torch.from_numpy(wave)
        made.append((padded, torch.tensor([len(wave) for wave in group])))
    return made


def native(wave: np.ndarray, options: kaldi_native_fbank.FbankOptions) -> np.ndarray:
    online = kaldi_native_fbank.OnlineFbank(options)
    online.accept_waveform(options.frame_opts.samp_freq, wave)
    online.input_finished()
    return np.stack([online.get_frame(index) for index in range(online.num_frames_ready)])


def equal(got: np.ndarray, expected: np.ndarray, name: str) -> None:
    """End the program unless features (T, F) agree.

    A filter 70 dB and more below the loudest of its frame is decided by the rounding of float32 (the two references
    differ from each other there as much as from us); the largest difference is printed with and without those.
    """
    if got.shape != expected.shape:
        sys.exit(f"not equal to {name}: shape {got.shape}, expected {expected.shape}")
    difference = np.abs(got - expected)
    heard = difference[expected > expected.max(axis=1, keepdims=True) - REACH]
    print(f"equal to {name}: {len(got)} frames, largest difference {heard.max():.1e} within 70 dB of a frame's loudest "
          f"filter, {difference.max():.1e} anywhere, {np.mean(difference > CLOSE):.1e} of all values over {CLOSE:g}")
    if heard.max() > CLOSE or np.mean(difference > CLOSE) > 1e-4:
        sys.exit(f"not equal to {name}")


def best(works: list[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of the best round of each; they take turns, so that a busy machine is busy for all."""
    times = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, times):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=600.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", help="a data directory; made speech without it")
    parser.add_argument("--sample-rate", type=int, default=16000, help="Hz; audio at another rate is resampled to it")
    arguments = parser.parse_args()

    rate = arguments.sample_rate
    waves = sorted(utterances(arguments.data, arguments.seconds, rate), key=len)
    seconds = sum(map(len, waves)) / rate
    ready, singles = batches(waves, rate), [torch.from_numpy(wave)[None] * 32768 for wave in waves]
    scaled = [wave[0].numpy() for wave in singles]
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither, options.mel_opts.num_bins = rate, 0, 80
    fbank = Fbank(sample_rate=rate, num_mel_bins=80)

    def ours() -> list[tuple[Tensor, Tensor]]:
        return [fbank(padded, lengths) for padded, lengths in ready]

    def peer() -> list[Tensor]:
        return [torchaudio.compliance.kaldi.fbank(wave, num_mel_bins=80, sample_frequency=rate) for wave in singles]

    def kaldi() -> list[np.ndarray]:
        return [native(wave, options) for wave in scaled]

    print(f"{len(waves)} utterances, {seconds:.0f} s of audio, {len(ready)} batches; torch {torch.__version__}")
    got = np.concatenate([row[:count].numpy() for features, frames in ours()
                          for row, count in zip(features, frames.tolist())])
    equal(got, torch.cat(peer()).numpy(), "torchaudio.compliance.kaldi.fbank")
    equal(got, np.concatenate(kaldi()), "kaldi-native-fbank")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        mine, theirs, native_time = best([ours, peer, kaldi], arguments.rounds)
        print(f"{threads} thread(s): ours {1e3 * mine:.1f} ms ({seconds / mine:.0f} x real time), "
              f"torchaudio {1e3 * theirs:.1f} ms, ratio {theirs / mine:.2f}; "
              f"kaldi-native-fbank (1 thread) {1e3 * native_time:.1f} ms, ratio {native_time / mine:.2f}")


if __name__ == "__main__":
    main()
