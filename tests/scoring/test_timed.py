"""Hypotheses of words with times: which segment they belong to, as sclite decides it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sctk import needs_sctk, sclite

from asr.errors import DataError, UsageError
from asr.scoring import Scores, score


def timed(folder: Path, stm: str, ctm: str, **options) -> Scores:
    (folder / "r.stm").write_text(stm, "utf-8")
    (folder / "h.ctm").write_text(ctm, "utf-8")
    return score(folder / "r.stm", folder / "h.ctm", **options)


def words(scores: Scores) -> list[str]:
    return [" ".join(row.hypothesis) for row in scores.per_utterance]


def test_a_word_goes_where_its_middle_is(tmp_path: Path) -> None:
    scores = timed(tmp_path, ";; a comment\n\nrec A ann 1 2 a b\nrec A bob 2.5 3 <o,f0> c\nrec A ann 3 4 d\nrec B eve 0 1 e\n",
                   "rec A 0.2 0.2 early\nrec A 1.80 0.3 b\nrec A 1.95 0.2 gap\nrec A 2.9 0.4 d\nrec A 9 1 late\nrec B 0 0 @\n")
    # before the first segment: the first; 1.80 + 0.15 < 2: the first; 2.05: between two, the later; after the last: the last
    assert words(scores) == ["early b", "gap", "d late", ""]
    assert [row.id for row in scores.per_utterance] == \
        ["rec-A-0001000-0002000", "rec-A-0002500-0003000", "rec-A-0003000-0004000", "rec-B-0000000-0001000"]
    assert [row.speaker for row in scores.per_utterance] == ["ann", "bob", "ann", "eve"]
    assert scores.per_utterance[1].columns == {"recording": "rec", "duration": "0.500", "label": "o,f0"}
    assert scores.rules.name == "sclite" and scores.unit == "speaker"


def test_segments_to_ignore_take_their_words_with_them(tmp_path: Path) -> None:
    scores = timed(tmp_path, "rec A a 0 1 x\nrec A a 1 2 ignore_time_segment_in_scoring\nrec A a 2 3 y\n",
                   "rec A 0.1 0.1 x\nrec A 1.1 0.1 noise\nrec A 2.1 0.1 y\n")
    assert words(scores) == ["x", "y"] and scores.errors == 0


def test_overlapping_speakers_are_segments_of_their_own(tmp_path: Path) -> None:
    stm = "rec A ann 0 1 x\nrec A bob 0 1 y\nrec A bob 0 1 z\n"
    scores = timed(tmp_path, stm, "rec A 0.1 0.1 x\n")
    assert [row.id.rpartition("0001000")[2] for row in scores.per_utterance] == ["", "-bob", "-bob-2"]
    assert words(scores) == ["x", "", ""]


def test_words_of_a_channel_may_come_in_any_order(tmp_path: Path) -> None:
    stm = "rec A a 0 1 x y\n"
    assert timed(tmp_path, stm, "rec A 0.5 0.1 y\nrec A 0.1 0.1 x\n").errors == 0


def test_recordings_must_match(tmp_path: Path) -> None:
    stm = "one A a 0 1 x\ntwo A a 0 1 y\n"
    with pytest.raises(DataError, match=r"1 of 2 references have no hypothesis: two-A; .*`recording channel 0 0 @`"):
        timed(tmp_path, stm, "one A 0 1 x\n")
    partial = timed(tmp_path, stm, "one A 0 1 x\n", partial=True)
    assert partial.missing == ["two-A"] and "[PARTIAL]" in partial.kaldi_line()
    with pytest.raises(DataError, match="1 of 3 hypotheses have no reference: one-B"):
        timed(tmp_path, stm, "one A 0 1 x\none B 0 1 x\ntwo A 0 1 y\n")


def test_words_with_times_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "r.ctm").write_text("rec A * * <ALT_BEGIN>\nrec A 1 0.2 um\nrec A * * <ALT>\nrec A 1 0.2 i\nrec A 1.2 0.2 mean\n"
                                    "rec A * * <ALT>\nrec A * * <ALT_END>\nrec A 2 0.2 yes\nrec A 0.1 0.1 so\n")
    (tmp_path / "h.ctm").write_text("rec A 0 1 so\nrec A 1 1 i\nrec A 1.5 1 mean\nrec A 2 1 yes 0.5\n")
    scores = score(tmp_path / "r.ctm", tmp_path / "h.ctm")
    assert scores.kaldi_line() == "%WER 0.00 [ 0 / 4, 0 ins, 0 del, 0 sub ]"
    assert scores.per_utterance[0].reference == ["so", "i", "mean", "yes"]


def test_times_need_times(tmp_path: Path) -> None:
    (tmp_path / "h.txt").write_text("u a\n")
    (tmp_path / "r.stm").write_text("rec A a 0 1 x\n")
    with pytest.raises(UsageError, match=r"h.txt \(text\) cannot be scored against .*r.stm \(stm\)"):
        score(tmp_path / "r.stm", tmp_path / "h.txt")
    with pytest.raises(UsageError, match="cannot be scored against"):
        score({"u": "a"}, tmp_path / "h.txt", hyp_format="ctm")


@needs_sctk
@pytest.mark.parametrize("seed", range(40))
def test_segments_and_counts_are_sclites(tmp_path: Path, seed: int) -> None:
    """Random recordings, with times in hundredths so that middles fall on the ends of segments."""
    rnd = random.Random(seed)
    stm, ctm = ["rec A s 0.00 0.10 a"], [("rec", "A", 0.0, 0.05, "a")]
    for recording in range(rnd.randint(1, 3)):
        for channel in "AB"[:rnd.randint(1, 2)]:
            time = rnd.random()
            spoken = [(0.0, 0.0, "@")]
            for number in range(rnd.randint(1, 7)):
                time += rnd.choice([0, 0, 0.5, 1.5])
                end = time + rnd.uniform(0.2, 3)
                said = " ".join(rnd.choice(["a", "b", "c", "(a)", "{ a / b c }", "@", "Ab", "x;y", "q*"])
                                for _ in range(rnd.randint(0, 6)))
                if number and rnd.random() < 0.1:
                    said = "IGNORE_TIME_SEGMENT_IN_SCORING"
                label = rnd.choice(["", "<o,f0> "])
                stm.append(f"rec{recording} {channel} s{rnd.randint(0, 3)} {time:.2f} {end:.2f} {label}{said}")
                spoken += [(max(0.0, round(rnd.uniform(time - 0.3, end + 0.3), 2)), round(rnd.uniform(0.05, 0.4), 2),
                            rnd.choice(["a", "b", "c", "(a)", "ab", "x;z", "q", "@"])) for _ in range(rnd.randint(0, 6))]
                time = end
            ctm += [(f"rec{recording}", channel, *word) for word in spoken]
    (tmp_path / "r.stm").write_text("\n".join(stm) + "\n")
    (tmp_path / "h.ctm").write_text("".join(f"{recording} {channel} {start:.2f} {duration:.2f} {word}\n"
                                            for recording, channel, start, duration, word in sorted(ctm, key=lambda row: row[:3])))
    ours: dict[tuple[str, ...], list[str]] = {}
    for row in score(tmp_path / "r.stm", tmp_path / "h.ctm").per_utterance:
        recording, channel, begin, end = row.id.split("-")[:4]
        key = recording, channel.lower(), f"{int(begin) / 1000:.3f}", f"{int(end) / 1000:.3f}"
        ours.setdefault(key, []).append(row.operations.replace("d", "C").replace("i", "C"))
    theirs = {(recording, channel.lower(), *times): steps
              for (recording, channel, *times), steps in sclite(tmp_path, "r.stm", "h.ctm", "-D").items()}
    assert {key: sorted(steps) for key, steps in ours.items()} == {key: sorted(steps) for key, steps in theirs.items()}
