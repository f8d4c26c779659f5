from __future__ import annotations

import functools
import gzip
from pathlib import Path

import pytest
from cli.command import here, process

from asr.text import CharTokenizer, NgramLM

run = functools.partial(process, "lm")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat\nthe dog sat on the cat\n\nThe End\n")
    return path


def test_build_and_perplexity(text: Path, tmp_path: Path) -> None:
    done = run("build", "--text", text, "--order", 2, "--out", tmp_path / "lm.arpa.gz")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/lm.arpa.gz: order 2, 10 1-grams, 13 2-grams\n"
    assert done.stderr.startswith("too little text for the discounts of 1-grams")
    assert gzip.decompress((tmp_path / "lm.arpa.gz").read_bytes()).startswith(b"\\data\\\nngram 1=10\n")
    found = NgramLM.load(tmp_path / "lm.arpa.gz").perplexity(text.read_text().splitlines())
    done = run("perplexity", "--lm", tmp_path / "lm.arpa.gz", "--text", text)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == (f"perplexity {found.perplexity:.2f} over 15 words and sentence ends of 4 sentences\nno unknown words\n"
                           f"log10 probability {found.log10_prob:.4f}\n")


def test_kaldi_text_normaliser_pruning_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("u1 The cat, the dog\nu2 the cat\nu3\n")
    (tmp_path / "words.txt").write_text("<eps> 0\nthe 1\ncat 2\n\ncow 3\n<UNK> 4\n#0 5\n<s> 6\n</s> 7\n")  # as Kaldi has it
    assert here(monkeypatch, "lm", "build", "--text", tmp_path / "text", "--kaldi", "--normalizer", "basic", "--order", 3,
                "--prune", "0,1", "--vocab", tmp_path / "words.txt", "--out", tmp_path / "lm.arpa") == 0
    lm = NgramLM.load(tmp_path / "lm.arpa")
    assert lm.words == ["<unk>", "<s>", "</s>", "cat", "cow", "the"]
    assert [len(table.word) for table in lm.tables] == [6, 2, 1]  # <s> the, the cat; <s> the cat


def test_unknown_words_are_counted(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    here(monkeypatch, "lm", "build", "--text", text, "--order", 1, "--out", tmp_path / "lm.arpa")
    (tmp_path / "dev").write_text("u1 the cow\nu2 sat\n")
    capsys.readouterr()
    assert here(monkeypatch, "lm", "perplexity", "--lm", tmp_path / "lm.arpa", "--text", tmp_path / "dev", "--kaldi") == 0
    assert "without the 1 unknown words (33.33 %)\n" in capsys.readouterr().out
    closed = "".join(line for line in (tmp_path / "lm.arpa").read_text().replace("1=10", "1=9").splitlines(True)
                     if "<unk>" not in line)
    (tmp_path / "closed.arpa").write_text(closed)
    here(monkeypatch, "lm", "perplexity", "--lm", tmp_path / "closed.arpa", "--text", tmp_path / "dev", "--kaldi")
    assert "the model has no <unk>, so each of them counts as 10^-100" in capsys.readouterr().out


def test_a_model_of_tokens(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    CharTokenizer.train(["the cat sat on dogz THE END"], normalizer="nfc").save(tmp_path / "tokens")
    assert here(monkeypatch, "lm", "build", "--text", text, "--tokenizer", tmp_path / "tokens", "--order", 4,
                "--out", tmp_path / "lm.arpa") == 0
    lm = NgramLM.load(tmp_path / "lm.arpa")
    assert "<space>" in lm.index and "z" in lm.index and "<blank>" not in lm.index and "cat" not in lm.index
    capsys.readouterr()
    here(monkeypatch, "lm", "perplexity", "--lm", tmp_path / "lm.arpa", "--text", text, "--tokenizer", tmp_path / "tokens")
    assert "of 4 sentences\nno unknown words\n" in capsys.readouterr().out
    text.write_text("the cat\nq\n")
    here(monkeypatch, "lm", "build", "--text", text, "--tokenizer", tmp_path / "tokens", "--out", tmp_path / "no.arpa")
    assert "line 2 of the text: no token for 'q'" in capsys.readouterr().err
    assert not (tmp_path / "no.arpa").exists()


def test_a_broken_model_is_named_with_its_line(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\nx\t</s>\n\\end\\\n")
    assert here(monkeypatch, "lm", "perplexity", "--lm", tmp_path / "lm.arpa", "--text", text) == 1
    assert capsys.readouterr().err.startswith(f'asr: error: {tmp_path}/lm.arpa:6: "x" is no log10 probability')


@pytest.mark.parametrize(("arguments", "message"), [
    (["build", "--prune", "0,x"], "--prune 0,x: whole numbers with commas are needed"),
    (["build", "--prune", "1"], "thresholds 1: the first"),
    (["build", "--order", "6"], "Invalid value"),
    (["build", "--normalizer", "nothing"], "unknown normaliser 'nothing'"),
    (["build", "--vocab", "absent.txt"], "absent.txt: no such file of words"),
    (["build", "--tokenizer", "absent"], "absent/tokenizer.json: no such tokenizer; `asr tokenizer` makes one"),
    (["perplexity", "--lm", "absent.arpa"], "absent.arpa: no such ARPA file; `asr lm build` writes one"),
])
def test_wrong_use(text: Path, tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    out = ["--out", tmp_path / "lm.arpa"] if arguments[0] == "build" else []
    assert here(monkeypatch, "lm", *arguments, "--text", text, *out) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lm.arpa").exists()


def test_a_tokenizer_has_its_own_words_and_normaliser(text: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    CharTokenizer.train(["the"]).save(tmp_path / "tokens")
    for extra in (["--normalizer", "basic"], ["--vocab", text]):
        assert here(monkeypatch, "lm", "build", "--text", text, "--out", tmp_path / "lm.arpa", "--tokenizer", tmp_path / "tokens",
                    *extra) == 2
        assert f"{extra[0]} is for models of words" in capsys.readouterr().err
