"""Everything that is settled before the first step: data, tokens, what cannot be trained on, and normalisation.

All faults are found here, before any work: a training run that starts has data it can read, transcripts its tokenizer
can write, and no utterance shorter than its labels need.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from asr.config import Config
from asr.corpus import DataDir, untrainable
from asr.errors import DataError
from asr.features import CmvnStats, FrontEnd, raw_features, speaker_stats
from asr.features.archive import foreign
from asr.models import Crnn, build_model
from asr.text import Tokenizer, build_tokenizer, check_round_trip, normalize

log = logging.getLogger("asr")

CMVN_HOURS = 5.0
"""Global statistics are taken over at most this much audio (a seeded draw): the mean of a million frames is settled."""
LOOKED_AT = 200
"""Without dev, so many of the training utterances are measured after every epoch, for the log."""


@dataclass(frozen=True)
class Part:
    """A data directory made ready: the utterances to use, their tokens, durations in seconds, and speaker statistics."""

    data: DataDir
    targets: dict[str, list[int]]
    texts: dict[str, str]
    durations: list[float]
    speaker_stats: dict[str, np.ndarray]

    @property
    def hours(self) -> float:
        return sum(self.durations) / 3600

    def __str__(self) -> str:
        return f"{len(self.durations)} utterances, {self.hours:.3f} h ({self.fingerprint[:12]})"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the utterances' ids, speakers, transcripts, spans and durations."""
        digest = hashlib.sha256()
        for utterance, duration in zip(self.data.utterances, self.durations):
            digest.update(f"{utterance.id}\t{utterance.speaker}\t{self.texts[utterance.id]}\t"
                          f"{utterance.start}\t{utterance.end}\t{duration}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """What the training loop starts from."""

    config: Config
    tokenizer: Tokenizer
    frontend: FrontEnd
    network: Crnn
    train: Part
    dev: Part
    has_dev: bool = True
    """False where ``dev`` is some of ``train``, to look at and to choose nothing by."""

    def __deepcopy__(self, memo: dict[int, object]) -> Prepared:
        """Itself: averaging copies the task, and must not copy the corpus with it."""
        return self


def prepare(config: Config, train_dir: str | Path, dev_dir: str | Path | None, allow_pipes: bool = False) -> Prepared:
    """Check and load both directories, make the tokens, build front-end and network, drop what cannot be trained on.

    Dropped utterances are named in the log with the reason. Raises DataError when a directory has faults, shares
    utterances with the other, or has nothing left to train on; AudioError when audio cannot be read. Shell commands in
    wav.scp are run with ``allow_pipes`` only.
    """
    torch.manual_seed(config.seed)
    train = _load(train_dir, config, allow_pipes)
    dev = train.select([]) if dev_dir is None else _load(dev_dir, config, allow_pipes)
    shared = {utterance.id for utterance in train.utterances} & {utterance.id for utterance in dev.utterances}
    if shared:
        raise DataError(f"{train_dir} and {dev_dir} share {len(shared)} utterances (first: {min(shared)}); "
                        "dev decides which checkpoint is kept, so train on none of it")
    train_texts, dev_texts = (_texts(data, config.tokenizer.normalizer) for data in (train, dev))
    tokenizer = build_tokenizer(train_texts.values(), config.tokenizer)
    check_round_trip(tokenizer, train_texts | dev_texts)
    frontend = FrontEnd(config.features)
    network = build_model(config.model, frontend.dim, tokenizer.vocab_size)
    for factor in config.augment.vtlp or ():  # a warp that leaves the mel band is found now
        second = config.features.sample_rate
        frontend.extract(torch.zeros(1, second), torch.tensor([second]), torch.tensor([factor]))
    fastest = max((1.0, *config.augment.speed)) * max((1.0, *(config.augment.tempo or ())))  # an utterance may meet both
    train_part = _part(train, train_texts, tokenizer, frontend, network, config, fastest, "training")
    if dev_dir is None:
        dev_part = _some(train_part, LOOKED_AT)
    else:
        dev_part = _part(dev, dev_texts, tokenizer, frontend, network, config, 1.0, "dev")
    if config.features.cmvn == "global":
        frontend.set_global(_global_stats(train_part, frontend, config))
    return Prepared(config, tokenizer, frontend, network, train_part, dev_part, dev_dir is not None)


def _load(path: str | Path, config: Config, allow_pipes: bool) -> DataDir:
    data = DataDir.load(path, allow_pipes)
    faults = data.check()
    if faults:
        shown = "\n  ".join(str(fault) for fault in faults[:10])
        raise DataError(f"{path}: {len(faults)} faults; see them all with `asr data check {path}`\n  {shown}")
    silent = [utterance.id for utterance in data.utterances if utterance.text is None]
    if silent:
        raise DataError(f"{path}/text: {len(silent)} utterances have no transcript (first: {silent[0]}); "
                        f"add them, or drop the utterances with `asr data fix {path}`")
    if config.training.archived:
        if data.feats is None:
            raise DataError(f"{path}: there is no feats.scp; write it with `asr features`")
        if faults := foreign(data.feats.values(), config.features):
            raise DataError("\n  ".join(faults))
    else:  # what there is to say of its rate and channels is said here, once, and not by every worker of every epoch
        data.audio(data.utterances[0], config.features.sample_rate)
    return data


def _texts(data: DataDir, normalizer: str) -> dict[str, str]:
    return {utterance.id: normalize(utterance.text or "", normalizer) for utterance in data.utterances}


def _part(data: DataDir, texts: dict[str, str], tokenizer: Tokenizer, frontend: FrontEnd, network: Crnn,
          config: Config, fastest: float, name: str) -> Part:
    targets = {key: tokenizer.encode(text) for key, text in texts.items()}
    durations = {utterance.id: data.duration(utterance) for utterance in data.utterances}
    samples = torch.tensor([int(durations[key] / fastest * config.features.sample_rate) for key in texts])
    made = dict(zip(texts, network.output_lengths(frontend.num_frames(samples)).tolist()))
    # For dev nothing is dropped: a transcript that cannot fit its audio counts as errors, as it would in a test.
    short = []
    if name == "training":  # no labels fit into no frame, but a step of nothing else would have nothing to learn
        short = untrainable(targets, made) + [(key, 0, 1) for key in sorted(made) if not made[key] and not targets[key]]
    for key, frames, needed in short:
        log.warning("%s: dropped from training: %d output frames, its %d labels need %d", key, frames, len(targets[key]), needed)
    if short:
        log.warning("%d of %d training utterances dropped as shorter than their labels need", len(short), len(texts))
    dropped = {key for key, _, _ in short}
    kept = [utterance.id for utterance in data.utterances if utterance.id not in dropped]
    if not kept:
        raise DataError(f"{data.path}: no utterance left for {name}; transcripts need more frames than their audio gives")
    data = data.select(kept)
    stats = speaker_stats(data, frontend, config.training.archived) if config.features.cmvn == "speaker" else {}
    return Part(data, targets, {key: texts[key] for key in kept}, [durations[key] for key in kept], stats)


def _some(part: Part, most: int) -> Part:
    """At most so many of its utterances, evenly over their order."""
    numbers = range(0, len(part.durations), -(-len(part.durations) // most))
    ids = [part.data.utterances[number].id for number in numbers]
    return Part(part.data.select(ids), {key: part.targets[key] for key in ids}, {key: part.texts[key] for key in ids},
                [part.durations[number] for number in numbers], part.speaker_stats)


def _global_stats(part: Part, frontend: FrontEnd, config: Config) -> CmvnStats:
    order = np.random.default_rng(config.seed).permutation(len(part.durations))
    stats, seconds = CmvnStats(frontend.dim), 0.0
    for index in order:
        utterance = part.data.utterances[index]
        stats.add(raw_features(part.data, utterance, frontend, config.training.archived))
        seconds += part.durations[index]
        if seconds >= CMVN_HOURS * 3600:
            log.info("global CMVN from %.1f of %.1f hours", seconds / 3600, part.hours)
            break
    return stats
