"""Formats, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

from asr.transcription.result import Alternative, Result, Word
from asr.transcription.writers import Place, as_json, as_txt, ctm, kaldi_text, nbest_jsonl


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


def test_nbest_is_one_object_a_line():
    lines = nbest_jsonl(RESULTS, 1).splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["Z", "a", "b", "ä"]
    assert json.loads(lines[2])["nbest"] == [{"text": "zwei drei", "score": -1.5, "acoustic_score": -1.5, "lm_score": 0.0}]
    assert json.loads(nbest_jsonl(RESULTS, 0).splitlines()[0])["nbest"] == []


def test_files():
    assert as_txt(Path("x.wav"), RESULTS["ä"]) == "größe\n"
    content = json.loads(as_json(Path("x.wav"), RESULTS["b"]))
    assert content["file"] == "x.wav" and content["duration"] == 2.0 and content["text"] == "zwei drei"
    assert content["words"][1] == {"text": "drei", "start": 1.0, "end": 1.125, "confidence": 0.9877}
    assert content["nbest"] == [{"text": "zwei drei", "score": -1.5, "acoustic_score": -1.5, "lm_score": 0.0}]
