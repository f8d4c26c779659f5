"""The recipe yesno: its split, its word cutting, a bad corpus, and the whole on made recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from project_copy import ProjectCopy
from stand_in import RATE, TINY, load_script, make_yesno, tone

from asr.corpus import DataDir
from asr.errors import DataError

yesno = load_script("recipes/yesno/local/prepare.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_yesno(tmp_path_factory.mktemp("yesno") / "corpus")


@pytest.fixture
def prepared(corpus: Path, tmp_path: Path) -> Path:
    yesno.prepare(corpus, tmp_path / "yesno")
    return tmp_path / "yesno"


def test_the_split_is_kaldis_with_dev_taken_from_training(corpus, prepared):
    names = sorted(path.stem for path in (corpus / "waves_yesno").glob("*.wav"))
    train, dev, test = (DataDir.load(prepared / part) for part in ("train", "dev", "test"))
    assert [u.id for u in test.utterances] == names[30:]
    assert sum(len((u.text or "").split()) for u in test.utterances) == 240
    assert [u.id for u in dev.utterances] == [names[3], names[11], names[19], names[27]]
    assert {u.recording for u in train.utterances} == set(names[:30]) - {u.id for u in dev.utterances}
    for data in (train, dev, test):
        assert data.check() == []


def test_transcripts_are_the_names(prepared):
    for utterance in DataDir.load(prepared / "test").utterances:
        assert utterance.text == utterance.id.replace("_", " ").replace("1", "YES").replace("0", "NO")


def test_parts_hold_the_words_they_are_labelled_with(prepared):
    """The pitch of every single word tells whether the cut and the label are of the same one."""
    train = DataDir.load(prepared / "train")
    assert len(train) == 26 * (1 + 8 + 4 + 2)
    singles = [u for u in train.utterances if len((u.text or "").split()) == 1]
    assert len(singles) == 26 * 8
    for utterance in singles:
        spectrum = np.abs(np.fft.rfft(train.audio(utterance, RATE)))
        hertz = float(spectrum.argmax()) * RATE / (2 * (len(spectrum) - 1))
        assert utterance.text == ("YES" if hertz > 600 else "NO")


def test_words_that_run_together_leave_the_recording_whole(corpus, caplog):
    path = next((corpus / "waves_yesno").glob("*.wav"))
    assert yesno.find_pauses(tone(500, 3.0), RATE, 8) is None
    assert len(yesno.find_pauses(np.concatenate([tone(500, 0.3), np.zeros(1600)] * 3), RATE, 3)) == 2
    assert len(yesno.parts_of(path.stem, path)) == 15


def test_a_bad_corpus_is_told_whole(corpus, tmp_path):
    bad = make_yesno(tmp_path / "bad") / "waves_yesno"
    first, second, *_ = sorted(bad.iterdir())
    first.rename(bad / "1_0_2.wav")
    second.write_bytes(b"not audio")
    with pytest.raises(DataError, match=r"(?s)1 names are not eight of 0 and 1: 1_0_2.wav; 59 recordings, where the corpus "
                                        rf"has 60; 1 audio files that cannot be read: .*{second.name}: cannot read"):
        yesno.prepare(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_recipe_from_corpus_to_table(corpus, tmp_path):
    project = ProjectCopy(tmp_path)
    done = project.run("yesno", "--corpus", corpus, "--set", TINY)
    assert done.returncode == 0, done.stderr
    run = project.root / "exp/yesno/crnn_seed1"
    scores = json.loads((run / "decode_test_greedy/scores.json").read_text())
    assert (scores["utterances"], scores["words"]["reference"]) == (30, 240)
    assert "Yes and no, test" in done.stdout
    assert "| crnn | 1 |" in done.stdout

    model = (run / "model.safetensors").read_bytes()
    again = project.run("yesno", "--stage", 2, "--stop-stage", 2, "--set", TINY)
    assert again.returncode == 0, again.stderr  # safe to run again: a finished run is kept as it is
    assert (run / "model.safetensors").read_bytes() == model
