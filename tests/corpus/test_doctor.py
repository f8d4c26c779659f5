"""The doctor finds what was planted, and little else."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.corpus.doctor import Finding, examine, fit_line, script_of, write_findings
from asr.corpus.meter import measure, measure_all

RATE = 8000
PLANTED = ("silence", "noise", "clipping", "text too long", "text too short", "script", "duplicate audio, other text",
           "duplicate text", "unreadable")
WORDS = ("the", "of", "and", "house", "river", "morning", "quiet", "seven", "lamp", "paper", "stone", "winter", "garden", "silver",
         "often", "under", "walk", "bread")


def speech(text: str, rng: np.random.Generator) -> np.ndarray:
    """Something with syllables: about 14 characters a second (15 % more or less), pauses, a little noise; (N,) float32."""
    seconds = 0.3 + len(text) / (14 * np.exp(0.15 * rng.standard_normal()))
    time = np.arange(int(seconds * RATE)) / RATE
    envelope = np.clip(np.sin(2 * np.pi * rng.uniform(1.5, 2.5) * time + rng.uniform(0, 6)), 0.01, None)
    level = 10 ** (rng.uniform(-30, -10) / 20)
    voice = sum(np.sin(2 * np.pi * rng.uniform(100, 200) * k * time) / k for k in range(1, 6))
    return (level * (envelope * voice + 0.003 * rng.standard_normal(len(time)))).astype(np.float32)


def sick_corpus(folder: Path, healthy: int = 400, each: int = 2, seed: int = 0) -> tuple[DataDir, dict[str, set[str]]]:
    """A corpus with ``each`` faults of every kind planted in it, and kind -> the utterances that have it."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 16))) for _ in range(healthy)]
    samples = [speech(text, rng) for text in texts]
    planted = defaultdict(set)
    chosen = iter(rng.permutation([n for n in range(healthy) if len(texts[n].split()) >= 7]).tolist())
    for kind in PLANTED:
        for _ in range(each):
            n = next(chosen)
            planted[kind].add(f"s{n % 10}-{n:04d}")
            if kind == "silence":
                samples[n] = (1e-4 * rng.standard_normal(len(samples[n]))).astype(np.float32)
            elif kind == "noise":
                samples[n] = (0.05 * rng.standard_normal(len(samples[n]))).astype(np.float32)
            elif kind == "clipping":
                samples[n] = np.clip(samples[n] * 0.8 / np.percentile(np.abs(samples[n]), 97), -0.8, 0.8)
            elif kind == "text too long":
                samples[n] = samples[n][:len(samples[n]) // 3]
            elif kind == "text too short":
                texts[n] = " ".join(texts[n].split()[:len(texts[n].split()) // 4])
            elif kind == "script":
                texts[n] = texts[n].replace("o", "о").replace("e", "е")  # Cyrillic
            elif kind == "duplicate audio, other text":
                planted[kind].remove(f"s{n % 10}-{n:04d}")
                first, second = sorted((n, next(chosen)), key=lambda m: f"s{m % 10}-{m:04d}")
                samples[second] = samples[first]
                texts[second] = " ".join(rng.permutation(texts[first].split()))
                planted[kind].add(f"s{second % 10}-{second:04d}")
            elif kind == "duplicate text":
                texts[n] = texts[next(m for m in range(n + 1, healthy) if len(texts[m].split()) == len(texts[n].split()))]
    (folder / "wav").mkdir()
    utterances, wav = [], {}
    for n, (text, sound) in enumerate(zip(texts, samples)):
        id = f"s{n % 10}-{n:04d}"
        wav[id] = str(folder / "wav" / f"{id}.wav")
        soundfile.write(wav[id], sound, RATE)  # not asr.audio, which waits for the disk
        utterances.append(Utterance(id, id, id.split("-")[0], text))
    for id in planted["unreadable"]:
        Path(wav[id]).write_bytes(b"RIFF")
    planted["silence"] |= planted.pop("noise", set())
    return DataDir.from_utterances(utterances, wav), planted


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataDir, dict[str, set[str]]]:
    return sick_corpus(tmp_path_factory.mktemp("sick"))


@pytest.fixture(scope="module")
def findings(sick: tuple[DataDir, dict[str, set[str]]]) -> list[Finding]:
    return examine({"train": sick[0]})


def test_planted_faults_are_found_and_little_else(sick, findings):
    """18 faults in 400 utterances: nine in ten found under their own name, and nine in ten findings true."""
    data, planted = sick
    found = defaultdict(set)
    for finding in findings:
        found[finding.kind].add(finding.item)
    bad = set().union(*planted.values())
    assert len(bad) / len(data) == pytest.approx(0.045)
    for kind in ("silence", "clipping", "script", "duplicate audio, other text", "unreadable"):  # these are certain
        assert found[kind] == planted[kind], kind
    for kind in ("text too long", "text too short", "duplicate text"):
        assert len(found[kind] & planted[kind]) >= 1, kind
    everything = set().union(*found.values())
    assert len(everything & bad) / len(bad) >= 0.9, "recall"
    assert len(everything & bad) / len(everything) >= 0.9, "precision"


def test_the_worst_come_first_and_go_into_a_table(findings, tmp_path):
    assert [f.score for f in findings] == sorted((f.score for f in findings), reverse=True)
    assert all(1 <= f.score <= 10 for f in findings)
    assert findings[0].kind == "unreadable"
    write_findings(tmp_path / "f.tsv", findings)
    rows = [line.split("\t") for line in (tmp_path / "f.tsv").read_text().splitlines()]
    assert rows[0] == ["directory", "utterance", "kind", "score", "why"]
    assert len(rows) == len(findings) + 1
    assert {len(row) for row in rows} == {5}


def test_threads_change_nothing(sick, findings):
    assert examine({"train": sick[0]}, jobs=3) == findings


def test_nothing_is_said_of_a_healthy_corpus_without_text(tmp_path):
    data, _ = sick_corpus(tmp_path, healthy=30, each=0)
    data.utterances = [replace(u, text=None) for u in data.utterances]
    assert examine({"train": data}) == []


def test_leaks_between_parts(tmp_path):
    data, _ = sick_corpus(tmp_path, healthy=30, each=0)
    ids = [u.id for u in data.utterances]  # s0-0000, s0-0010, s0-0020, s1-0001, ...
    train, test = data.select(ids[:15]), data.select(ids[14:])
    copy = tmp_path / "wav/copy.wav"
    copy.write_bytes(Path(data.wav[ids[3]]).read_bytes())
    backwards = [" ".join(reversed(data.utterances[n].text.split())) for n in (3, 4)]
    test.utterances += [Utterance(id, id, "zoe", text) for id, text in zip(("zoe-1", "zoe-2"), backwards)]
    test.wav |= {"zoe-1": str(copy), "zoe-2": data.wav[ids[4]]}
    found = {(f.kind, f.item): f for f in examine({"train": train, "test": test})}
    assert found.keys() == {("audio in two parts", ids[14]), ("utterance in two parts", ids[14]), ("speaker in two parts", "s4"),
                            ("audio in two parts", "zoe-1"), ("audio in two parts", "zoe-2"), ("recording in two parts", "zoe-2")}
    assert {f.directory for f in found.values()} == {"test"}
    assert found["audio in two parts", "zoe-1"].why.startswith(f"the same samples as {ids[3]} of train, whose transcript is ")
    assert found["speaker in two parts", "s4"].why == "utterances of this speaker: 3 in train, 1 in test"


def test_a_text_that_everybody_reads_is_not_suspicious(tmp_path):
    data, _ = sick_corpus(tmp_path, healthy=40, each=0)
    data.utterances = [replace(u, text="one two three four five six seven") for u in data.utterances]
    assert {f.kind for f in examine({"train": data})} <= {"text too long", "text too short"}


def test_segments_are_measured_as_they_are_heard(tmp_path):
    """A segment, a whole recording in blocks, and a channel are measured as the samples that `DataDir.read` gives."""
    rng = np.random.default_rng(1)
    stereo = np.stack([speech(" ".join(WORDS * 5), rng)[:RATE * 32]] * 2, axis=1)
    stereo[:, 1] *= 0.1
    audio.write(tmp_path / "a.wav", stereo, RATE)
    data = DataDir.from_utterances([Utterance("whole", "a", "s", channel=0), Utterance("soft", "a", "s", channel=1),
                                    Utterance("part", "a", "s", start=1.0, end=2.5, channel=0)], {"a": str(tmp_path / "a.wav")})
    by_id = dict(zip((u.id for u in data.utterances), measure_all(data)))
    assert by_id["part"].duration == 1.5
    assert by_id["whole"].duration == len(stereo) / RATE
    assert by_id["whole"].loud - by_id["soft"].loud == pytest.approx(20, abs=0.1)
    for utterance in data.utterances:
        samples, rate = data.read(utterance)
        audio.write(tmp_path / "alone.flac", samples, rate)
        alone = DataDir.from_utterances([Utterance("x", "x", "x")], {"x": str(tmp_path / "alone.flac")})
        assert measure(alone, alone.utterances[0]).digest == by_id[utterance.id].digest


def test_clipping_is_counted_where_it_is_and_not_in_clean_tones(tmp_path):
    time = np.arange(RATE) / RATE
    for name, samples, clipped in (("clean", 0.9 * np.sin(2 * np.pi * 200 * time), 0.0),
                                   ("cut", np.clip(1.2 * np.sin(2 * np.pi * 200 * time), -1, 1), 0.37),
                                   ("lowered", 0.2 * np.clip(1.2 * np.sin(2 * np.pi * 200 * time), -1, 1), 0.37)):
        audio.write(tmp_path / f"{name}.wav", samples, RATE)
        data = DataDir.from_utterances([Utterance(name, name, "s")], {name: str(tmp_path / f"{name}.wav")})
        assert measure(data, data.utterances[0]).clipped == pytest.approx(clipped, abs=0.03), name


def test_a_line_through_a_corpus_with_a_quarter_of_nonsense():
    rng = np.random.default_rng(0)
    x = rng.integers(5, 200, 400).astype(float)
    y = 0.5 + 0.07 * x * np.exp(0.1 * rng.standard_normal(400))
    y[:100] = rng.uniform(0, 30, 100)
    base, slope = fit_line(x, y)
    assert slope == pytest.approx(0.07, rel=0.1)
    assert base == pytest.approx(0.5, abs=0.4)
    assert fit_line(np.full(30, 4.0), np.full(30, 0.5)) == (0.5, 0.0)


def test_scripts_are_known_by_their_letters():
    assert [script_of(letter) for letter in "aжㄱ中あァ1 '"] == ["LATIN", "CYRILLIC", "HANGUL", "CJK", "HIRAGANA", "KATAKANA",
                                                          None, None, None]
