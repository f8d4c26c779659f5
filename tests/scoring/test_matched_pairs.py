"""MAPSSWE: by hand, and against sc_stats where it is installed."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from made_utterance import utterance
from sctk import needs_sctk, sc_stats

from asr.errors import UsageError
from asr.scoring import mapsswe, score
from asr.scoring.matched_pairs import _places, segments


@pytest.mark.parametrize(("first", "second", "differences"), [
    ("CCCC", "CCCC", []),
    ("CSCC", "CCCC", [1]),
    ("CSCSCC", "CCCCCC", [2]),            # one correct word does not end a segment
    ("CSCCSC", "CCCCCC", [1, 1]),         # two do
    ("SCCCCS", "CSCCCC", [0, 1]),
    ("CCICCC", "CCCCC", [1]),             # an insertion begins one
    ("CCC", "CCCI", [-1]),                # also after the last word, whoever makes it
    ("CCCI", "CCC", [1]),
    ("SCI" "CCC", "CCCCC", [2]),          # an insertion breaks the row of correct words
    ("", "II", [-2]),
    ("DDD", "SSS", [0]),
])
def test_segments_by_hand(first: str, second: str, differences: list[int]) -> None:
    assert list(segments(_places(utterance(first)), _places(utterance(second)))) == differences


def test_statistic_by_hand() -> None:
    first = [utterance("CCSCC"), utterance("CCSCC"), utterance("CCCCC")]
    second = [utterance("CCCCC"), utterance("CCCCC"), utterance("CCDCC")]
    result = mapsswe(first, second)  # differences 1, 1, -1: mean 1/3, deviation sqrt(4/3)
    assert (result.segments, result.mean, result.deviation) == (3, pytest.approx(1 / 3), pytest.approx(math.sqrt(4 / 3)))
    assert result.z == pytest.approx(0.5) and result.p == pytest.approx(0.6171, abs=1e-4)
    back = mapsswe(second, first)
    assert (back.z, back.p, back.segments) == (-result.z, result.p, 3)


def test_without_spread() -> None:
    assert mapsswe([utterance("CC")], [utterance("CC")]).p == 1.0
    one = mapsswe([utterance("SC")], [utterance("CC")])
    assert (one.segments, one.p) == (1, 1.0)
    many = mapsswe([utterance("SC")] * 8, [utterance("CC")] * 8)
    assert (many.z, many.p) == (math.inf, 2 / 2**8)


def test_alternatives_are_one_place() -> None:
    refs = {"u": "{ um / i mean / @ } a b c d"}
    first, second = (score(refs, {"u": hyp}, rules="sclite").per_utterance for hyp in ("i mean a x c d", "a b c d"))
    assert mapsswe(first, second).segments == 1
    assert list(segments(_places(first[0]), _places(second[0]))) == [1]


def test_other_utterances_are_refused() -> None:
    with pytest.raises(UsageError, match="u beside v"):
        mapsswe([utterance("C", "u")], [utterance("C", "v")])


@needs_sctk
@pytest.mark.parametrize("seed", range(24))
def test_equal_to_sc_stats(tmp_path: Path, seed: int) -> None:
    rnd = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(rnd.choice([3, 50]))]
    texts: dict[str, list[str]] = {"r": [], "a": [], "b": []}
    for number in range(rnd.randint(5, 60)):
        words = [rnd.choice(vocabulary) for _ in range(rnd.randint(0, 15))]
        name = f"(s{number % 5}-{number:03d})"
        said = [f"{{ {word} / {rnd.choice(vocabulary)} }}" if seed % 2 and rnd.random() < 0.2 else word for word in words]
        texts["r"].append(f"{' '.join(said)} {name}\n")
        for system, rate in (("a", 0.3), ("b", 0.25)):
            heard = []
            for word in words:
                draw = rnd.random()
                heard += [] if draw < 0.3 * rate else [rnd.choice(vocabulary) if draw < 0.8 * rate else word]
                heard += [rnd.choice(vocabulary)] if draw > 1 - 0.3 * rate else []
            texts[system].append(f"{' '.join(heard)} {name}\n")
    for system, lines in texts.items():
        (tmp_path / f"{system}.trn").write_text("".join(lines))
    first, second = (score(tmp_path / "r.trn", tmp_path / f"{system}.trn").per_utterance for system in "ab")
    ours = mapsswe(first, second)
    found, mean, deviation, z = sc_stats(tmp_path, "r.trn", "a.trn", "b.trn")
    assert ours.segments == found
    assert (ours.mean, ours.deviation) == (pytest.approx(mean, abs=6e-4), pytest.approx(deviation, abs=6e-4))
    assert ours.z == pytest.approx(z, abs=6e-4) or (deviation == 0 == z)  # without spread, sc_stats says 0
