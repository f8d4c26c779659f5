"""Beam search, as a part of ctc_gpu.py. The peer, torchaudio's cuda_ctc_decoder, knows no language model."""

from __future__ import annotations

import random
import sys

import gpu_clock as clock
import torch
import torch.nn.functional as F
from torch import Tensor

from asr.ctc import BeamSearch
from asr.text import CharTokenizer, build_ngram

FRAMES, BATCH = 1000, 32
LETTERS = "abcdefghijklmnopqrstuvwxyz "
GOAL, GOAL_WITH_MODEL = 5.0, 1.6  # times cuda_ctc_decoder; and at most so many times the time without a model

Case = tuple[Tensor, Tensor]


def text(words: int, seed: int) -> str:
    """Words of a small made-up language, drawn by a power law."""
    chance = random.Random(seed)
    known = ["".join(random.Random(number).choices(LETTERS[:-1], k=2 + number % 7)) for number in range(2000)]
    return " ".join(known[min(1999, int(chance.paretovariate(0.8)) - 1)] for _ in range(words))


def made(frames: int, batch: int, vocabulary: int, device: str = "cuda", sure: float = 7.0, seed: int = 0) -> Case:
    """Emissions of a network that hears letters of that language amid noise; more tokens than letters stay noise."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, frames, vocabulary, generator=generator) * 2
    tokenizer = CharTokenizer(LETTERS)
    for row in range(batch):
        letters = tokenizer.encode(text(frames // 8, seed + row))[:frames // 4]
        places = (torch.arange(len(letters)) * frames) // max(1, len(letters))
        logits[row, :, 0] += sure
        logits[row, places, torch.tensor(letters)] += 2 * sure
    return logits.log_softmax(-1).to(device), torch.full((batch,), frames, device=device, dtype=torch.int32)


def models() -> dict[str, dict]:
    """Options of `BeamSearch` with a 4-gram of words, and one of letters."""
    tokenizer, lines = CharTokenizer(LETTERS), [text(12, seed) for seed in range(3000)]
    spelled = [" ".join(tokenizer.tokens[token] for token in tokenizer.encode(line)) for line in lines]
    return {"4-gram of words": {"lm": build_ngram(lines, order=4), "tokenizer": tokenizer},
            "4-gram of letters": {"lm": build_ngram(spelled, order=4), "lm_unit": "token", "tokenizer": tokenizer}}


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"beam: {message}")


def compare(name: str, case: Case, **options: object) -> None:
    log_probs, sizes = case
    ours = BeamSearch(backend="triton", **options)(log_probs, sizes)
    theirs = BeamSearch(backend="cpu", **options)(log_probs.cpu(), sizes.cpu())
    for row, (found, expected) in enumerate(zip(ours, theirs)):
        same = [one.tokens for one in found] == [one.tokens for one in expected]
        near = same and all(abs(one.score - other.score) < 1e-4 for one, other in zip(found, expected))
        check(near, f"{name}: utterance {row} is another than on the CPU")
    print(f"beam {name}: the transcripts and scores of the CPU")


def interpreted() -> None:
    compare("T=20 B=1 V=29, beam 8, interpreted", made(20, 1, 29, device="cpu"), beam=8, nbest=4)


def tiny() -> None:
    options = models()
    size = CharTokenizer(LETTERS).vocab_size
    for beam in (4, 16, 32):
        BeamSearch(beam=beam, nbest=2, backend="triton")(*made(12, 2, 40))
    for kind in options.values():
        BeamSearch(beam=8, backend="triton", **kind)(*made(12, 2, size))


def correct() -> None:
    size = CharTokenizer(LETTERS).vocab_size
    for vocabulary in (32, 1000):
        for beam in (4, 16, 32):
            compare(f"T=300 B=8 V={vocabulary} beam {beam}", made(300, 8, vocabulary), beam=beam, nbest=4)
    for name, kind in models().items():
        for beam in (4, 16):
            compare(f"T=300 B=8 {name}, beam {beam}", made(300, 8, size, sure=4.0), beam=beam, nbest=4, **kind)
    for vocabulary in (size, 1000):
        against_peer(vocabulary, made(FRAMES, BATCH, vocabulary))
    search, case = BeamSearch(backend="triton"), made(300, 8, 32)
    first = search(*case)
    check(all(search(*case) == first for _ in range(19)), "two runs differ")


def against_peer(vocabulary: int, case: Case) -> None:
    """Exact probabilities of both best transcripts, summed over all paths: ours are not to be lower."""
    log_probs, ours = case[0].double().cpu(), [found[0].tokens for found in BeamSearch(backend="triton")(*case)]
    theirs = [found[0].tokens for found in _peer(vocabulary)(case)]
    gains = [_probability(row, mine) - _probability(row, other) for row, mine, other in zip(log_probs, ours, theirs)]
    check(sum(gains) > -1e-3, f"V={vocabulary}: our transcripts are less probable than cuda_ctc_decoder's by {sum(gains):.4f}")
    print(f"beam V={vocabulary}: {sum(mine == other for mine, other in zip(ours, theirs))} of {len(ours)} transcripts are those of "
          f"cuda_ctc_decoder; ln p of ours less theirs: {min(gains):.4f} to {max(gains):.4f}")


def _probability(log_probs: Tensor, tokens: list[int]) -> float:
    """ln p of tokens, summed over all paths."""
    return -float(F.ctc_loss(log_probs[:, None], torch.tensor([tokens]), [len(log_probs)], [len(tokens)], reduction="sum"))


def measure(rounds: int) -> None:
    size = CharTokenizer(LETTERS).vocab_size
    print(f"\n| beam 16, T={FRAMES}, B={BATCH} | cuda_ctc_decoder us | ours us | us a frame | ratio |\n|---|---|---|---|---|")
    rounds = max(5, rounds // 5)
    plain = 0.0
    for vocabulary in (size, 1000):
        cases = [made(FRAMES, BATCH, vocabulary, seed=seed) for seed in range(2)]
        search = BeamSearch(backend="triton")
        ours = clock.microseconds(lambda one, search=search: search(*one), cases, rounds)
        peer = clock.microseconds(_peer(vocabulary), cases, rounds)
        plain = plain or ours
        print(f"| V={vocabulary} | {peer:.0f} | {ours:.0f} | {ours / FRAMES:.2f} | {peer / ours:.1f} |")
        if peer / ours < GOAL:
            print(f"beam: BELOW THE GOAL: {peer / ours:.1f} times cuda_ctc_decoder, goal {GOAL:.0f}")
    for name, kind in models().items():
        cases = [made(FRAMES, BATCH, size, seed=seed) for seed in range(2)]
        search = BeamSearch(backend="triton", **kind)
        ours = clock.microseconds(lambda one, search=search: search(*one), cases, rounds)
        print(f"| V={size}, {name} | | {ours:.0f} | {ours / FRAMES:.2f} | {ours / plain:.2f} times without |")
        if ours / plain > GOAL_WITH_MODEL:
            print(f"beam: BELOW THE GOAL: with a {name} {ours / plain:.2f} times the time without, goal {GOAL_WITH_MODEL}")


def _peer(vocabulary: int):
    from torchaudio.models.decoder import cuda_ctc_decoder

    # It leaves out frames that are blank with 0.95, unless told not to; ours reads them all.
    decoder = cuda_ctc_decoder([str(token) for token in range(vocabulary)], nbest=1, beam_size=16, blank_skip_threshold=1.0)
    return lambda one: decoder(*one)
