"""Parts and unions of data directories: subset, split, combine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from asr.corpus.datadir import DataDir
from asr.errors import DataError

logger = logging.getLogger("asr")


def first(data: DataDir, count: int) -> DataDir:
    """The first utterances in the order of ids."""
    return data.select([u.id for u in _enough(data, count).utterances[:count]])


def last(data: DataDir, count: int) -> DataDir:
    """The last utterances in the order of ids."""
    return data.select([u.id for u in _enough(data, count).utterances[len(data) - count:]])


def random(data: DataDir, count: int, seed: int = 0) -> DataDir:
    """Utterances drawn without replacement; a function of the seed and the sorted ids."""
    drawn = np.random.default_rng(seed).permutation(len(_enough(data, count)))[:count]
    return data.select([data.utterances[i].id for i in drawn])


def shortest(data: DataDir, count: int) -> DataDir:
    """The shortest utterances (of equal ones the first by id)."""
    ordered = sorted(_enough(data, count).utterances, key=lambda u: (data.duration(u), u.id))
    return data.select([u.id for u in ordered[:count]])


def by_speakers(data: DataDir, speakers: Iterable[str]) -> DataDir:
    """All utterances of the speakers named. Raises DataError for one who is not there."""
    known = data.speakers
    wanted = list(dict.fromkeys(speakers))
    unknown = [speaker for speaker in wanted if speaker not in known]
    if unknown:
        raise DataError(f"{data.path or 'data'}: no such speaker: {', '.join(unknown[:10])}"
                        + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""))
    return data.select([id for speaker in wanted for id in known[speaker]])


def split(data: DataDir, shares: Sequence[float], by: str = "speaker", seed: int = 0) -> list[DataDir]:
    """Cut into parts whose sizes are as ``shares`` (of any sum), drawn by the seed; every utterance is in one part.

    ``by`` "speaker" keeps all utterances of a speaker in one part: speakers, most talkative first, each go to the part
    that lacks most of its share of utterances. ``by`` "utterance" cuts a random order at the shares.
    Raises DataError for shares that are not positive, or more parts than there are speakers (utterances) to give.
    """
    if by not in ("speaker", "utterance"):
        raise DataError(f"split by {by}: choose speaker or utterance")
    if not shares or any(not share > 0 or not np.isfinite(share) for share in shares):
        raise DataError(f"the shares of a split must be above 0, not {list(shares)}")
    units = len(data.speakers) if by == "speaker" else len(data)
    if units < len(shares):
        raise DataError(f"{data.path or 'data'}: {units} {by}(s) cannot fill {len(shares)} parts")
    fractions = np.asarray(shares, np.float64) / sum(shares)
    parts = (_split_speakers if by == "speaker" else _split_utterances)(data, fractions, np.random.default_rng(seed))
    return [data.select(part) for part in parts]


def _split_speakers(data: DataDir, fractions: np.ndarray, generator: np.random.Generator) -> list[list[str]]:
    speakers = list(data.speakers.items())
    speakers = [speakers[i] for i in generator.permutation(len(speakers))]  # those with as many utterances: by chance
    speakers.sort(key=lambda item: -len(item[1]))
    parts: list[list[str]] = [[] for _ in fractions]
    for rank, (_, ids) in enumerate(speakers):
        lack = fractions * len(data) - [len(part) for part in parts]
        empty = [i for i, part in enumerate(parts) if not part]
        # No part stays empty: once only enough speakers are left for the empty parts, they go there.
        among = empty if len(empty) >= len(speakers) - rank else range(len(parts))
        parts[max(among, key=lambda i: (lack[i], -i))] += ids
    return parts


def _split_utterances(data: DataDir, fractions: np.ndarray, generator: np.random.Generator) -> list[list[str]]:
    order = [data.utterances[i].id for i in generator.permutation(len(data))]
    cuts = np.rint(np.cumsum(fractions)[:-1] * len(order)).astype(int)
    for i in range(len(cuts)):  # at least one utterance each
        cuts[i] = min(max(cuts[i], i + 1, cuts[i - 1] + 1 if i else 1), len(order) - (len(cuts) - i))
    return [list(part) for part in np.split(np.asarray(order, dtype=object), cuts)]


def combine(parts: Sequence[DataDir]) -> DataDir:
    """The union. A table that some part lacks is left out, with a warning, as Kaldi's combine_data.sh does; so is `cmvn.scp`
    where two parts have other statistics of a speaker.

    Raises DataError for utterances that come twice, recordings of one name with different audio, ids whose rows
    contradict each other, and transcripts that only some of the parts have.
    """
    if not parts:
        raise DataError("nothing to combine")
    named = [str(part.path or f"part {number}") for number, part in enumerate(parts, start=1)]
    owner: dict[str, str] = {}
    for name, part in zip(named, parts):
        twice = [u.id for u in part.utterances if u.id in owner]
        if twice:
            raise DataError(f"{len(twice)} utterance(s) are in {owner[twice[0]]} and in {name}: {', '.join(twice[:10])}")
        owner.update((u.id, name) for u in part.utterances)
    texts = {all(u.text is not None for u in part.utterances) for part in parts if part.utterances}
    if len(texts) > 1:
        raise DataError("some of the directories have transcripts and others have none; combine them apart")
    wav = _merge([part.wav for part in parts], "wav.scp")
    names = sorted({name for part in parts for name in part.tables})
    tables = {}
    for name in names:
        merged = _shared(name, parts, lambda part, name=name: part.tables.get(name))
        if merged is not None:
            tables[name] = merged
    return DataDir([u for part in parts for u in part.utterances], wav or {}, _shared("feats.scp", parts, lambda p: p.feats),
                   _shared_cmvn(parts), tables, allow_pipes=any(p.allow_pipes for p in parts))


def _shared(name: str, parts: Sequence[DataDir],
            table: Callable[[DataDir], dict[str, str] | None]) -> dict[str, str] | None:
    found = [table(part) for part in parts]
    present = [rows for rows in found if rows is not None]
    if not present:
        return None
    if len(present) < len(found):
        logger.warning("%s is left out: only %d of %d directories have it", name, len(present), len(found))
        return None
    return _merge(present, name)


def _shared_cmvn(parts: Sequence[DataDir]) -> dict[str, str] | None:
    try:
        return _shared("cmvn.scp", parts, lambda part: part.cmvn)
    except DataError:  # each is of some of the speaker's utterances, so none is the union's
        logger.warning("cmvn.scp is left out: a speaker has other statistics in each directory; asr features makes it anew")
        return None


def _merge(tables: Iterable[dict[str, str]], name: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    for rows in tables:
        for key, value in rows.items():
            if merged.setdefault(key, value) != value:
                raise DataError(f"{name}: {key} is `{merged[key]}` in one directory and `{value}` in another; rename one")
    return merged


def _enough(data: DataDir, count: int) -> DataDir:
    if not 0 < count <= len(data):
        raise DataError(f"{data.path or 'data'}: {count} utterances were asked for, it has {len(data)}")
    return data
