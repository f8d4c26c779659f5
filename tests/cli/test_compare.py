from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from cli.command import heard

run = functools.partial(heard, "compare")


@pytest.fixture
def texts(tmp_path: Path) -> list[object]:
    lines = [f"u{number:03d} a b c\n" for number in range(100)]
    for name, text in (("ref", "".join(lines)), ("a", "".join(lines).replace("1 a b", "1 a x")),
                       ("b", "".join(lines).replace("u001 a b", "u001 a x"))):
        (tmp_path / name).write_text(text)
    (tmp_path / "utt2spk").write_text("".join(f"u{number:03d} s{number % 20:02d}\n" for number in range(100)))
    return ["--ref", tmp_path / "ref", "--hyp-a", tmp_path / "a", "--hyp-b", tmp_path / "b"]


def test_prints_both_and_the_verdict(texts, tmp_path: Path) -> None:
    done = run(*texts, "--name-a", "old", "--name-b", "new", "--out", tmp_path / "out")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("old: %WER 3.33 [ 10 / 300, ") and lines[1].startswith("new: %WER 0.33 [ 1 / 300, ")
    assert lines[2] == "difference 3.00 points (old less new)"
    assert lines[3].startswith("paired bootstrap over 100 utterances: 95 % interval [ ") and "MAPSSWE over 10 segments" in lines[4]
    assert lines[-1].startswith("new is better than old: 3.00 points of WER, 90 % of its errors")
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["better"] == "new"


def test_draws_speakers_where_they_are_known(texts, tmp_path: Path) -> None:
    assert "over 20 speakers" in run(*texts, "--utt2spk", tmp_path / "utt2spk").stdout
    (tmp_path / "data").mkdir()
    (tmp_path / "utt2spk").rename(tmp_path / "data" / "utt2spk")
    assert "over 20 speakers" in run(*texts, "--data", tmp_path / "data").stdout


def test_bad_input(texts, tmp_path: Path) -> None:
    assert run(*texts, "--name-a", "B").returncode == 2
    (tmp_path / "b").write_text("u000 a b c\n")
    refused = run(*texts)
    assert refused.returncode == 1 and "99 of 100 references have no hypothesis" in refused.stderr
    parted = run(*texts, "--partial")
    assert parted.returncode == 1 and "B has no score of 99 utterances" in parted.stderr
    assert run(*texts[:4]).returncode == 2
    assert run(*texts[:4], "--hyp-b", tmp_path / "absent").returncode == 2
