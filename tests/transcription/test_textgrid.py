"""TextGrid files, read back by a reader of the format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcription.praat import read_textgrid

from asr.corpus import Utterance
from asr.transcription.result import Result, Word
from asr.transcription.textgrid import Tier, recording_tiers, textgrid


def result(duration: float, *words: tuple[str, float, float]) -> Result:
    items = [Word(text, start, end, 1.0) for text, start, end in words]
    return Result(" ".join(text for text, *_ in words), items, items, [], duration)


def test_the_file_as_praat_writes_it():
    assert textgrid([Tier("words", [(0.25, 0.5, 'say "hi"')])], 0.75) == '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.75
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.75
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "say ""hi"""
        intervals [3]:
            xmin = 0.5
            xmax = 0.75
            text = ""
'''


@given(st.lists(st.tuples(st.floats(0, 3600), st.floats(0, 2), st.text(st.characters(blacklist_categories=("Cs", "Cc")))),
                max_size=8), st.floats(0.01, 9))
def test_any_labels_come_back(items, rest):
    at, intervals = 0.0, []
    for gap, length, label in items:
        intervals.append((at + gap, at + gap + length, label))
        at += gap + length
    grid = read_textgrid(textgrid([Tier("a", intervals), Tier("b", [])], at + rest))
    assert grid.xmax == pytest.approx(at + rest, abs=1e-6) and [label for *_, label in grid.tiers["b"]] == [""]
    lasting = [(start, end, label) for start, end, label in intervals if round(end, 4) > round(start, 4) and label]
    found = [interval for interval in grid.tiers["a"] if interval[2]]
    assert [label for *_, label in found] == [label for *_, label in lasting]
    for (start, end, _), (true_start, true_end, _) in zip(found, lasting):
        assert start == pytest.approx(true_start, abs=2e-4) and end == pytest.approx(true_end, abs=2e-4)


def test_tiers_of_a_recording():
    utterances = [Utterance("a", "call", "ann", start=1.0), Utterance("b", "call", "bob", start=2.0),
                  Utterance("c", "call", "ann", start=4.0)]
    results = {"a": result(1.5, ("x", 0.5, 1.0)), "b": result(1.0, ("y", 0.0, 0.5)), "c": result(1.0, ("z", 0.25, 0.5))}
    tiers = {tier.name: tier.intervals for tier in recording_tiers(utterances, results)}
    assert list(tiers) == ["ann words", "ann tokens", "bob words", "bob tokens"]
    assert tiers["ann words"] == [(1.5, 2.0, "x"), (4.25, 4.5, "z")] and tiers["bob tokens"] == [(2.0, 2.5, "y")]
    alone = recording_tiers(utterances[:1], results)
    assert [tier.name for tier in alone] == ["words", "tokens"]


def test_utterances_that_overlap_have_tiers_of_their_own():
    utterances = [Utterance(key, "call", "ann", start=start) for key, start in (("a", 0.0), ("b", 1.0), ("c", 2.0))]
    results = {key: result(1.5, (key, 0.0, 1.5)) for key in "abc"}
    tiers = {tier.name: tier.intervals for tier in recording_tiers(utterances, results)}
    assert tiers["words"] == [(0.0, 1.5, "a"), (2.0, 3.5, "c")] and tiers["words 2"] == [(1.0, 2.5, "b")]
    read_textgrid(textgrid(recording_tiers(utterances, results), 3.5))
