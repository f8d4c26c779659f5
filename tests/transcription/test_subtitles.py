"""Cues: what fits on the screen, when it is there, and where it is cut."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from asr.transcription.result import Word
from asr.transcription.subtitles import LINE, LONGEST_S, clock, cues, stretches


def spoken(*parts: tuple[str, float, float]) -> list[Word]:
    return [Word(text, start, end, 0.9) for text, start, end in parts]


@st.composite
def transcripts(draw: st.DrawFn) -> tuple[list[Word], float]:
    """Words in order, some without length, some very long, with pauses of all kinds; and the duration of the audio."""
    words, at = [], draw(st.floats(0, 5))
    for _ in range(draw(st.integers(0, 60))):
        at += draw(st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.6, 1.0, 4.0]))
        end = at + draw(st.sampled_from([0.0, 0.0004, 0.1, 0.4, 0.9, 3.0, 9.0]))
        words.append(Word("x" * draw(st.sampled_from([1, 2, 5, 11, 21, 42, 43, 60])), at, end, 0.5))
        at = end
    return words, at + draw(st.sampled_from([0.0, 0.3, 5.0]))


@given(transcripts())
def test_cues_hold_every_word_once_fit_the_screen_and_never_overlap(made):
    words, duration = made
    found = cues(words, duration)
    assert [text for cue in found for line in cue.lines for text in line.split()] == [word.text for word in words]
    before = 0.0
    for cue in found:
        assert 1 <= len(cue.lines) <= 2
        assert all(len(line) <= LINE or " " not in line for line in cue.lines)
        assert before <= cue.start < cue.end and cue.end - cue.start <= LONGEST_S + 1e-9
        before = cue.end


@given(transcripts())
def test_a_cue_begins_with_its_first_word_and_is_there_while_its_words_are_said(made):
    words = [word for word in made[0] if 0.05 <= word.end - word.start <= LONGEST_S]
    at = 0
    for cue in cues(words, made[1]):
        count = sum(len(line.split()) for line in cue.lines)
        group, at = words[at:at + count], at + count
        assert abs(cue.start - group[0].start) < 0.001 and cue.end > group[-1].end - 0.001
        following = words[at].start if at < len(words) else made[1]
        assert cue.end <= max(group[-1].end, min(cue.start + 1.0, following)) + 0.001


def test_a_cue_ends_at_the_longest_pause():
    words = spoken(*[(f"word{index:02d}", index * 0.5 + (0.4 if index >= 9 else 0), index * 0.5 + 0.45 + (0.4 if index >= 9 else 0))
                     for index in range(14)])
    first, second = cues(words, 10)
    assert first.lines[-1].endswith("word08") and second.lines[0].startswith("word09")
    assert cues(spoken(("a", 0, 0.5), ("b", 1.6, 2)), 3) == [(0, 1.0, ["a"]), (1.6, 2.6, ["b"])]  # a pause of a second always does


def test_two_lines_of_equal_length():
    (cue,) = cues(spoken(*[(word, index * 0.3, index * 0.3 + 0.3) for index, word in enumerate(
        ["a", "subtitle", "of", "two", "lines", "looks", "best", "when", "they", "are", "equally", "long"])]), 10)
    assert cue.lines == ["a subtitle of two lines looks", "best when they are equally long"]


def test_clock():
    assert clock(0, ",") == "00:00:00,000" and clock(3661.0625, ".") == "01:01:01.062"
    assert clock(359999.9996, ",") == "100:00:00,000"
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", clock(59.9996, "."))


def test_stretches():
    words = spoken(("a", 0, 1), ("b", 1.4, 2), ("c", 2.5, 3))
    assert [[word.text for word in part] for part in stretches(words, 0.5)] == [["a", "b"], ["c"]]
    assert stretches([], 0.5) == []
