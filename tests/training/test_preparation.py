"""Everything that stops a run before its first step, and the message it stops with."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from tones import RATE, make_tones
from training.small import run, settings

from asr.audio import write
from asr.corpus import DataDir
from asr.errors import AsrError, DataError
from asr.features.extract import extract
from asr.training.data import SpeechData
from asr.training.preparation import prepare


@pytest.fixture
def own(tones, tmp_path):
    """Data directories that a test may spoil (the audio stays where it is)."""
    for part in ("train", "dev"):
        DataDir.load(tones / part).save(tmp_path / part)
    return tmp_path


def edit(table, change):
    lines = [line.split(maxsplit=1) for line in table.read_text().splitlines()]
    table.write_text("".join(f"{key} {change(key, value.strip())}\n" for key, value in lines))


def test_dev_must_not_be_in_training(tones):
    with pytest.raises(DataError, match=r"share 60 utterances \(first: s0-01-0000\); dev decides.*train on none of it"):
        prepare(settings(), tones / "train", tones / "train")


def test_dev_must_be_writable_with_the_tokens_of_training(own):
    edit(own / "dev" / "text", lambda key, text: "zoë" if key.endswith("0001") else text)
    with pytest.raises(DataError, match=r"(?s)no token for.*z.*s1-02-0001.*no token for.*ë.*s1-02-0001.*remove or normalise"):
        run(own, own / "run")


def test_faults_of_a_directory_are_shown_with_the_command_that_lists_them_all(own):
    lines = (own / "train" / "text").read_text().splitlines()
    (own / "train" / "text").write_text("".join(line + "\n" for line in reversed(lines)))
    with pytest.raises(DataError, match=r"(?s)train: 1 faults; see them all with `asr data check .*train`.*text:2: not sorted"):
        prepare(settings(), own / "train", own / "dev")


def test_utterances_need_transcripts(own):
    (own / "dev" / "text").unlink()
    with pytest.raises(DataError, match=r"dev/text: 12 utterances have no transcript \(first: s0-02-0000\)"):
        prepare(settings(), own / "train", own / "dev")


def test_missing_audio_stops_before_any_step(tmp_path, tones):
    make_tones(tmp_path / "train", 4, seed=9)
    (tmp_path / "train" / "wav" / "s1-09-0001.wav").unlink()
    with pytest.raises(AsrError, match=r"s1-09-0001.wav"):
        prepare(settings(), tmp_path / "train", tones / "dev")


def test_nothing_left_to_train_on(own):
    edit(own / "train" / "text", lambda key, text: "lo hi mid " * 50 + "lo")
    with pytest.raises(DataError, match="no utterance left for training; transcripts need more frames than their audio"):
        prepare(settings(), own / "train", own / "dev")


def test_a_dev_transcript_that_does_not_fit_counts_as_errors(own, tmp_path):
    edit(own / "dev" / "text", lambda key, text: "lo hi mid " * 50 + "lo" if key.endswith("0001") else text)
    prepared = prepare(settings(), own / "train", own / "dev")
    assert len(prepared.dev.texts) == 12


@pytest.mark.parametrize(("augment", "kept"), [([], 1), (["augment.speed=[1.0,1.25]"], 1), (["augment.tempo=[0.8,1.25]"], 1),
                                               (["augment.speed=[1.25]", "augment.tempo=[0.8,1.25]"], 0)])
def test_the_shortest_that_augmentation_can_make_of_an_utterance_must_hold_its_labels(own, augment, kept):
    """Speed and tempo follow one another, so an utterance may lose both their shares."""
    name = "s0-01-0000"
    train = DataDir.load(own / "train")
    utterance = next(found for found in train.utterances if found.id == name)
    samples = round(train.duration(utterance) * RATE)
    frames = (1 + (samples - 200) // 80 + 1) // 2
    labels = int(frames / 1.4)  # fits at 1.25 times the pace, not at 1.25 times 1.25
    edit(own / "train" / "text", lambda key, text: ("lohi" * labels)[:labels] if key == name else text)
    prepared = prepare(settings(*augment), own / "train", own / "dev")
    assert sum(found.id == name for found in prepared.train.data.utterances) == kept


def test_global_statistics_are_those_of_the_training_audio(tones):
    prepared = prepare(settings(), tones / "train", tones / "dev")
    everything = []
    for utterance in prepared.train.data.utterances:
        samples = torch.from_numpy(prepared.train.data.audio(utterance, RATE))[None]
        features, frames = prepared.frontend.extract(samples, torch.tensor([samples.shape[1]]))
        everything.append(features[0, :int(frames[0])])
    frames = torch.cat(everything).double()
    torch.testing.assert_close(prepared.frontend.mean.double(), frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prepared.frontend.scale.double(), 1 / frames.std(0, correction=0), rtol=1e-3, atol=1e-4)


def test_the_fingerprint_is_of_the_training_data(own):
    first = prepare(settings(), own / "train", own / "dev").train.fingerprint
    assert prepare(settings("seed=5"), own / "train", own / "dev").train.fingerprint == first
    edit(own / "train" / "text", lambda key, text: "lo lo lo" if key == "s0-01-0000" else text)
    assert prepare(settings(), own / "train", own / "dev").train.fingerprint != first


def test_the_fingerprint_is_of_the_durations_too(own):
    """They plan the batches."""
    first = prepare(settings(), own / "train", own / "dev").train
    (own / "train" / "utt2dur").write_text("".join(f"{utterance.id} {duration + 0.001:.6f}\n" for utterance, duration in
                                                   zip(first.data.utterances, first.durations)))
    second = prepare(settings(), own / "train", own / "dev").train
    assert second.durations != first.durations and second.fingerprint != first.fingerprint


def test_an_utterance_without_a_frame_is_dropped_though_no_labels_fit(tmp_path, tones, caplog):
    """A batch of nothing else would have no gradient."""
    data = make_tones(tmp_path / "train", 4, seed=9)
    name = data.utterances[1].id
    write(tmp_path / "train" / "wav" / f"{name}.wav", np.zeros(RATE // 100, np.float32), RATE)
    edit(tmp_path / "train" / "text", lambda key, text: "!" if key == name else text)
    prepared = prepare(settings("tokenizer.normalizer=basic"), tmp_path / "train", tones / "dev")
    assert name not in prepared.train.texts and len(prepared.train.durations) == 3
    assert f"{name}: dropped from training: 0 output frames, its 0 labels need 1" in caplog.text


# ------------------------------------------------------------------------------------------------------ archives


@pytest.fixture
def archived(own, monkeypatch):
    monkeypatch.chdir(own)
    for part in ("train", "dev"):
        extract(DataDir.load(own / part), settings().features)
    return own


def prepare_archived(folder, *overrides):
    return prepare(settings("training.archived=true", *overrides), folder / "train", folder / "dev")


def test_archives_feed_the_training(archived):
    batch = next(iter(SpeechData(prepare_archived(archived)).val_dataloader()))
    assert batch.inputs.shape[2] == 20


def test_archives_of_other_features_are_refused(archived):
    with pytest.raises(DataError, match=r"train/features: archives of other features .*num_mel_bins is 20 there, 24 in the model; "
                                        "write them again with `asr features"):
        prepare_archived(archived, "features.num_mel_bins=24")
    with pytest.raises(DataError, match="window is povey there, hamming in the model"):
        prepare_archived(archived, "features.window=hamming")
    assert prepare_archived(archived, "features.cmvn=utterance", "features.dither=1.0").train.durations


def test_archives_must_say_what_they_hold(archived):
    (archived / "dev" / "features" / "features.yaml").unlink()
    with pytest.raises(DataError, match="dev/features: .*there is no features.yaml beside them.*write them again"):
        prepare_archived(archived)


def test_archives_must_be_there(archived):
    (archived / "dev" / "feats.scp").unlink()
    with pytest.raises(DataError, match=r"dev: there is no feats.scp; write it with `asr features`"):
        prepare_archived(archived)


def test_a_command_in_feats_scp_never_runs(archived):
    planted = archived / "it-ran"
    edit(archived / "train" / "feats.scp", lambda key, value: f"touch {planted} |" if key == "s0-01-0000" else value)
    with pytest.raises(AsrError, match="a shell command in place of an archive"):
        prepare_archived(archived)
    assert not planted.exists()


def test_an_archive_that_is_gone_is_named(archived):
    shutil.rmtree(archived / "train" / "features")
    with pytest.raises(DataError, match=r"feats.scp:1: s0-01-0000: its archive cannot be read: .*: No such file.*`asr features`"):
        prepare_archived(archived)
