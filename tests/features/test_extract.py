"""Archives written from a data directory: whole, resumable, equal to features on the fly, honest about failures."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import kaldi_native_fbank as knf
import kaldiio
import numpy as np
import pytest
import torch
from speech_signals import speech

from asr import audio
from asr.config import FeatureConfig, load_config
from asr.corpus import DataDir, SpeechDataset, Utterance, collate
from asr.corpus.archive import read_matrix
from asr.errors import DataError, UsageError
from asr.features import CmvnStats, FrontEnd, build_extractor, speaker_stats
from asr.features.archive import foreign, write_archive
from asr.features.extract import extract, folder_of

CONFIG = FeatureConfig(num_mel_bins=23)


def corpus(folder: Path, count: int = 24) -> DataDir:
    """Utterances of three speakers in ``folder``/data, the last two as spans of one recording."""
    utterances, wav = [], {}
    for index in range(count):
        key = f"{'abc'[index % 3]}-{index:02d}"
        wav[key] = str(folder / "wav" / f"{key}.wav")
        audio.write(wav[key], speech(0.2 + 0.05 * index, seed=index), 16000)
        utterances.append(Utterance(key, key, "abc"[index % 3], f"word {index}"))
    last = utterances[-1]
    utterances[-1:] = [Utterance(last.id, last.recording, last.speaker, last.text, 0.0, 0.3),
                       Utterance(last.id + "x", last.recording, last.speaker, last.text, 0.3, 0.8)]
    data = DataDir.from_utterances(utterances, wav)
    data.save(folder / "data")
    return DataDir.load(folder / "data")


def read_archive(scp: Path) -> dict[str, np.ndarray]:
    """All matrices of a table by key, read at once and by another hand than ours."""
    return dict(kaldiio.load_scp(str(scp)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_archives_and_the_front_end_agree(tmp_path):
    data = corpus(tmp_path)
    found = extract(data, CONFIG)
    assert not found.failed and len(found.positions) == len(data)
    again = DataDir.load(tmp_path / "data")
    assert again.check() == []
    stored = read_archive(tmp_path / "data" / "feats.scp")
    examples = [SpeechDataset(again, 16000)[0, index] for index in range(len(again))]
    batch = collate(examples)
    features, frames = FrontEnd(FeatureConfig(num_mel_bins=23, cmvn="none"))(batch.inputs, batch.lengths)
    archived = collate([SpeechDataset(again, 16000, archived=True)[0, index] for index in range(len(again))])
    torch.testing.assert_close(archived.inputs, features, rtol=0, atol=1e-5)
    assert torch.equal(archived.lengths, frames)
    lines = (tmp_path / "data" / "utt2num_frames").read_text().splitlines()
    assert lines == [f"{key} {count}" for key, count in zip(batch.ids, frames.tolist())]
    assert all(matrix.dtype == np.float32 for matrix in stored.values())
    for utterance, example in zip(again.utterances, examples):
        assert again.duration(utterance) == pytest.approx(len(example.inputs) / 16000, abs=1e-6)


def test_statistics_beside_the_archives(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    stored = read_archive(tmp_path / "data" / "feats.scp")
    speakers = read_archive(tmp_path / "data" / "cmvn.scp")
    assert set(speakers) == {"a", "b", "c"}
    for speaker, matrix in speakers.items():
        mine = np.concatenate([features for key, features in stored.items() if key.startswith(speaker)])
        np.testing.assert_allclose(matrix, np.asarray(knf.compute_cmvn_stats(mine)), rtol=1e-4)
    everyone = read_matrix(f"{tmp_path}/data/features/global_cmvn.ark:7", "everyone")
    np.testing.assert_allclose(everyone, sum(speakers.values()))
    live = speaker_stats(DataDir.load(tmp_path / "data"), FrontEnd(FeatureConfig(num_mel_bins=23, cmvn="speaker")))
    archived = speaker_stats(DataDir.load(tmp_path / "data"), FrontEnd(FeatureConfig(num_mel_bins=23, cmvn="speaker")), True)
    for speaker, matrix in speakers.items():
        expected = CmvnStats.from_matrix(matrix).normalizer().numpy()
        np.testing.assert_allclose(live[speaker], expected, rtol=1e-4)
        np.testing.assert_allclose(archived[speaker], expected, rtol=1e-4)
    assert load_config(tmp_path / "data/features/features.yaml").features == CONFIG


def test_processes_change_no_byte(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    before = contents(tmp_path / "data")
    for path in (tmp_path / "data" / "features").iterdir():
        path.unlink()
    extract(data, CONFIG, jobs=2)
    assert contents(tmp_path / "data") == before


def test_an_interrupted_run_goes_on(tmp_path):
    data = corpus(tmp_path)

    def stop(parts: Iterable, count: int) -> Iterable:
        yield next(iter(parts))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, CONFIG, watch=stop)
    folder = tmp_path / "data" / "features"
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.ark")}
    assert len(done) == 1 and not (tmp_path / "data" / "feats.scp").exists()
    extract(data, CONFIG)
    assert len(list(folder.glob("feats.*.ark"))) == 3
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    everything = contents(tmp_path / "data")
    extract(data, CONFIG)
    assert contents(tmp_path / "data") == everything
    cut = next(iter(done))
    cut.write_bytes(cut.read_bytes()[:-10])  # a disk that lost the end: noticed by the size, written again
    extract(data, CONFIG)
    assert contents(tmp_path / "data") == everything


def test_another_configuration_or_other_audio_replaces_the_archives(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    first = set((tmp_path / "data" / "features").glob("feats.*"))
    extract(data, FeatureConfig(kind="mfcc"))
    second = set((tmp_path / "data" / "features").glob("feats.*"))
    assert not first & second and len(second) == len(first)
    assert next(iter(read_archive(tmp_path / "data" / "feats.scp").values())).shape[1] == 13
    before = read_archive(tmp_path / "data" / "feats.scp")["a-00"]
    audio.write(data.wav["a-00"], speech(0.9, seed=77), 16000)
    extract(data, FeatureConfig(kind="mfcc"))
    assert not np.allclose(read_archive(tmp_path / "data" / "feats.scp")["a-00"], before)


def test_a_bad_utterance_is_named_and_left_out(tmp_path):
    data = corpus(tmp_path, 30)
    Path(data.wav["b-04"]).write_bytes(b"not audio")
    found = extract(data, CONFIG)
    assert set(found.failed) == {"b-04"} and "b-04.wav: cannot read" in found.failed["b-04"]
    assert set(read_archive(tmp_path / "data" / "feats.scp")) == {u.id for u in data.utterances} - {"b-04"}
    audio.write(data.wav["b-04"], speech(0.02), 16000)
    assert "20.0 ms" in extract(data, CONFIG).failed["b-04"]
    audio.write(data.wav["b-04"], speech(0.4), 16000)
    assert not extract(data, CONFIG).failed


def test_too_many_bad_utterances_write_no_table(tmp_path):
    data = corpus(tmp_path)
    for key in ("a-00", "b-04"):
        Path(data.wav[key]).write_bytes(b"")
    before = {path.name for path in (tmp_path / "data").iterdir()}
    with pytest.raises(DataError, match=r"2 of 25 utterances gave no features(.|\n)*a-00"):
        extract(data, CONFIG)
    assert {path.name for path in (tmp_path / "data").iterdir()} == before | {"features", ".features.lock"}
    assert not list((tmp_path / "data" / "features").glob("*cmvn*"))


def test_compression_is_kaldis_and_close(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    plain = read_archive(tmp_path / "data" / "feats.scp")
    size = sum(path.stat().st_size for path in (tmp_path / "data" / "features").glob("feats.*.ark"))
    extract(data, CONFIG, compress=True)
    packed = read_archive(tmp_path / "data" / "feats.scp")
    small = sum(path.stat().st_size for path in (tmp_path / "data" / "features").glob("feats.*.ark"))
    assert small < 0.4 * size
    for key, features in plain.items():
        assert np.abs(packed[key] - features).mean() < 0.05


def test_features_elsewhere(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG, out=tmp_path / "elsewhere")
    assert not (tmp_path / "data" / "features").exists()
    folder = folder_of(tmp_path / "data", tmp_path / "elsewhere")
    assert folder.parent == tmp_path / "elsewhere" and folder.name.startswith("data.")
    assert f" {folder}/feats." in (tmp_path / "data" / "feats.scp").read_text()


def test_directories_share_a_folder(tmp_path):
    """Of equal names even, and with features of different kinds: neither touches what is the other's."""
    one, two = corpus(tmp_path / "one", 12), corpus(tmp_path / "two", 15)
    extract(one, CONFIG, tmp_path / "out")
    tables = {name: read_archive(tmp_path / f"one/data/{name}") for name in ("feats.scp", "cmvn.scp")}
    extract(two, FeatureConfig(kind="mfcc"), tmp_path / "out")
    for name, before in tables.items():
        after = read_archive(tmp_path / f"one/data/{name}")
        assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)
    assert one.check() == two.check() == []
    assert foreign(DataDir.load(one.path).feats.values(), CONFIG) == []


def test_a_subset_is_told_that_its_archives_are_gone(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    subset = DataDir.load(tmp_path / "data").select([utterance.id for utterance in data.utterances[:12]])
    subset.save(tmp_path / "subset")
    assert subset.check() == []
    before = read_matrix(subset.cmvn["a"], "a")
    extract(data, CONFIG.model_copy(update={"preemphasis": 0.5}))
    assert data.check() == [] and not np.array_equal(before, read_matrix(DataDir.load(data.path).cmvn["a"], "a"))
    subset = DataDir.load(tmp_path / "subset")
    assert {(fault.file, fault.line) for fault in subset.check()} == {("feats.scp", 1), ("feats.scp", 11), ("cmvn.scp", 1)}
    assert all("No such file" in fault.message and "asr features" in fault.cure for fault in subset.check())
    for archives in (subset.feats, subset.cmvn):
        with pytest.raises(DataError, match=r"x: cannot read .*: No such file or directory; write it again with `asr features`"):
            read_matrix(next(iter(archives.values())), "x")


def test_a_copy_of_a_directory_has_archives_of_its_own(tmp_path):
    data = corpus(tmp_path)
    extract(data, CONFIG)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    extract(DataDir.load(tmp_path / "copy"), CONFIG)
    extract(data, FeatureConfig(kind="mfcc"))
    assert DataDir.load(tmp_path / "copy").check() == []
    assert str(tmp_path / "data") not in (tmp_path / "copy" / "feats.scp").read_text()


def test_two_runs_at_once_do_not_mix(tmp_path):
    data = corpus(tmp_path)

    def meanwhile(parts: Iterable, count: int) -> Iterable:
        yield from parts
        with pytest.raises(UsageError, match=r"data: another process \(\d+ on .*\) is writing its features; wait for it"):
            extract(data, FeatureConfig(kind="mfcc"), out=tmp_path / "elsewhere")

    extract(data, CONFIG, watch=meanwhile)
    assert data.check() == [] and not (tmp_path / "elsewhere").exists()
    extract(data, CONFIG)


def test_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="save it first"):
        extract(DataDir.from_utterances([], {}), CONFIG)
    with pytest.raises(UsageError, match="--jobs 0"):
        extract(corpus(tmp_path), CONFIG, jobs=0)


# --------------------------------------------------------------------------------------------------- archives


def test_archive_round_trip(tmp_path):
    matrices = {"ü-1": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), "b": np.ones((2, 3)),
                "c": np.zeros((1, 3), np.float32)}
    positions = write_archive(tmp_path / "x.ark", matrices.items())
    for key, matrix in matrices.items():
        found = read_matrix(positions[key], key)
        assert found.dtype == matrix.dtype
        np.testing.assert_array_equal(found, matrix)


def test_archive_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield "a", np.ones((2, 2))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_archive(tmp_path / "x.ark", broken())
    assert list(tmp_path.iterdir()) == []


def test_archives_that_cannot_be_read(tmp_path):
    positions = write_archive(tmp_path / "x.ark", [("a", np.ones((4, 4)))])
    for position in (str(tmp_path / "none.ark:5"), positions["a"].replace(":2", ":7"), ""):
        with pytest.raises(DataError, match="asr features"):
            read_matrix(position, "u1")
    (tmp_path / "x.ark").write_bytes((tmp_path / "x.ark").read_bytes()[:40])
    with pytest.raises(DataError, match="u1: cannot read"):
        read_matrix(positions["a"], "u1")


def test_extractor_alone_gives_what_is_stored(tmp_path):
    data = corpus(tmp_path)
    for kind in ("fbank", "mfcc", "spectrogram"):
        config = FeatureConfig(kind=kind)
        extract(data, config)
        stored = read_archive(tmp_path / "data" / "feats.scp")
        for utterance in data.utterances[:3]:
            samples = torch.from_numpy(data.audio(utterance, 16000))[None]
            features, _ = build_extractor(config)(samples, torch.tensor([samples.shape[1]]))
            np.testing.assert_array_equal(stored[utterance.id], features[0].numpy())
