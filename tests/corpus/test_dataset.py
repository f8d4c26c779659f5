"""Examples and batches: reproducible, whatever the number of workers; and what CTC cannot learn is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.corpus import Batch, BatchSampler, DataDir, Example, SpeechDataset, collate, labels_needed, untrainable
from asr.errors import AudioError, DataError

TARGETS = {"ann-1": [1, 2], "ann-2": [3], "bob-1": [4, 5, 6], "bob-2": [7], "cid-1": []}


def add_noise(samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return samples + generator.normal(0, 0.1, len(samples)).astype(np.float32)


def test_an_item(plain: DataDir) -> None:
    dataset = SpeechDataset(plain, 16000, TARGETS)
    assert len(dataset) == 5
    item = dataset[0, 2]
    assert (item.id, item.speaker, item.targets.tolist()) == ("bob-1", "bob", [4, 5, 6])
    assert (item.inputs.dtype, item.inputs.shape, item.targets.dtype) == (np.float32, (19200,), np.int64)
    np.testing.assert_array_equal(item.inputs, plain.audio(plain.utterances[2], 16000))
    assert SpeechDataset(plain, 16000)[0, 2].targets.shape == (0,)


def test_draws_are_a_function_of_seed_epoch_and_item(plain: DataDir) -> None:
    def item(seed: int, epoch: int, index: int) -> np.ndarray:
        return SpeechDataset(plain, 8000, TARGETS, add_noise, seed)[epoch, index].inputs

    np.testing.assert_array_equal(item(1, 2, 3), item(1, 2, 3))
    expected = add_noise(plain.audio(plain.utterances[3], 8000), np.random.default_rng([1, 2, 3]))
    np.testing.assert_array_equal(item(1, 2, 3), expected)
    for other in (item(2, 2, 3), item(1, 3, 3)):
        assert not np.array_equal(item(1, 2, 3), other)


def batches(data: DataDir, workers: int, start: int = 0) -> list[Batch]:
    sampler = BatchSampler([data.duration(u) for u in data.utterances], 2.5, 2, seed=5)
    sampler.epoch, sampler.start = 4, start
    dataset = SpeechDataset(data, 8000, TARGETS, add_noise, seed=5)
    return list(torch.utils.data.DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers))


def test_workers_and_resuming_change_nothing(plain: DataDir) -> None:
    here, elsewhere, resumed = batches(plain, 0), batches(plain, 2), batches(plain, 2, start=1)
    assert sorted(id for batch in here for id in batch.ids) == sorted(TARGETS)
    for ours, theirs in ((here, elsewhere), (here[1:], resumed)):
        assert [batch.ids for batch in ours] == [batch.ids for batch in theirs]
        for one, other in zip(ours, theirs):
            torch.testing.assert_close(one.inputs, other.inputs, rtol=0, atol=0)
            assert torch.equal(one.targets, other.targets)


@given(shapes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=6),
       width=st.none() | st.integers(1, 4))
def test_collate_pads_with_zeros(shapes: list[tuple[int, int]], width: int | None) -> None:
    generator = np.random.default_rng(0)
    examples = [Example(f"u{n}", f"s{n}", generator.normal(size=(length,) if width is None else (length, width)).astype(
        np.float32), generator.integers(1, 9, labels)) for n, (length, labels) in enumerate(shapes)]
    batch = collate(examples)
    assert len(batch) == len(examples)
    assert batch.ids == [e.id for e in examples]
    assert batch.speakers == [e.speaker for e in examples]
    assert (batch.inputs.dtype, batch.lengths.dtype, batch.targets.dtype, batch.target_lengths.dtype) == (
        torch.float32, torch.int64, torch.int64, torch.int64)
    for row, (example, (length, labels)) in enumerate(zip(examples, shapes)):
        assert (int(batch.lengths[row]), int(batch.target_lengths[row])) == (length, labels)
        np.testing.assert_array_equal(batch.inputs[row, :length].numpy(), example.inputs)
        np.testing.assert_array_equal(batch.targets[row, :labels].numpy(), example.targets)
        assert not batch.inputs[row, length:].any()
        assert not batch.targets[row, labels:].any()


def test_archived_features(plain: DataDir, tmp_path: Path) -> None:
    import kaldiio

    features = {u.id: np.random.default_rng(n).normal(size=(90 + n, 4)).astype(np.float32)
                for n, u in enumerate(plain.utterances)}
    kaldiio.save_ark(str(tmp_path / "f.ark"), features, scp=str(tmp_path / "plain" / "feats.scp"))
    data = DataDir.load(tmp_path / "plain")
    dataset = SpeechDataset(data, 8000, TARGETS, archived=True)
    np.testing.assert_array_equal(dataset[0, 1].inputs, features["ann-2"])
    batch = collate([dataset[0, 0], dataset[0, 4]])
    assert batch.inputs.shape == (2, 94, 4)
    assert batch.lengths.tolist() == [90, 94]
    with pytest.raises(DataError, match="archived features allow none"):
        SpeechDataset(data, 8000, TARGETS, add_noise, archived=True)
    (tmp_path / "f.ark").write_bytes(b"ann-1 junk")
    with pytest.raises(DataError, match=r"utterance ann-2: cannot read .*f\.ark:\d+: position \d+ is beyond .*asr features"):
        dataset[0, 1]


def test_what_is_missing_is_named(plain: DataDir) -> None:
    with pytest.raises(DataError, match=r"4 utterance\(s\) without targets: ann-2, bob-1"):
        SpeechDataset(plain, 8000, {"ann-1": [1]})
    with pytest.raises(DataError, match=r"5 utterance\(s\) without features"):
        SpeechDataset(plain, 8000, TARGETS, archived=True)


def test_audio_that_cannot_be_read_is_named_when_it_is_drawn(plain: DataDir) -> None:
    Path(plain.wav["ann-2"]).write_bytes(b"")
    with pytest.raises(AudioError, match=r"ann-2\.wav: cannot read"):
        SpeechDataset(plain, 8000)[0, 1]


def test_labels_needed() -> None:
    assert [labels_needed(labels) for labels in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2, 2])] == [0, 1, 2, 3, 8]


@given(labels=st.lists(st.integers(1, 3), max_size=6), frames=st.integers(1, 12))
def test_untrainable_is_what_torch_calls_infinite(labels: list[int], frames: int) -> None:
    loss = torch.nn.functional.ctc_loss(torch.zeros(frames, 1, 4).log_softmax(-1), torch.tensor([labels]),
                                        torch.tensor([frames]), torch.tensor([len(labels)]), reduction="sum")
    assert (untrainable({"u": labels}, {"u": frames}) == []) == bool(torch.isfinite(loss))
    assert untrainable({"u": labels}, {"u": 0}) == ([("u", 0, labels_needed(labels))] if labels else [])
