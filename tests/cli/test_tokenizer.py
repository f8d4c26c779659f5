from __future__ import annotations

import functools
from pathlib import Path

import pytest
from cli.command import heard

from asr.text import load_tokenizer

run = functools.partial(heard, "tokenizer")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("u1 hello world\nu2 the other\nu3\n")
    return path


def test_characters(text: Path, tmp_path: Path) -> None:
    done = run("--text", text, "--kind", "char", "--out", tmp_path / "out")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[0] == "10 tokens: <blank> <space> d e h l o r t w"
    assert load_tokenizer(tmp_path / "out").decode([4, 3]) == "he"


def test_bpe(text: Path, tmp_path: Path) -> None:
    done = run("--text", text, "--kind", "bpe", "--vocab-size", 16, "--out", tmp_path / "out", "--unk")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("16 tokens: <blank> <unk> ")
    assert (tmp_path / "out" / "bpe.model").exists()


def test_phones(text: Path, tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("hello HH L OW\nother AH DH ER\nworld W ER L D\nthe DH AH\nthe(2) DH IY\n")
    phones = ("--text", text, "--kind", "phone", "--lexicon", tmp_path / "lexicon.txt", "--out", tmp_path / "out")
    done = run(*phones)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.splitlines()[0] == "11 tokens: <blank> <space> AH D DH ER HH IY L OW W"
    assert (tmp_path / "out" / "lexicon.txt").read_text().splitlines()[-1] == "the DH IY"
    text.write_text("u1 hello hell\n")
    done = run(*phones)
    assert done.returncode == 1 and "no pronunciation of 'hell': u1" in done.stderr and "add them to the lexicon" in done.stderr
    assert run(*phones, "--unk").returncode == 0
    assert load_tokenizer(tmp_path / "out").tokens[:3] == ["<blank>", "<unk>", "<space>"]


def test_plain_lines_and_normaliser(text: Path, tmp_path: Path) -> None:
    text.write_text("U1, Hello!\nworld\n")
    done = run("--text", text, "--plain", "--normalizer", "basic", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    tokenizer = load_tokenizer(tmp_path / "out")
    assert tokenizer.normalizer == "basic" and tokenizer.decode(tokenizer.encode("u1 Hello")) == "u1 hello"


def test_transcripts_that_would_change_are_named(text: Path, tmp_path: Path) -> None:
    text.write_text("u1 caf\u00e9\nu2 cafe\u0301\n", encoding="utf-8")
    done = run("--text", text, "--out", tmp_path / "out")
    assert done.returncode == 1 and "NFC (composed) form: u2" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--kind", "bpe"], "needs --vocab-size"),
    (["--kind", "bpe", "--vocab-size", "9999"], "the largest possible for this text is"),
    (["--kind", "char", "--vocab-size", "30"], "--vocab-size is for --kind bpe"),
    (["--kind", "words"], "Invalid value"),
    (["--kind", "phone"], "--kind phone needs --lexicon FILE"),
    (["--kind", "char", "--lexicon", "lexicon.txt"], "--kind phone needs --lexicon FILE, and no other kind does"),
    (["--kind", "phone", "--lexicon", "absent.txt"], "absent.txt: cannot read"),
    (["--normalizer", "nothing"], "unknown normaliser 'nothing'"),
])
def test_wrong_use(text: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("--text", text, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2 and message in done.stderr
