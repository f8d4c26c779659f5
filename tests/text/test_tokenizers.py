from __future__ import annotations

import itertools
import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from asr.config import TokenizerConfig
from asr.errors import DataError, ModelError, UsageError
from asr.text import BpeTokenizer, CharTokenizer, Tokenizer, build_tokenizer, check_round_trip, load_tokenizer

TEXTS = ["hello world", "the cat's hat", "größe über alles", "東京 タワー", "naïve 5 %"]


def both(unk: bool = False) -> list[Tokenizer]:
    return [CharTokenizer.train(TEXTS, unk), BpeTokenizer.train(TEXTS, 60, unk)]


def clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


@pytest.mark.parametrize("unk", [False, True])
@pytest.mark.parametrize("which", [0, 1])
def test_blank_is_zero_and_texts_come_back(which: int, unk: bool) -> None:
    tokenizer = both(unk)[which]
    assert tokenizer.tokens[0] == "<blank>"
    assert (tokenizer.tokens[1] == "<unk>") is unk
    assert tokenizer.vocab_size == len(tokenizer.tokens) == len(set(tokenizer.tokens))
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert all((1 if unk else 0) < token < tokenizer.vocab_size for token in ids)
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


def test_characters_are_sorted_and_the_space_is_visible() -> None:
    tokenizer = CharTokenizer.train(["b a", "\u200b"])
    assert tokenizer.tokens == ["<blank>", "<space>", "a", "b", "<U+200B>"]
    assert tokenizer.encode("ab ba") == [2, 3, 1, 3, 2]


def test_bpe_has_the_size_asked_for_and_its_model_files_ids(tmp_path) -> None:
    import sentencepiece

    for unk in (False, True):
        tokenizer = BpeTokenizer.train(TEXTS, 60, unk)
        assert tokenizer.vocab_size == 60
        tokenizer.save(tmp_path)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
        assert tokenizer.encode("hello") == [index + unk for index in processor.encode("hello")]


def test_bpe_training_is_deterministic_and_order_does_not_matter() -> None:
    assert BpeTokenizer.train(TEXTS, 60).state() == BpeTokenizer.train(TEXTS[::-1], 60).state()


def test_a_transcript_that_says_unk_is_text() -> None:
    tokenizer = BpeTokenizer.train(["<unk>"], 8)
    assert tokenizer.unencodable("<unk>") == [] and tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"


def test_a_long_transcript_is_learnt_from() -> None:
    tokenizer = BpeTokenizer.train(["short", "x" * 5000 + "y"], 12)  # SentencePiece drops such lines by default
    assert tokenizer.unencodable("xy") == []


@pytest.mark.parametrize("unk", [False, True])
def test_impossible_vocab_size_names_the_possible_one(unk: bool) -> None:
    with pytest.raises(UsageError, match=r"vocab_size 5000: the largest possible for this text is (\d+)") as largest:
        BpeTokenizer.train(TEXTS, 5000, unk)
    with pytest.raises(UsageError, match=r"vocab_size 5: the smallest possible for this text is (\d+)") as smallest:
        BpeTokenizer.train(TEXTS, 5, unk)
    for raised in (largest, smallest):
        size = int(str(raised.value).split(" is ")[1].split()[0])
        assert BpeTokenizer.train(TEXTS, size, unk).vocab_size == size
        beyond = size + 1 if raised is largest else size - 1
        with pytest.raises(UsageError, match=f"is {size} "):
            BpeTokenizer.train(TEXTS, beyond, unk)


def test_training_bpe_is_silent() -> None:
    code = ("from asr.text import BpeTokenizer\n"
            "BpeTokenizer.train(['hello world', 'hello there'], 20)\n"
            "try: BpeTokenizer.train(['hello'], 500)\n"
            "except Exception as error: assert 'largest' in str(error)\n")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
@example(["\u2581 a", "b"])
@example(["<unk> <s> </s>", "u n k"])
@example(["e\u0301 \u00e9 \u1e9e"])
def test_any_unicode_survives_characters(texts: list[str]) -> None:
    assume(any(clean(text) for text in texts))
    tokenizer = CharTokenizer.train(texts)
    again = Tokenizer.from_state(json.loads(json.dumps(tokenizer.state())))
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == clean(text)
        assert again.encode(text) == tokenizer.encode(text)
    check_round_trip(tokenizer, {str(index): clean(text) for index, text in enumerate(texts)})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\u2581\u2585"), max_size=30),
                min_size=1, max_size=6))
@example(["<unk> <s> </s>", "u n k"])
@example(["e\u0301 \u00e9 \u1e9e"])
def test_any_unicode_survives_bpe(texts: list[str]) -> None:
    assume(any(clean(text) for text in texts))
    alphabet = set().union(*map(clean, texts)) | {" "}
    tokenizer = BpeTokenizer.train(texts, len(alphabet) + 1)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == clean(text)


def test_what_sentencepiece_cannot_learn_is_reported() -> None:
    texts = {"u1": "hello", "u2": "a\0b", "u3": "\u2585", "u4": "h\u2581o"}
    with pytest.raises(DataError, match=r"U\+0000 \(no name\): u2") as raised:
        check_round_trip(BpeTokenizer.train(texts.values(), 8), texts)
    assert "'\u2585' (U+2585): u3" in str(raised.value) and "'\u2581' (U+2581): u4" in str(raised.value)


@given(st.lists(st.integers(0, 59), max_size=30))
def test_words_have_their_tokens(ids: list[int]) -> None:
    for tokenizer in both():
        ids = [token % tokenizer.vocab_size for token in ids]
        spans = tokenizer.word_spans(ids)
        assert " ".join(word for word, _, _ in spans) == tokenizer.decode(ids)
        assert all(start < end for _, start, end in spans)
        assert all(before[2] <= after[1] for before, after in itertools.pairwise(spans))
        for word, start, end in spans:
            assert tokenizer.decode(ids[start:end]) == word


def test_word_spans_by_hand() -> None:
    tokenizer = CharTokenizer.train(["ab cd"])
    assert tokenizer.word_spans(tokenizer.encode("ab cd")) == [("ab", 0, 2), ("cd", 3, 5)]
    assert tokenizer.word_spans([0, 1, 2, 0, 3, 1, 1]) == [("ab", 2, 5)]


def test_unencodable_text_is_refused_unless_unk() -> None:
    for tokenizer in both():
        assert tokenizer.unencodable("hello Qq\u2581") == ["Q", "q", "\u2581"]
        with pytest.raises(DataError, match=r"'Q' \(U\+0051\)"):
            tokenizer.encode("Q")
    for tokenizer in both(unk=True):
        assert 1 in tokenizer.encode("hello Q")
        assert tokenizer.decode(tokenizer.encode("hello Q\u2581")) in ("hello <unk>", "hello <unk><unk>")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("unk", [False, True])
def test_saved_and_loaded_is_the_same(tmp_path, which: int, unk: bool) -> None:
    tokenizer = both(unk)[which]
    tokenizer.save(tmp_path / "new" / "folder")
    again = load_tokenizer(tmp_path / "new" / "folder")
    assert type(again) is type(tokenizer) and again.tokens == tokenizer.tokens and again.state() == tokenizer.state()
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    lines = (tmp_path / "new" / "folder" / "tokens.txt").read_text(encoding="utf-8").split("\n")
    assert lines[:-1] == [f"{token} {index}" for index, token in enumerate(tokenizer.tokens)]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == \
        [*(["bpe.model"] if tokenizer.kind == "bpe" else []), "tokenizer.json", "tokens.txt"]


def test_saving_characters_removes_the_bpe_model_that_was_there(tmp_path) -> None:
    for tokenizer in reversed(both()):
        tokenizer.save(tmp_path)
    assert not (tmp_path / "bpe.model").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 99}', "\udcff",
                                     '{"format":1,"kind":"bpe","unk":false,"normalizer":{"name":"none","version":1},"model":"AAAA"}',
                                     '{"format":1,"kind":"bpe","unk":false,"normalizer":{"name":"none","version":1},"model":"?"}',
                                     '{"format":1,"kind":"char","unk":false,"normalizer":{"name":"none","version":1},"characters":["ab"]}',
                                     '{"format":1,"kind":"word","unk":false,"normalizer":{"name":"none","version":1}}',
                                     '{"format":1,"kind":"char","unk":false,"normalizer":{"name":"?","version":1},"characters":"ab"}'])
def test_damaged_tokenizer_is_a_clear_error(tmp_path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"tokenizer\.json: "):
        load_tokenizer(tmp_path)


def test_absent_tokenizer_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        load_tokenizer(tmp_path / "nowhere")


def test_normaliser_travels_with_the_tokenizer(tmp_path) -> None:
    tokenizer = build_tokenizer(["Hello, World!"], TokenizerConfig(normalizer="basic"))
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.decode(again.encode("WORLD hello?")) == "world hello"
    check_round_trip(again, {"u1": "Hello, World!"})


def test_other_version_of_a_normaliser_is_said(caplog) -> None:
    state = CharTokenizer.train(["ab"]).state()
    state["normalizer"]["version"] = 0
    Tokenizer.from_state(state)
    assert "normaliser none version 0" in caplog.text


def test_build_tokenizer_follows_the_configuration(tmp_path) -> None:
    assert build_tokenizer(TEXTS, TokenizerConfig()).kind == "char"
    made = build_tokenizer(TEXTS, TokenizerConfig(kind="bpe", vocab_size=60, normalizer="basic"))
    assert (made.kind, made.vocab_size, made.unk) == ("bpe", 60, False)
    made.save(tmp_path)
    assert build_tokenizer([], TokenizerConfig(dir=str(tmp_path), normalizer="basic")).state() == made.state()
    with pytest.raises(UsageError, match=r"set tokenizer\.normalizer: basic"):
        build_tokenizer([], TokenizerConfig(dir=str(tmp_path)))


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda texts: BpeTokenizer.train(texts, 10)])
def test_no_text_is_an_error(train) -> None:
    with pytest.raises(DataError, match="every transcript is empty"):
        train(["", "  "])
