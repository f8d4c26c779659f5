"""The batches: every utterance once an epoch, padded with zeros, the same from any position on."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from training.small import settings

from asr.training.data import EpochLoader, SpeechData
from asr.training.preparation import prepare


@pytest.fixture(scope="module")
def prepared(tones):
    return prepare(settings("training.batch_seconds=6", "training.sort_first_epoch=true", "augment.speed=[0.9,1.1]"),
                   tones / "train", tones / "dev")


@pytest.fixture
def data(prepared):
    return SpeechData(prepared)


def loader(data, epoch):
    return EpochLoader(data.loader, data.sampler, epoch, data.collate)


def features(prepared, part, utterance):
    """Raw features (T, F) of the utterance, by the front-end."""
    samples = torch.from_numpy(part.data.audio(utterance, prepared.frontend.sample_rate))
    return prepared.frontend.eval().extract(samples[None], torch.tensor([len(samples)]))[0][0]


def test_every_utterance_once_an_epoch_within_the_budget(data, prepared):
    durations = {utterance.id: seconds for utterance, seconds in zip(prepared.train.data.utterances, prepared.train.durations)}
    for epoch in (0, 1):
        batches = list(loader(data, epoch))
        assert len(batches) == len(loader(data, epoch)) > 4
        assert sorted(name for batch in batches for name in batch.ids) == sorted(durations)
        assert all(max(durations[name] for name in batch.ids) * len(batch) <= 6 for batch in batches)


def test_padding_is_zero_and_nothing_else_is_lost(data, prepared):
    for batch in loader(data, 1):
        assert batch.inputs.shape == (len(batch), int(batch.lengths.max()), prepared.frontend.dim)
        assert batch.targets.shape == (len(batch), int(batch.target_lengths.max()))
        for row, name in enumerate(batch.ids):
            assert not batch.inputs[row, batch.lengths[row]:].any() and batch.inputs[row, :batch.lengths[row]].any()
            assert batch.targets[row, :batch.target_lengths[row]].tolist() == prepared.train.targets[name]
            assert not batch.targets[row, batch.target_lengths[row]:].any()


def test_the_first_epoch_goes_from_short_to_long_and_only_the_first(data):
    def longest(epoch):
        return [max(data.train_set.data.utterances[index].id and data.prepared.train.durations[index] for index in batch)
                for batch in data.sampler.plan(epoch)]

    assert longest(0) == sorted(longest(0))
    assert longest(1) != sorted(longest(1))
    first = [batch.ids for batch in loader(data, 0)]
    assert first == [[data.train_set.data.utterances[index].id for index in batch] for batch in data.sampler.plan(0)]


@pytest.mark.parametrize("taken", [1, 3])
def test_a_loader_goes_on_where_another_stopped(data, prepared, taken):
    """With the same draws: speed is drawn anew for each utterance and epoch, and changes its length."""
    whole = list(loader(data, 2))
    first = loader(data, 2)
    iterator = iter(first)
    for _ in range(taken):
        next(iterator)
    state = first.state_dict()
    second = loader(SpeechData(prepared), 2)
    second.load_state_dict(state)
    rest = list(second)
    assert len(second) == len(whole) and len(rest) == len(whole) - taken
    for ours, theirs in zip(rest, whole[taken:]):
        assert ours.ids == theirs.ids and torch.equal(ours.inputs, theirs.inputs)


def test_workers_change_nothing_live_on_and_end(data, tones):
    """Also where an epoch is left half-way: the next one must not be given its remaining batches."""
    before = {process.pid for process in multiprocessing.active_children()}
    hired = SpeechData(prepare(settings("training.batch_seconds=6", "training.sort_first_epoch=true", "augment.speed=[0.9,1.1]",
                                        "training.workers=2"), tones / "train", tones / "dev"))
    next(iter(loader(hired, 3)))
    first = {process.pid for process in multiprocessing.active_children()} - before
    for epoch in (1, 2):
        for ours, theirs in zip(loader(hired, epoch), loader(data, epoch), strict=True):
            assert ours.ids == theirs.ids and torch.equal(ours.inputs, theirs.inputs) and torch.equal(ours.targets, theirs.targets)
    assert len(first) == 2 and {process.pid for process in multiprocessing.active_children()} - before == first
    hired.teardown("fit")
    assert not {process.pid for process in multiprocessing.active_children()} & first


def test_the_state_of_another_epoch_is_not_taken_over(data):
    other = loader(data, 3)
    other.load_state_dict({"epoch": 2, "taken": 4})
    assert other.taken == 0


def test_speed_is_drawn_anew_in_every_epoch(data):
    lengths = [{name: int(length) for batch in loader(data, epoch) for name, length in zip(batch.ids, batch.lengths)}
               for epoch in (1, 2)]
    changed = np.mean([lengths[0][name] != lengths[1][name] for name in lengths[0]])
    assert 0.2 < changed < 0.8


def test_dev_is_plain_and_the_longest_comes_first(data, prepared):
    batches = list(data.val_dataloader())
    assert sorted(name for batch in batches for name in batch.ids) == sorted(prepared.dev.texts)
    longest = [int(batch.lengths.max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    by_name = {utterance.id: utterance for utterance in prepared.dev.data.utterances}
    for batch in batches:
        for name, row, length in zip(batch.ids, batch.inputs, batch.lengths):
            assert torch.equal(row[:length], features(prepared, prepared.dev, by_name[name]))


def test_steps_of_the_whole_run(prepared, tones):
    plans = [len(SpeechData(prepared).sampler.plan(epoch)) for epoch in range(2)]
    assert SpeechData(prepared).total_steps() == sum(plans)
    accumulated = prepare(settings("training.batch_seconds=6", "training.sort_first_epoch=true", "training.accumulate=4"),
                          tones / "train", tones / "dev")
    assert SpeechData(accumulated).total_steps() == sum(-(-count // 4) for count in plans)


def test_training_is_warped_and_dithered_by_epoch_and_dev_is_not(tones):
    prepared = prepare(settings("augment.vtlp=[0.9,1.1]", "features.dither=1.0"), tones / "train", tones / "dev")
    data = SpeechData(prepared)
    for part, dataset, differs in ((prepared.train, data.train_set, True), (prepared.dev, data.dev_set, False)):
        plain = features(prepared, part, part.data.utterances[0]).numpy()
        first, again, other = (dataset[(epoch, 0)].inputs for epoch in (1, 1, 2))
        assert np.array_equal(first, again) and first.shape == plain.shape
        assert np.array_equal(first, other) == np.array_equal(first, plain) == (not differs)


def test_warps_lie_in_their_range_in_hundredths(tones):
    """Hundredths, so that few filterbanks are made; the banks that the extractor keeps are those it has met."""
    data = SpeechData(prepare(settings("augment.vtlp=[0.9,1.1]"), tones / "train", tones / "dev"))
    for epoch in range(30):
        data.train_set[(epoch, 0)]
    warps = [warp for warp, _ in data.train_set.transform.extractor._banks if warp != 1.0]
    assert len(warps) > 8 and min(warps) < 0.93 and max(warps) > 1.07
    assert all(0.899 < warp < 1.101 and abs(100 * warp - round(100 * warp)) < 1e-4 for warp in warps)
