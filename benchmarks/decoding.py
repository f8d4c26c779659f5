"""Beam search: exactness first, then speed, ours beside its peer in one run.

    OMP_NUM_THREADS=2 python benchmarks/decoding.py

exact      On small random cases the best prefix and its probability against the sum over every path of frames (float64).
flashlight The search by acoustics alone against `torchaudio.models.decoder.ctc_decoder` (flashlight-text, `pip install
           flashlight-text`): beam 50 and 10, all tokens, no lexicon, log-add, the same thresholds; emissions as a trained network
           makes them. Compared are exact CTC probabilities of both best transcripts; ours is never to be lower. Theirs runs on one
           thread, ours shares utterances out among all: both the whole and the time of one core are printed.
lm         The same search with a 3-gram of 100,000 n-grams over words against the search without, and with 1,000 hotwords.

Times are the median of the rounds, with the fastest and slowest, after an uncounted one. Exit status 1 where a comparison fails.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from asr.ctc import BeamSearch, beam_search
from asr.system import choose_threads
from asr.text import CharTokenizer, NgramLM, build_ngram

UTTERANCES, FRAMES = 16, 300
LETTERS = "abcdefghijklmnopqrstuvwxyz' .,?"  # with the blank, 32 tokens
THRESHOLD = 50.0  # flashlight's own default


def exact(cases: int = 200) -> bool:
    """Whether a search with room for every prefix finds the best one and its probability."""
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(cases):
        frames, tokens = int(rng.integers(1, 6)), int(rng.integers(2, 4))
        rows = torch.log_softmax(torch.from_numpy(rng.normal(0, 2, (1, frames, tokens))), -1)
        mass: dict[tuple[int, ...], float] = {}
        for path in itertools.product(range(tokens), repeat=frames):
            prefix = tuple(token for token, _ in itertools.groupby(path) if token)
            mass[prefix] = mass.get(prefix, 0.0) + math.exp(sum(float(rows[0, t, token]) for t, token in enumerate(path)))
        best = beam_search(rows, [frames], beam=1000)[0][0]
        worst = max(worst, abs(math.exp(best.score) - max(mass.values())))
        if tuple(best.tokens) != max(mass, key=mass.__getitem__):
            print(f"exact: found {best.tokens}, best is {max(mass, key=mass.__getitem__)}", file=sys.stderr)
            return False
    print(f"exact: {cases} cases, the best prefix in each; largest difference of its probability {worst:.1e}")
    return worst < 1e-9


def emissions(texts: list[str], tokenizer: CharTokenizer, seed: int) -> torch.Tensor:
    """Log-probabilities (B, FRAMES, V) float32 of what a trained network makes of texts: a peak a token, blanks between, and
    some doubt about each."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(texts), FRAMES, tokenizer.vocab_size))
    for row, text in zip(logits, texts):
        tokens = tokenizer.encode(text)[:FRAMES // 3]
        places = np.sort(rng.choice(FRAMES // 2, len(tokens), replace=False)) * 2
        row[:, 0] += 9
        row[places, 0] -= 9
        row[places, tokens] += rng.uniform(4, 10, len(tokens))
    return torch.log_softmax(torch.from_numpy(logits).float(), -1)


def sentences(count: int, vocabulary: list[str], words: int, seed: int) -> list[str]:
    """Sentences whose words follow each other as in a language: each word has a few likely successors, with every seed the same."""
    rng = np.random.default_rng(seed)
    successors = np.random.default_rng(0).integers(0, len(vocabulary), (len(vocabulary), 20))
    found = []
    for _ in range(count):
        word, text = int(rng.integers(len(vocabulary))), []
        for _ in range(words):
            text.append(vocabulary[word])
            word = int(successors[word, min(19, int(rng.exponential(4)))])
        found.append(" ".join(text))
    return found


def timed(rounds: int, **sides: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of every round of each side, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for round_number in range(rounds + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if round_number:
                taken[name].append(time.perf_counter() - start)
    return taken


def told(seconds: list[float]) -> str:
    """Microseconds a frame: median (fastest to slowest)."""
    scaled = [1e6 * each / (UTTERANCES * FRAMES) for each in seconds]
    return f"{statistics.median(scaled):.2f} us a frame ({min(scaled):.2f}-{max(scaled):.2f})"


def against_flashlight(rounds: int, tokenizer: CharTokenizer, texts: list[str]) -> bool:
    """Whether our best is never less probable than theirs."""
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:
        print(f"flashlight: left out, it is not installed ({error})")
        return True
    log_probs, lengths = emissions(texts, tokenizer, 2), torch.full((len(texts),), FRAMES)
    names = ["-", *("|" if name == "<space>" else name for name in tokenizer.tokens[1:])]
    good = True
    for beam in (50, 10):
        theirs = ctc_decoder(lexicon=None, tokens=names, lm=None, nbest=1, beam_size=beam, beam_threshold=THRESHOLD, log_add=True,
                             blank_token="-", sil_token="|")
        ours = BeamSearch(beam=beam, beam_threshold=THRESHOLD)

        def flashlight(decoder: object = theirs) -> list[list[int]]:
            found = decoder(log_probs, lengths)
            return [[int(token) for token in hypotheses[0].tokens] for hypotheses in found]

        def search(decoder: BeamSearch = ours) -> list[list[int]]:
            return [hypotheses[0].tokens for hypotheses in decoder(log_probs, lengths)]

        def search_one(decoder: BeamSearch = ours) -> list[list[int]]:
            return [decoder(log_probs[row:row + 1], lengths[row:row + 1])[0][0].tokens for row in range(len(texts))]

        pairs = [(probability(log_probs[row], mine), probability(log_probs[row], _spoken(other, names.index("|"))))
                 for row, (mine, other) in enumerate(zip(search(), flashlight()))]
        lowest = min(mine - other for mine, other in pairs)
        good &= lowest > -1e-4
        taken = timed(rounds, ours=search, one=search_one, theirs=flashlight)
        ratio = statistics.median(taken["theirs"]) / statistics.median(taken["ours"])
        core = statistics.median(taken["theirs"]) / statistics.median(taken["one"])
        print(f"flashlight, beam {beam}, {torch.get_num_threads()} thread(s): ours {told(taken['ours'])}, on one "
              f"{told(taken['one'])}, flashlight {told(taken['theirs'])}, ratio {ratio:.1f}, on one core {core:.1f}; "
              f"ln p of our best less theirs: lowest {lowest:.4f}, higher in "
              f"{sum(mine > other + 1e-4 for mine, other in pairs)} of {len(pairs)}")
    return good


def _spoken(tokens: list[int], silence: int) -> list[int]:
    """flashlight's tokens without the silence that it puts before and after them."""
    return tokens[tokens[:1] == [silence]:len(tokens) - (tokens[-1:] == [silence])]


def probability(log_probs: torch.Tensor, tokens: list[int]) -> float:
    """Log-probability of tokens, summed over all paths."""
    loss = torch.nn.functional.ctc_loss(log_probs[:, None].double(), torch.tensor([tokens]), [len(log_probs)], [len(tokens)],
                                        reduction="sum")
    return -float(loss)


def with_knowledge(rounds: int, tokenizer: CharTokenizer, lm: NgramLM, texts: list[str], vocabulary: list[str]) -> bool:
    """Costs of a language model and of hotwords; whether weight 0 leaves the transcripts as they were."""
    log_probs, lengths = emissions(texts, tokenizer, 3), torch.full((len(texts),), FRAMES)
    phrases = [f"{first} {second}" for first, second in zip(vocabulary[:1000], vocabulary[1000:2000])]
    common = {"beam": 50, "beam_threshold": THRESHOLD, "tokenizer": tokenizer}
    plain, fused = BeamSearch(**common), BeamSearch(lm=lm, lm_weight=0.7, **common)
    heard = BeamSearch(lm=lm, lm_weight=0.7, hotwords=phrases, **common)
    alone = [hypotheses[0].tokens for hypotheses in plain(log_probs, lengths)]
    without = [hypotheses[0].tokens for hypotheses in fused.reweighted(0.0, 0.0, 0.0)(log_probs, lengths)]
    taken = timed(rounds, plain=lambda: plain(log_probs, lengths), fused=lambda: fused(log_probs, lengths),
                  heard=lambda: heard(log_probs, lengths))
    cost = statistics.median(taken["fused"]) / statistics.median(taken["plain"])
    more = statistics.median(taken["heard"]) / statistics.median(taken["fused"])
    grams = sum(len(table.word) for table in lm.tables)
    print(f"lm, {grams} n-grams, perplexity {lm.perplexity(texts).perplexity:.0f} on the texts, beam 50: "
          f"without {told(taken['plain'])}, with {told(taken['fused'])}, ratio {cost:.2f}; "
          f"with 1,000 hotwords too {told(taken['heard'])}, ratio {more:.2f}; "
          f"weight 0 {'equals' if alone == without else 'IS NOT'} the search without")
    return alone == without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: as `asr decode` chooses")
    arguments = parser.parse_args()
    torch.set_num_threads(choose_threads(arguments.threads))
    tokenizer = CharTokenizer(LETTERS)
    rng = np.random.default_rng(4)
    vocabulary = sorted({"".join(rng.choice(list("etaoinshrdlucmfwypvbgk"), int(rng.integers(2, 9)))) for _ in range(3000)})
    lm = build_ngram(sentences(9000, vocabulary, 9, 5), order=3)
    texts = sentences(UTTERANCES, vocabulary, 16, 6)
    good = exact()
    good &= against_flashlight(arguments.rounds, tokenizer, texts)
    good &= with_knowledge(arguments.rounds, tokenizer, lm, texts, vocabulary)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
