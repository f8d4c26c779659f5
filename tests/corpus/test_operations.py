"""Subset, split and combine: nobody is lost, nobody is on two sides, every table follows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.corpus import DataDir, Utterance, operations
from asr.errors import DataError


def made(speakers: list[int]) -> DataDir:
    """A directory in memory: speaker k has ``speakers[k]`` utterances; every kind of table is there."""
    utterances = [Utterance(f"s{k:03d}-{i:03d}", f"r{(k + i) % 3}", f"s{k:03d}", f"word{i}", i * 1.0, i + 0.5 + k / 100)
                  for k, count in enumerate(speakers) for i in range(count)]
    ids = [u.id for u in utterances]
    names = sorted({u.speaker for u in utterances})
    return DataDir(utterances, {f"r{i}": f"/r{i}.wav" for i in range(3)}, {id: f"/f.ark:{id}" for id in ids},
                   {name: f"/c.ark:{name}" for name in names},
                   {"utt2lang": dict.fromkeys(ids, "en"), "spk2gender": dict.fromkeys(names, "f"),
                    "reco2dur": {f"r{i}": "1000" for i in range(3)}})


def consistent(data: DataDir) -> None:
    """Every table has exactly the rows of the utterances that are there."""
    ids = {u.id for u in data.utterances}
    assert set(data.feats or {}) == ids == set(data.tables["utt2lang"])
    assert set(data.cmvn or {}) == set(data.speakers) == set(data.tables["spk2gender"])
    assert set(data.wav) == {u.recording for u in data.utterances} == set(data.tables["reco2dur"])


def ids(data: DataDir) -> list[str]:
    return [u.id for u in data.utterances]


def test_subsets() -> None:
    data = made([3, 2])
    assert ids(operations.first(data, 2)) == ["s000-000", "s000-001"]
    assert ids(operations.last(data, 2)) == ["s001-000", "s001-001"]
    assert ids(operations.shortest(data, 3)) == ["s000-000", "s000-001", "s000-002"]
    assert ids(operations.by_speakers(data, ["s001"])) == ["s001-000", "s001-001"]
    assert ids(data.select(["s001-001", "s000-000", "s001-001"])) == ["s000-000", "s001-001"]
    for part in (operations.first(data, 1), operations.last(data, 4), operations.random(data, 3),
                 operations.shortest(data, 2)):
        consistent(part)


def test_random_is_a_function_of_the_seed() -> None:
    data = made([30, 30])
    drawn = [ids(operations.random(data, 10, seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(draw)) == 10 for draw in drawn)


def test_what_is_not_there_is_named() -> None:
    data = made([3])
    for wrong in (operations.first, operations.last, operations.random, operations.shortest):
        with pytest.raises(DataError, match="4 utterances were asked for, it has 3"):
            wrong(data, 4)
    with pytest.raises(DataError, match="no such speaker: zoe"):
        operations.by_speakers(data, ["s000", "zoe"])
    with pytest.raises(DataError, match="no such utterance: x, y"):
        data.select(["x", "s000-000", "y"])


@given(speakers=st.lists(st.integers(1, 12), min_size=1, max_size=12), shares=st.lists(st.floats(0.05, 5), min_size=1,
                                                                                    max_size=5),
       by=st.sampled_from(["speaker", "utterance"]), seed=st.integers(0, 99))
def test_a_split_loses_nobody(speakers: list[int], shares: list[float], by: str, seed: int) -> None:
    data = made(speakers)
    if len(shares) > (len(speakers) if by == "speaker" else len(data)):
        with pytest.raises(DataError, match="cannot fill"):
            operations.split(data, shares, by, seed)
        return
    parts = operations.split(data, shares, by, seed)
    assert sorted(id for part in parts for id in ids(part)) == ids(data)
    assert len(parts) == len(shares)
    assert all(len(part) for part in parts)
    for part in parts:
        consistent(part)
    if by == "speaker":
        sides = [set(part.speakers) for part in parts]
        assert sum(len(side) for side in sides) == len(set().union(*sides))
    assert [ids(part) for part in operations.split(data, shares, by, seed)] == [ids(part) for part in parts]


def test_a_split_is_as_large_as_asked() -> None:
    data = made([10] * 50)
    assert [len(part) for part in operations.split(data, [0.8, 0.1, 0.1])] == [400, 50, 50]
    assert [len(part) for part in operations.split(data, [0.8, 0.1, 0.1], "utterance", 3)] == [400, 50, 50]
    assert [len(part) for part in operations.split(data, [1, 1, 1], "utterance")] == [167, 166, 167]
    assert ids(operations.split(data, [1, 1], seed=1)[0]) != ids(operations.split(data, [1, 1], seed=2)[0])


@pytest.mark.parametrize("shares", [[], [0.0, 1.0], [-1.0], [float("nan")]])
def test_shares_that_are_none(shares: list[float]) -> None:
    with pytest.raises(DataError, match="shares"):
        operations.split(made([3]), shares)


@given(speakers=st.lists(st.integers(1, 6), min_size=2, max_size=6), by=st.sampled_from(["speaker", "utterance"]))
def test_combining_the_parts_of_a_split_gives_the_whole(speakers: list[int], by: str) -> None:
    data = made(speakers)
    whole = operations.combine(operations.split(data, [1, 2], by))
    consistent(whole)
    assert whole.utterances == data.utterances
    assert (whole.feats, whole.cmvn, whole.tables["spk2gender"]) == (data.feats, data.cmvn, data.tables["spk2gender"])


def test_combine_refuses_contradictions() -> None:
    data = made([2, 2])
    first, second = operations.split(data, [1, 1])
    with pytest.raises(DataError, match=r"2 utterance\(s\) are in part 1 and in part 2: s00"):
        operations.combine([first, first])
    with pytest.raises(DataError, match=r"wav.scp: r\d is `/r\d.wav` in one directory and `/other.wav` in another"):
        operations.combine([first, replace(second, wav=dict.fromkeys(second.wav, "/other.wav"))])
    with pytest.raises(DataError, match="others have none"):
        operations.combine([first, replace(second, utterances=[replace(u, text=None) for u in second.utterances])])
    with pytest.raises(DataError, match="nothing to combine"):
        operations.combine([])


def test_combine_names_the_tables_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    first, second = operations.split(made([2, 2]), [1, 1])
    second.feats = None
    with caplog.at_level(logging.WARNING, "asr"):
        whole = operations.combine([first, second])
    assert whole.feats is None
    assert whole.cmvn is not None
    assert caplog.messages == ["feats.scp is left out: only 1 of 2 directories have it"]


def test_combine_leaves_out_statistics_that_differ(caplog: pytest.LogCaptureFixture) -> None:
    first, second = operations.split(made([4]), [1, 1], by="utterance")
    second.cmvn = {"s000": "/other.ark:5"}
    with caplog.at_level(logging.WARNING, "asr"):
        whole = operations.combine([first, second])
    assert (len(whole), whole.cmvn) == (4, None)
    assert whole.feats is not None
    assert caplog.messages == ["cmvn.scp is left out: a speaker has other statistics in each directory; asr features makes it anew"]


def test_parts_on_disk_are_clean(segmented: DataDir, tmp_path: Path) -> None:
    parts = operations.split(segmented, [1, 1])
    for number, part in enumerate(parts):
        part.save(tmp_path / str(number))
        assert part.check() == []
    whole = operations.combine([DataDir.load(tmp_path / "0"), DataDir.load(tmp_path / "1")])
    whole.save(tmp_path / "whole")
    assert whole.check() == []
    for name in ("segments", "text", "utt2spk", "spk2utt", "wav.scp"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "segmented" / name).read_bytes()
