"""The recipe commands: its grammar, its voices, the corpus it makes, and the whole on a few utterances."""

from __future__ import annotations

import collections
import json
import random
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from project_copy import ROOT, ProjectCopy
from stand_in import TINY, load_script

from asr import audio
from asr.corpus import DataDir
from asr.errors import DataError

LOCAL = "recipes/commands/local"
grammar = load_script(f"{LOCAL}/grammar.py")
espeak = load_script(f"{LOCAL}/espeak.py")
synthesize = load_script(f"{LOCAL}/synthesize.py")
SPLITS = synthesize.SPLITS
SIZES = {"train": 14, "dev": 3, "test": 4}


@pytest.fixture(scope="module")
def commands():
    return grammar.Grammar.load(ROOT / LOCAL / "grammar.yaml")


@pytest.fixture(scope="module")
def voices():
    return synthesize.load_voices(ROOT / LOCAL / "voices.yaml")


@pytest.fixture(scope="module")
def speaker():
    return espeak.Espeak(1)


def make(out: Path, jobs: int = 2, seed: int = 1, **sizes: int) -> subprocess.CompletedProcess[str]:
    numbers = {"jobs": jobs, "seed": seed, **(SIZES | sizes)}
    options = [part for name, number in numbers.items() for part in (f"--{name}", str(number))]
    return subprocess.run([sys.executable, ROOT / LOCAL / "synthesize.py", "--out", out, *options], capture_output=True,
                          text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "commands"
    done = make(out, jobs=1)
    assert done.returncode == 0, done.stderr
    return out


# ----------------------------------------------------------------------------------------------------- grammar


def written(folder: Path, text: str) -> Path:
    path = folder / "grammar.yaml"
    path.write_text(text)
    return path


def test_sentences_hold_the_words_of_the_grammar_and_no_others(commands):
    rng = random.Random(0)
    drawn = {word for _ in range(4000) for word in commands.draw(rng).split()}
    assert drawn == set(commands.words())
    assert 150 <= len(drawn) <= 200
    assert all(word.isascii() and word.isalpha() and word.islower() for word in drawn)


def test_the_notation(tmp_path):
    rules = grammar.Grammar.load(written(tmp_path, "command:\n  - 3 * <colour> [very] (dark | light)\n  - nothing\n"
                                                   "colour: [red, blue]\n"))
    assert rules.words() == ["blue", "dark", "light", "nothing", "red", "very"]
    rng = random.Random(1)
    counts = collections.Counter(rules.draw(rng) for _ in range(8000))
    colours = [" ".join(filter(None, parts)) for parts in product(("red", "blue"), ("very", ""), ("dark", "light"))]
    assert set(counts) == {*colours, "nothing"}
    assert counts["nothing"] / 8000 == pytest.approx(1 / 4, abs=0.02)
    for colour in colours:
        assert counts[colour] / 8000 == pytest.approx(3 / 4 / 8, abs=0.02)


@pytest.mark.parametrize(("text", "message"), [
    ("command: [turn <device>]", r"rule `command` names <device>, which is not there"),
    ("command: [a]\nlost: [b]", r"no way leads from `command` to <lost>"),
    ("command: [a <b>]\nb: [c <command>]", r"leads back to itself: command -> b -> command"),
    ("command: [(a | b]", r"`\(a \| b`: `\(` without its `\)`"),
    ("command: ['a ]']", r"`\]` without its opening bracket"),
    ("command: [Turn on]", r"cannot read `T`; words are lower-case"),
    ("command: [a 5 b]", r"cannot read `5`"),
    ("command: [0 * a]", r"the weight before `\*` must be a number above zero"),
    ("command: ['a | ']", r"an empty phrase"),
    ("command: [on]", r"rule `command`: True is not a phrase; put it in quotes"),
    ("command: turn on", r"expected rules, each a name and a list of phrases"),
    ("commands: [a]", r"the first rule, `command`, is not there"),
    ("command: [a", r"grammar.yaml: not valid YAML"),
])
def test_a_fault_of_the_grammar_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        grammar.Grammar.load(written(tmp_path, text))


def test_every_word_comes_often_in_training_and_no_sentence_is_in_two_sets(commands):
    drawn = {split: synthesize.draw_sentences(commands, split, count, seed=1)
             for split, count in (("train", 4000), ("dev", 300), ("test", 480))}
    assert [len(drawn[split]) for split in SPLITS] == [4000, 300, 480]
    counts = collections.Counter(word for sentence in drawn["train"] for word in sentence.split())
    assert min(counts[word] for word in commands.words()) >= 25
    assert sum(len(sentence.split()) for sentence in drawn["test"]) >= 2000
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not set(drawn[one]) & set(drawn[other])
    for split in ("dev", "test"):
        assert len(set(drawn[split])) == len(drawn[split])
    assert max(collections.Counter(drawn["train"]).values()) <= 3


def test_more_sentences_than_the_grammar_holds_are_refused(tmp_path):
    small = grammar.Grammar.load(written(tmp_path, "command: [(a | b | c | d | e | f | g | h) (a | b | c)]"))
    with pytest.raises(DataError, match=r"no more than \d+ sentences for dev; ask for fewer \(--dev\)"):
        synthesize.draw_sentences(small, "dev", 30, seed=1)


# ------------------------------------------------------------------------------------------------------ voices


def test_every_voice_in_every_accent_speaks_well(voices, speaker):
    text = "turn on the kitchen lights"
    for split, accent in product(SPLITS, voices["accents"].values()):
        for voice in voices[split]:
            speaker.choose(accent, voice)
            speech = speaker.say(text, 165, 50, 50)
            assert 1.0 < len(speech.samples) / speech.sample_rate < 3.0, (accent, voice)
            assert 0.004 < np.sqrt(np.mean(speech.samples**2)) < 0.1, (accent, voice)
            assert np.abs(speech.samples).max() < 0.98, (accent, voice)
            assert [word for word, _, _ in speech.words] == text.split()


def test_a_voice_is_in_one_set_only(tmp_path, voices):
    names = [voice.lower() for split in SPLITS for voice in voices[split]]
    assert len(set(names)) == len(names)
    path = tmp_path / "voices.yaml"
    path.write_text("accents: {britain: gmw/en}\ntrain: [m1, m2]\ndev: [m3]\ntest: [M2]\n")
    with pytest.raises(DataError, match="listed more than once: m2"):
        synthesize.load_voices(path)
    path.write_text("accents: {britain: gmw/en}\ntrain: [m1, m2]\ndev: []\ntest: [m3]\n")
    with pytest.raises(DataError, match="expected accents, train, dev and test"):
        synthesize.load_voices(path)


def test_an_unknown_voice_is_named(speaker):
    with pytest.raises(DataError, match="espeak-ng has no voice `m99`"):
        speaker.choose("gmw/en", "m99")
    with pytest.raises(DataError, match="espeak-ng has no accent `gmw/klingon`"):
        speaker.choose("gmw/klingon", "m1")


# -------------------------------------------------------------------------------------------------- word times


@pytest.mark.parametrize("text", ["play jazz in the kitchen at a quarter to nine", "set a timer for an hour please",
                                  "turn off the lights on the first of may", "set a timer for a table for one"])
def test_words_that_are_spoken_as_one_still_have_their_own_time(speaker, voices, text):
    for accent in voices["accents"].values():
        speaker.choose(accent, "m3")
        speech = speaker.say(text, 170, 50, 50)
        assert [word for word, _, _ in speech.words] == text.split()
        assert speech.words[0][1] == 0
        for (_, first, past), (_, following, _) in pairwise(speech.words):
            assert first < past <= following
        assert all((past - first) / speech.sample_rate > 0.02 for _, first, past in speech.words)
        assert speech.words[-1][2] <= len(speech.samples)


def test_word_times_are_where_the_sound_changes(speaker):
    """A word in s after a vowel or a nasal: the energy above 4 kHz begins where the word is said to begin."""
    misses = []
    for voice, before, after in product(("m3", "m5", "klatt3"), ("nine", "one", "may", "morning"),
                                        ("six", "seven", "sunday", "snow")):
        speaker.choose("gmw/en-US", voice)
        speech = speaker.say(f"call {before} {after} now", 160, 50, 50)
        frames = np.lib.stride_tricks.sliding_window_view(speech.samples, 256)[::32] * np.hanning(256)
        hiss = np.abs(np.fft.rfft(frames))[:, 46:].sum(axis=1)  # bins of 86 Hz
        start = speech.words[2][1]
        heard = 32 * np.flatnonzero(hiss > hiss.max() / 4) + 128
        misses.append((heard[heard > speech.words[1][2] - 0.1 * speech.sample_rate][0] - start) / speech.sample_rate)
    assert abs(np.median(misses)) < 0.02
    assert np.max(np.abs(misses)) < 0.03


# -------------------------------------------------------------------------------------------------- the corpus


def test_the_sets_share_neither_voice_nor_sentence(corpus):
    sets = {split: DataDir.load(corpus / split) for split in SPLITS}
    assert {split: len(data) for split, data in sets.items()} == SIZES
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not {u.text for u in sets[one].utterances} & {u.text for u in sets[other].utterances}
        assert not {u.speaker.split("-")[1] for u in sets[one].utterances} & \
            {u.speaker.split("-")[1] for u in sets[other].utterances}


def test_the_directories_are_without_faults_and_the_sound_is_sane(corpus):
    for split in SPLITS:
        data = DataDir.load(corpus / split)
        assert data.check("decode") == []
        for utterance in data.utterances:
            assert utterance.id.startswith(utterance.speaker + "-")
            samples, rate = audio.read(data.wav[utterance.recording])
            assert rate == 16000
            assert len(samples) / rate == pytest.approx(data.duration(utterance), abs=1e-6)
            assert 0.6 < len(samples) / rate < 8
            assert np.abs(samples).max() < 1
            assert -45 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -8


def test_the_word_times_of_a_set_fit_its_transcripts_and_its_sound(corpus):
    for split in SPLITS:
        data = DataDir.load(corpus / split)
        times = collections.defaultdict(list)
        for line in (corpus / split / "words.ctm").read_text().splitlines():
            id, channel, start, duration, word = line.split()
            assert channel == "1"
            times[id].append((float(start), float(start) + float(duration), word))
        for utterance in data.utterances:
            words = times.pop(utterance.id)
            assert " ".join(word for _, _, word in words) == utterance.text
            edges = [edge for start, end, _ in words for edge in (start, end)]
            assert all(before <= after + 0.0011 for before, after in pairwise(edges))  # each is rounded to a millisecond
            assert 0.05 <= edges[0] <= 0.25
            assert edges[-1] <= data.duration(utterance) - 0.045
            samples = data.audio(utterance, 16000)
            first, past = round(16000 * edges[0]), round(16000 * edges[-1])
            level = np.mean(samples[first:past] ** 2)
            assert np.mean(samples[:first - 160] ** 2) < level / 4  # before the first word there is only noise
        assert not times


def test_the_same_bytes_with_any_number_of_processes_and_others_with_another_seed(corpus, tmp_path):
    assert make(tmp_path / "commands", jobs=3).returncode == 0
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "commands") for path in tmp_path.rglob("*") if path.is_file())
    assert len([path for path in files if path.suffix == ".wav"]) == sum(SIZES.values())
    for path in files:
        content = (tmp_path / "commands" / path).read_bytes()
        if path.name == "wav.scp":
            content = content.replace(str(tmp_path).encode(), str(corpus.parent).encode())
        assert content == (corpus / path).read_bytes(), path
    assert make(tmp_path / "other", seed=2).returncode == 0
    assert (tmp_path / "other/train/text").read_bytes() != (corpus / "train/text").read_bytes()


def test_a_second_call_does_nothing_and_another_size_replaces_the_whole(tmp_path):
    out = tmp_path / "commands"
    (out / ".making-killed" / "train").mkdir(parents=True)  # what a run leaves that was killed
    (out / "README.md").write_text("kept")
    first = make(out, train=3, dev=1, test=1)
    assert "train     3 utterances" in first.stdout
    before = (out / "train/text").stat().st_mtime_ns
    assert "already made" in make(out, train=3, dev=1, test=1).stdout
    assert (out / "train/text").stat().st_mtime_ns == before
    assert make(out, train=2, dev=1, test=1).returncode == 0
    assert len(list(out.glob("train/wav/*.wav"))) == len(DataDir.load(out / "train")) == 2
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "dev", "settings.json", "test", "train"]


def test_wrong_use_stops_before_any_work(tmp_path):
    done = make(tmp_path / "commands", test=0)
    assert done.returncode == 2
    assert "must be 1 or more" in done.stderr
    assert not (tmp_path / "commands").exists()


def test_words_are_counted_without_a_sound():
    done = subprocess.run([sys.executable, ROOT / LOCAL / "synthesize.py", "--show-words", "--train", "50", "--dev", "5",
                           "--test", "5"], capture_output=True, text=True, check=True)
    counts = {line.split()[0]: [int(n) for n in line.split()[1:4]] for line in done.stdout.splitlines()[1:]}
    assert len(counts) >= 150
    assert sum(train for train, _, _ in counts.values()) > 200


def test_the_recipe_from_grammar_to_transcript(tmp_path):
    project = ProjectCopy(tmp_path)
    done = project.run("commands", "--train", 12, "--dev", 3, "--test", 4, "--set", TINY)
    assert done.returncode == 0, done.stderr
    run = project.root / "exp/commands/crnn_seed1"
    assert (run / "model.safetensors").is_file()
    assert json.loads((run / "decode_test_greedy/scores.json").read_text())["utterances"] == 4
    assert "Spoken commands, test" in done.stdout
    said = DataDir.load(project.root / "data/commands/test").utterances[0].text
    assert f"  said:  {said}\n  heard: " in done.stdout
    shown = done.stdout[done.stdout.index("The model:"):]
    for line in shown.splitlines():
        assert (project.root / line.split(":", 1)[1].strip()).is_file(), line
