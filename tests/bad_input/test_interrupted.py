"""A disk that is full, and a process that is killed: nothing half-made is left, and the same command then finishes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from collections.abc import Iterator

import pytest
from bad_input.commands import decode, features, train, transcribe, untidy

from asr.cli import main


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: to the program, what a full disk is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_a_batch_is_saved(asr, corpus):
    with largest_file(4000):
        ended = asr(*train(corpus, "--set", "training.optimizer.lr=1e30", "--set", "training.gradient_clip=0", "--set",
                           "training.schedule.warmup_steps=0"))
    assert ended.status == 1 and ".pt: File too large; free some space" in ended.err, ended.err
    assert not list((corpus / "exp" / "nonfinite").iterdir())


def test_a_full_disk_while_features_are_written(asr, corpus):
    with largest_file(8000):
        ended = asr(*features(corpus))
    assert ended.status == 1 and ".ark: File too large; free some space, then run the same again" in ended.err
    assert not list((corpus / "train" / "features").iterdir()) and not (corpus / "train" / "feats.scp").exists()
    assert asr(*features(corpus)).status == 0
    assert len((corpus / "train" / "feats.scp").read_text().splitlines()) == 12


def test_a_full_disk_while_decoding(asr, corpus):
    with largest_file(200):
        ended = asr(*decode(corpus))
    assert ended.status == 1 and f"{corpus / 'out'}: cannot write the decode folder: File too large" in ended.err
    assert not list((corpus / "out").iterdir())
    assert asr(*decode(corpus)).status == 0 and json.loads((corpus / "out" / "decode.json").read_text())["decoded"] == 12


def test_a_full_disk_while_transcribing(asr, corpus):
    with largest_file(0):
        ended = asr(*transcribe(corpus, corpus / "dev" / "wav", "--out", corpus / "out"))
    assert ended.status == 1 and "ledger.jsonl: cannot write: File too large; free some space" in ended.err
    with largest_file(1200):
        ended = asr(*transcribe(corpus, corpus / "dev" / "wav", "--out", corpus / "out", "--format", "txt,json"))
    assert ended.status == 1 and ".wav.json: cannot write: File too large; what is done is kept" in ended.err
    assert not untidy(corpus / "out") and not list((corpus / "out").glob("*.wav.json"))
    assert asr(*transcribe(corpus, corpus / "dev" / "wav", "--out", corpus / "out", "--format", "txt,json")).status == 0
    assert len(list((corpus / "out").glob("*.wav.json"))) == len(list((corpus / "out").glob("*.wav.txt"))) == 4


@pytest.mark.parametrize("size", [6000, 20000])
def test_a_full_disk_while_training(asr, corpus, size):
    """At the first weights, and later at the checkpoint; the run goes on when there is space again."""
    with largest_file(size):
        ended = asr(*train(corpus))
    assert ended.status == 1 and "File too large; free some space, then run the same again" in ended.err, ended.err
    assert not (corpus / "exp" / "model.safetensors").exists() and not untidy(corpus / "exp")
    assert asr(*train(corpus, "--resume")).status == 0
    assert asr("decode", "--model", corpus / "exp" / "model.safetensors", "--data", corpus / "dev", "--out",
               corpus / "out").status == 0


class Killed(BaseException):
    """Not an Exception, so nothing on the way handles it."""


@pytest.mark.parametrize("command", [features, decode])
def test_killed_at_any_rename_leaves_whole_files_and_a_rerun_finishes(asr, corpus, monkeypatch, command):
    """The rename is the moment a file gets its name: killed at each in turn, every file under a final name is whole."""
    arguments = command(corpus)
    assert asr(*arguments).status == 0
    folders = (corpus / "out",) if command is decode else (corpus / "train" / "features", corpus / "train")
    wanted = {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}
    original, calls = os.replace, 0
    for call in range(1, 20):
        for path in wanted:
            if command is decode or path.parent.name == "features" or path.name in ("feats.scp", "cmvn.scp", "utt2num_frames"):
                path.unlink(missing_ok=True)
        calls = 0

        def dying(source, target, call=call):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            original(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            patch.setattr(sys, "argv", ["asr", *map(str, arguments)])
            with contextlib.suppress(Killed, SystemExit):
                main.main()
        if calls < call:
            break
        for path, content in wanted.items():
            assert not path.exists() or path.name == "decode.json" or path.read_bytes() == content
        if command is decode:
            assert not (corpus / "out" / "decode.json").exists()  # the sign that a folder is complete comes last
        assert asr(*arguments).status == 0
        assert all(path.read_bytes() == content for path, content in wanted.items() if path.name != "decode.json")
    assert call > 3  # it was killed at several places
