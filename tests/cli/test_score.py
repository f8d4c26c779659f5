from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from cli.command import heard

from asr.errors import DataError
from asr.scoring import load_scores

run = functools.partial(heard, "score")


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    ref.write_text("".join(f"u{number:03d} a b c\n" for number in range(100)))
    hyp.write_text(ref.read_text().replace("u001 a b c", "u001 a b").replace("u002 a b", "u002 x y")
                   .replace("u003 a", "u003 A"))
    return ref, hyp


def test_prints_kaldis_line_and_the_interval(texts) -> None:
    done = run("--ref", texts[0], "--hyp", texts[1])
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "%WER 1.33 [ 4 / 300, 0 ins, 1 del, 3 sub ]"
    assert lines[1].startswith("95 % interval [ ") and lines[1].endswith("], bootstrap over 100 utterances")
    assert lines[2:] == ["%SER 3.00 [ 3 / 100 ], %MER 1.33, %WIL 2.32", "normaliser none (version 1), rules edit (version 1)"]


def test_writes_the_folder(texts, tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("".join(f"u{number:03d} s{number % 4}\n" for number in range(100)))
    done = run("--ref", texts[0], "--hyp", texts[1], "--out", tmp_path / "out", "--cer", "--normalizer", "basic",
               "--utt2spk", tmp_path / "utt2spk")
    assert done.returncode == 0, done.stderr
    assert "%WER 1.00 [ 3 / 300" in done.stdout and "  %WER 1.33 [ 4 / 300" in done.stdout and "%CER" in done.stdout
    totals = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert totals["words"]["errors"] == 3 and totals["unnormalized"]["words"]["errors"] == 4
    assert len((tmp_path / "out" / "per_speaker.tsv").read_text().splitlines()) == 5


def test_hypotheses_that_change_make_the_score_void(texts, tmp_path: Path) -> None:
    assert run("--ref", texts[0], "--hyp", texts[1], "--out", tmp_path).returncode == 0
    assert load_scores(tmp_path).errors == 4
    texts[1].write_text(texts[0].read_text())
    with pytest.raises(DataError, match="hyp is not what scores.json was made of"):
        load_scores(tmp_path)


def test_missing_hypotheses(texts) -> None:
    texts[1].write_text("u000 a b c\n")
    refused = run("--ref", texts[0], "--hyp", texts[1])
    assert refused.returncode == 1 and refused.stdout == ""
    assert "99 of 100 references have no hypothesis" in refused.stderr and "Traceback" not in refused.stderr
    partial = run("--ref", texts[0], "--hyp", texts[1], "--partial")
    assert partial.returncode == 0
    assert partial.stdout.startswith("%WER 0.00 [ 0 / 3, 0 ins, 0 del, 0 sub ] [PARTIAL] 1 of 100 utterances\n")


def test_wrong_use_is_status_2(texts, tmp_path: Path) -> None:
    assert run("--ref", texts[0], "--hyp", tmp_path / "absent").returncode == 2
    assert run("--ref", texts[0], "--hyp", texts[1], "--normalizer", "baisc").returncode == 2
    assert run("--ref", texts[0]).returncode == 2


def test_nothing_is_written_when_the_score_is_refused(texts, tmp_path: Path) -> None:
    texts[1].write_text("u000 a b c\n")
    assert run("--ref", texts[0], "--hyp", texts[1], "--out", tmp_path / "out").returncode == 1
    assert not (tmp_path / "out").exists()


def test_times_tables_and_frequent_errors(tmp_path: Path) -> None:
    (tmp_path / "r.stm").write_text(";; a comment\nrec A ann 0 1.5 so {um / @} yes\nrec A bob 1.5 2 (uh) no\n")
    (tmp_path / "h.ctm").write_text("rec A 0.1 0.2 SO 0.9\nrec A 0.6 0.2 yes\nrec A 1.6 0.2 now\n")
    done = run("--ref", tmp_path / "r.stm", "--hyp", tmp_path / "h.ctm", "--by", "speaker, duration", "--top", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("%WER 25.00 [ 1 / 4, 0 ins, 0 del, 1 sub ]\n")
    assert "rules sclite (version 1)\n\nspeaker  utts  words   %WER" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["bob", "1", "2", "50.00", "0", "0", "1"] in rows and ["below", "1", "s", "1", "2", "50.00", "0", "0", "1"] in rows
    assert "most confused:\n     1  no -> now\n" in done.stdout
    unknown = run("--ref", tmp_path / "r.stm", "--hyp", tmp_path / "h.ctm", "--by", "room")
    assert unknown.returncode == 2 and "known: speaker, recording, duration" in unknown.stderr


def test_formats_can_be_named(texts) -> None:
    assert run("--ref", texts[0], "--hyp", texts[1], "--ref-format", "kaldi").returncode == 2
    refused = run("--ref", texts[0], "--hyp", texts[1], "--hyp-format", "ctm")
    assert refused.returncode == 2 and "cannot be scored against" in refused.stderr
