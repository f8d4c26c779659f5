"""Formats, byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.scoring import score
from asr.scoring.formats import read_ctm, read_stm
from asr.transcription.result import Alternative, Result, Word
from asr.transcription.sources import one_word
from asr.transcription.writers import (
    About,
    Place,
    as_ctm,
    as_json,
    as_srt,
    as_stm,
    as_tsv,
    as_txt,
    as_vtt,
    channel_label,
    ctm,
    kaldi_text,
    nbest_jsonl,
    parse_formats,
)


def made(text: str, *times: tuple[float, float], score: float = -1.5) -> Result:
    words = [Word(word, start, end, 0.98765) for word, (start, end) in zip(text.split(), times)]
    return Result(text, words, words, [Alternative(text, score, score, 0.0)], 2.0)


RESULTS = {"b": made("zwei drei", (0.5, 0.75), (1.0, 1.125)), "Z": made("eins", (0.1, 0.2)), "a": made(""),
           "ä": made("größe", (0.0, 0.3))}


def test_kaldi_text_is_sorted_in_c_order_and_keeps_empty_lines():
    assert kaldi_text(RESULTS) == "Z eins\na\nb zwei drei\nä größe\n"


def test_ctm_counts_from_the_start_of_the_recording_and_sorts_by_time():
    places = {"b": Place("call", "A", 10.0), "Z": Place("call", "A", 4.25), "a": Place("call", "A", 0.0),
              "ä": Place("ant", "1", 0.0)}
    assert ctm(RESULTS, places) == ("ant 1 0.000 0.300 größe 0.988\n"
                                    "call A 4.350 0.100 eins 0.988\n"
                                    "call A 10.500 0.250 zwei 0.988\n"
                                    "call A 11.000 0.125 drei 0.988\n")


def test_a_channel_without_a_word_is_a_line_that_scores_as_none(tmp_path):
    places = {"b": Place("call", "A", 10.0), "a": Place("call", "A", 0.0), "c": Place("call", "B", 1.5)}
    results = {key: RESULTS.get(key, made("")) for key in places}
    assert ctm(results, places).splitlines()[2:] == ["call B 1.500 0.000 @ 0.000"] and "@" not in ctm(results, places, tokens=True)
    (tmp_path / "h.ctm").write_text(ctm(results, places))
    assert read_ctm(tmp_path / "h.ctm")["call", "B"] == []
    (tmp_path / "r.stm").write_text("call A ann 10 12 <o> zwei drei\ncall B bob 0 2 <o> nein doch\n")
    for rules in ("sclite", "edit"):
        scores = score(tmp_path / "r.stm", tmp_path / "h.ctm", rules=rules)
        assert scores.kaldi_line() == "%WER 50.00 [ 2 / 4, 0 ins, 2 del, 0 sub ]"


def test_nbest_is_one_object_a_line():
    lines = nbest_jsonl(RESULTS, 1).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["Z", "a", "b", "ä"]
    assert json.loads(lines[2])["nbest"] == [{"text": "zwei drei", "score": -1.5, "acoustic_score": -1.5, "lm_score": 0.0}]
    assert json.loads(nbest_jsonl(RESULTS, 0).splitlines()[0])["nbest"] == []


ABOUT = About("rec/a b.wav", Place("a%20b.wav", "B", 10.0), "ann", 1, {"method": "greedy"})


def test_txt_and_json():
    assert as_txt(ABOUT, RESULTS["ä"]) == "größe\n"
    content = json.loads(as_json(ABOUT, RESULTS["b"]))
    assert content["file"] == "rec/a b.wav" and content["channel"] == 1 and content["settings"] == {"method": "greedy"}
    assert content["duration"] == 2.0 and content["text"] == "zwei drei"
    assert content["words"][1] == {"text": "drei", "start": 1.0, "end": 1.125, "confidence": 0.9877}
    assert content["nbest"] == [{"text": "zwei drei", "score": -1.5, "acoustic_score": -1.5, "lm_score": 0.0}]


def test_subtitles():
    result = made("a <b> & --> c", (0.1, 0.2), (0.2, 0.4), (0.4, 0.5), (0.5, 0.6), (1.75, 1.8))
    assert as_srt(ABOUT, result) == ("1\n00:00:00,100 --> 00:00:01,100\na <b> & -->\n\n"
                                     "2\n00:00:01,750 --> 00:00:02,000\nc\n\n")
    assert as_vtt(ABOUT, result) == ("WEBVTT\n\n00:00:00.100 --> 00:00:01.100\na &lt;b&gt; &amp; --&gt;\n\n"
                                     "00:00:01.750 --> 00:00:02.000\nc\n\n")
    assert as_srt(ABOUT, made("")) == "" and as_vtt(ABOUT, made("")) == "WEBVTT\n\n"


def test_tables():
    result = made("zwei drei", (0.5, 0.75), (1.5, 1.625))
    assert as_tsv(ABOUT._replace(file="a\tb\nc"), result) == (
        "file\tchannel\tstart\tend\tconfidence\tword\n"
        "a\\tb\\nc\tB\t0.500\t0.750\t0.9877\tzwei\na\\tb\\nc\tB\t1.500\t1.625\t0.9877\tdrei\n")
    assert as_ctm(ABOUT, result) == "a%20b.wav B 10.500 0.250 zwei 0.988\na%20b.wav B 11.500 0.125 drei 0.988\n"
    assert as_stm(ABOUT, result) == "a%20b.wav B ann 10.500 10.750 <o> zwei\na%20b.wav B ann 11.500 11.625 <o> drei\n"
    assert as_ctm(ABOUT, made("")) == "a%20b.wav B 10.000 0.000 @ 0.000\n"
    assert as_stm(ABOUT, made("")) == "a%20b.wav B ann 10.000 12.000 <o>\n"


def test_formats():
    assert parse_formats("json, txt,json") == ["json", "txt"]
    for wrong in ("docx,txt", "", ","):
        with pytest.raises(UsageError, match="choose from txt, json, srt, vtt, tsv, ctm, stm"):
            parse_formats(wrong)


def test_channels():
    assert [channel_label(channel) for channel in (None, 0, 1, 25, 26)] == ["1", "A", "B", "Z", "27"]


# Neither format can hold braces, which mean alternatives, or their marks, nor @, which is no word; blanks are what parts words.
WORDS = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Z"], blacklist_characters="{}"), min_size=1).filter(
    lambda word: word != "@" and not word.upper().startswith("<ALT"))


@st.composite
def results(draw: st.DrawFn) -> Result:
    words, at = [], draw(st.floats(0, 3))
    for text in draw(st.lists(WORDS, max_size=12)):
        at += draw(st.sampled_from([0.0, 0.1, 0.5, 2.0]))
        words.append(Word(text, at, at + draw(st.sampled_from([0.001, 0.1, 0.33])), draw(st.floats(0, 1))))
        at = words[-1].end
    return Result(" ".join(word.text for word in words), words, words, [], at + 1)


@given(results(), st.text(min_size=1).filter(lambda name: name.isprintable()))
def test_stm_and_ctm_are_read_as_they_were_meant(tmp_path, result, name):
    about = About(name, Place(one_word(name), "A", 2.5), one_word(name))
    (tmp_path / "a.stm").write_text(as_stm(about, result), encoding="utf-8", newline="")
    (tmp_path / "a.ctm").write_text(as_ctm(about, result), encoding="utf-8", newline="")
    segments = read_stm(tmp_path / "a.stm")
    assert " ".join(segment.text for segment in segments if segment.text) == result.text
    assert all(segment[:3] == (one_word(name), "A", one_word(name)) for segment in segments)
    read = read_ctm(tmp_path / "a.ctm").get((one_word(name), "A"), [])
    assert sorted(word.word for word in read) == sorted(word.text for word in result.words)
    if result.words:
        assert segments[0].start == pytest.approx(2.5 + result.words[0].start, abs=0.0006)
        assert segments[-1].end == pytest.approx(2.5 + result.words[-1].end, abs=0.0006)
