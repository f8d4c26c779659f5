"""The recipe fsdd: what its splits promise, what it says of a bad corpus, and the whole on a few utterances."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from project_copy import ProjectCopy
from stand_in import TINY, load_script, make_fsdd

from asr.corpus import DataDir
from asr.errors import DataError

fsdd = load_script("recipes/fsdd/local/prepare.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fsdd(tmp_path_factory.mktemp("fsdd") / "corpus")


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "fsdd"
    fsdd.prepare(corpus, out, strings=3, seed=1)
    return out


def _parts(id: str) -> tuple[str, str, str]:
    speaker, digit, index = id.split("-")
    return speaker, digit, index


def test_the_official_split(prepared):
    train, dev, test = ({u.id for u in DataDir.load(prepared / part).utterances} for part in ("train", "dev", "test"))
    strings = {id for id in train if "-string-" in id}
    assert (len(train - strings), len(strings), len(dev), len(test)) == (2520, 18, 180, 300)
    assert {int(_parts(id)[2]) for id in test} == set(range(5))
    assert {int(_parts(id)[2]) for id in dev} == set(range(5, 8))
    assert {int(_parts(id)[2]) for id in train - strings} == set(range(8, 50))


@pytest.mark.parametrize("speaker", fsdd.SPEAKERS)
def test_a_fold_never_hears_its_speaker_before_the_test(prepared, speaker):
    for kind, tested, others in (("loso", 500, 5), ("tune", 450, 4)):
        train, dev, test = (DataDir.load(prepared / kind / speaker / part) for part in ("train", "dev", "test"))
        assert list(test.speakers) == [speaker]
        assert len(test) == tested
        for part in (train, dev):
            assert speaker not in part.speakers
            assert len(part.speakers) == others
        assert len(train) == others * (420 + 3)
        assert {int(_parts(u.id)[2]) for u in dev.utterances} == set(range(5, 8))
    official_test = {u.id for u in DataDir.load(prepared / "test").utterances}
    assert not official_test & {u.id for u in test.utterances}  # the last one: tune


def test_every_directory_is_without_faults(prepared):
    for part in (*prepared.glob("*/wav.scp"), *prepared.glob("*/*/*/wav.scp")):
        assert DataDir.load(part.parent).check() == []


def test_strings_hold_training_recordings_of_one_speaker(tmp_path, monkeypatch):
    """Every recording gets a length of its own, by which the parts of a string are told."""
    recordings = [fsdd.Recording(speaker, digit, index, Path("none")) for speaker in fsdd.SPEAKERS for digit in range(10)
                  for index in range(8, 12)]
    samples = {recording.id: np.zeros(1000 + n, np.float32) for n, recording in enumerate(recordings)}
    by_length = {len(samples[recording.id]): recording for recording in recordings}
    composed = []
    real = fsdd.compose
    monkeypatch.setattr(fsdd, "compose", lambda parts, rate, rng: composed.append(parts) or real(parts, rate, rng))
    made = fsdd.make_strings(recordings, samples, tmp_path, 20, seed=1)
    assert len(composed) == len(made) == 120
    for parts, (utterance, path) in zip(composed, made.values()):
        chosen = [by_length[len(part)] for part in parts]
        assert {recording.speaker for recording in chosen} == {utterance.speaker}
        assert utterance.text == " ".join(fsdd.WORDS[recording.digit] for recording in chosen)
        assert 3 <= len(chosen) <= 7
        assert path.is_file()


def test_strings_are_the_same_for_the_same_seed_only(corpus, tmp_path):
    recordings = [r for r in fsdd.find_recordings(corpus) if r.index == 9]
    samples = fsdd.read_all(recordings)

    def digest(name: str, seed: int) -> str:
        made = fsdd.make_strings(recordings, samples, tmp_path / name, 3, seed)
        return hashlib.sha256(b"".join(path.read_bytes() for _, path in made.values())).hexdigest()

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)


def test_a_second_call_does_nothing_and_other_settings_leave_nothing_stale(corpus, tmp_path):
    out = tmp_path / "fsdd"
    fsdd.prepare(corpus, out, strings=2, seed=1)
    text = out / "train/text"
    before = text.stat().st_mtime_ns
    fsdd.prepare(corpus, out, strings=2, seed=1)
    assert text.stat().st_mtime_ns == before
    fsdd.prepare(corpus, out, strings=1, seed=1)
    assert len(list(out.glob("strings/*/*.wav"))) == 6
    assert len(DataDir.load(out / "train")) == 2526


def test_missing_renamed_and_corrupt_files_are_named_and_counted(corpus, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(corpus, bad)
    (bad / "recordings/3_theo_7.wav").rename(bad / "recordings/3_theo_07.wav")
    (bad / "recordings/0_lucas_1.wav").unlink()
    with pytest.raises(DataError, match=r"2 of 3000 recordings are missing: 0_lucas_1.wav, 3_theo_7.wav; "
                                        r"1 files have names that are not of the corpus: 3_theo_07.wav"):
        fsdd.prepare(bad, tmp_path / "out", strings=1, seed=1)
    (bad / "recordings/3_theo_07.wav").rename(bad / "recordings/3_theo_7.wav")
    shutil.copy(corpus / "recordings/0_lucas_1.wav", bad / "recordings/0_lucas_1.wav")
    (bad / "recordings/5_george_49.wav").write_bytes(b"")
    (bad / "recordings/6_george_49.wav").write_bytes((corpus / "recordings/6_george_49.wav").read_bytes()[:500])
    with pytest.raises(DataError, match=r"2 recordings cannot be read:\n.*5_george_49.wav: .*\n.*6_george_49.wav: cannot"):
        fsdd.prepare(bad, tmp_path / "out", strings=1, seed=1)
    assert not (tmp_path / "out").exists()


def test_the_recipe_from_corpus_to_table(corpus, tmp_path):
    """All stages through run.sh, with data directories cut down to a few utterances before training."""
    project = ProjectCopy(tmp_path)
    done = project.run("fsdd", "--stop-stage", 1, "--corpus", corpus, "--strings", 2)
    assert done.returncode == 0, done.stderr
    base = project.root / "data/fsdd"
    for folder, kept in {"train": "08", "dev": "05", "test": "00", "loso/theo/train": "08", "loso/theo/dev": "05",
                         "loso/theo/test": "00"}.items():
        data = DataDir.load(base / folder)
        first = min(data.speakers)
        data.select([u.id for u in data.utterances if "-string-" in u.id
                     or (u.speaker == first and u.id.endswith(f"-{kept}"))]).save(base / folder)

    official = ("fsdd", "--stage", 2, "--stop-stage", 4, "--set", TINY)
    left_out = ("fsdd", "--stage", 5, "--speakers", "theo", "--set", TINY)
    for arguments in (official, left_out):
        done = project.run(*arguments)
        assert done.returncode == 0, done.stderr
    exp = project.root / "exp/fsdd"
    for run in ("crnn_seed1", "crnn_loso_theo_seed1"):
        assert (exp / run / "model.safetensors").is_file()
        scores = json.loads((exp / run / "decode_test_greedy/scores.json").read_text())
        assert scores["utterances"] == 10
    assert "Official split, test" in done.stdout
    assert "| crnn | 1 |" in done.stdout
    assert "| crnn_loso_theo | 1 |" in done.stdout
