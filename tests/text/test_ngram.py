from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from text.plain_ngram import entries, log10_after, plain_log10, plain_score, story

from asr.errors import DataError, UsageError
from asr.text import NgramLM, build_ngram

WORDS = ["<s>", "</s>", "a", "b", "c"]
TOY = """\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.5
-0.75\t</s>
-0.5\ta\t-0.25
-1\tb\t-0.125

\\2-grams:
-0.25\t<s> a\t-0.0625
-0.5\ta b\t-1
-1.25\tb b
-0.375\tb </s>

\\3-grams:
-0.1875\t<s> a b
-0.3125\ta b </s>

\\end\\
"""


@pytest.fixture
def toy(tmp_path: Path) -> NgramLM:
    (tmp_path / "toy.arpa").write_text(TOY)
    return NgramLM.load(tmp_path / "toy.arpa")


def arpa(grams: dict[tuple[str, ...], tuple[float, float]], order: int) -> str:
    """The file of n-grams with their probability and backoff weight."""
    by_order = [[gram for gram in grams if len(gram) == length] for length in range(1, order + 1)]
    lines = ["\\data\\", *(f"ngram {length}={len(found)}" for length, found in enumerate(by_order, start=1))]
    for length, found in enumerate(by_order, start=1):
        lines += ["", f"\\{length}-grams:"]
        lines += [f"{grams[gram][0]}\t{' '.join(gram)}" + (f"\t{grams[gram][1]}" if length < order else "") for gram in found]
    return "\n".join([*lines, "", "\\end\\", ""])


@st.composite
def models(draw: st.DrawFn, suffixes: bool = False) -> tuple[dict[tuple[str, ...], tuple[float, float]], int]:
    """Any n-grams that have their contexts and, if asked for, their suffixes; in any order, with any weights."""
    order = draw(st.integers(1, 5))
    logs = st.integers(-40, 0).map(lambda eighths: eighths / 8)  # exact in float32
    unigrams = [(word,) for word in [*WORDS, *draw(st.sampled_from([[], ["<unk>"]]))]]
    longer = draw(st.lists(st.lists(st.sampled_from(WORDS[2:]), min_size=2, max_size=order + 1), max_size=8)) if order > 1 else []
    longer += draw(st.lists(st.lists(st.sampled_from(WORDS[2:]), max_size=order - 1).map(lambda rest: ["<s>", *rest]), max_size=4))
    found = {*unigrams, *(tuple(gram[:length]) for gram in longer for length in range(1, min(len(gram), order) + 1))}
    if suffixes:  # then the inside of an n-gram is there as well
        found |= {gram[start:] for gram in found for start in range(len(gram))}
    order = max(map(len, found))
    shuffled = draw(st.permutations(sorted(found)))
    weights = st.sampled_from([0.0, 0.0, -0.5, -1.25, 0.375])
    return {gram: (draw(logs), draw(weights) if len(gram) < order else 0.0) for gram in shuffled}, order


sentences = st.lists(st.sampled_from([*WORDS[2:], "q"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(models(), st.lists(sentences, min_size=1, max_size=3), st.booleans(), st.booleans())
@example(({("<s>",): (-1.0, 0.0), ("</s>",): (-1.0, 0.0), ("a",): (-1.0, 0.0), ("b",): (-1.0, 0.0), ("c",): (-1.0, -0.5),
           ("a", "b"): (-0.5, 0.0), ("a", "b", "c"): (-0.25, 0.0)}, 3), [["a", "b", "c", "a"]], True, True)  # b c is not there
def test_scores_are_those_of_the_format(tmp_path_factory, model, texts, bos, eos):
    grams, order = model
    path = tmp_path_factory.mktemp("lm") / "random.arpa"
    path.write_text(arpa(grams, order))
    lm = NgramLM.load(path)
    assert entries(lm) == grams and lm.order == order
    for words in texts:
        plain = plain_score(grams, words, bos, eos)
        assert lm.score(" ".join(words), bos, eos) == pytest.approx(plain, abs=1e-9)
        context = tuple(word if (word,) in grams else "<unk>" for word in words)
        assert log10_after(lm, words, "b") == pytest.approx(plain_log10(grams, context, "b"), abs=1e-9)


def test_every_ngram_of_a_larger_model_is_found():
    lm = build_ngram(story(), 4)
    grams = entries(lm)
    assert len(grams) > 5000
    assert {gram: log10_after(lm, gram[:-1], gram[-1]) for gram in grams} == {gram: prob for gram, (prob, _) in grams.items()}


@settings(max_examples=60, deadline=None)
@given(models(suffixes=True), st.lists(sentences, min_size=1, max_size=5))
def test_scores_are_those_of_kenlm(tmp_path_factory, model, texts):
    kenlm = pytest.importorskip("kenlm")
    grams, order = model
    if order == 1:
        grams, order = grams | {("a", "b"): (-0.5, 0.0)}, 2  # KenLM reads no models of order 1
    path = tmp_path_factory.mktemp("lm") / "random.arpa"
    path.write_text(arpa(grams, order))
    lm, peer = NgramLM.load(path), kenlm.Model(str(path))
    for words in texts:
        for bos, eos in ((True, True), (False, False)):
            text = " ".join(words)
            assert lm.score(text, bos, eos) == pytest.approx(peer.score(text, bos, eos), abs=1e-4)


def test_scores_worked_out_by_hand(toy):
    assert toy.score("a b") == -0.25 - 0.1875 - 0.3125
    assert toy.score("b") == (-0.5 - 1) - 0.375  # <s> b is not there
    assert toy.score("a b", bos=False, eos=False) == -0.5 - 0.5
    assert toy.score("a b b") == -0.25 - 0.1875 + (-1 - 1.25) - (0.375)  # after a b: its weight; b b has none, so 0
    assert toy.score("a q b") == -0.25 + (-0.0625 - 0.25 - 1.5) + -1 - 0.375  # after q nothing is remembered
    assert toy.score("") == -0.5 - 0.75
    assert toy.score("", bos=False, eos=False) == 0


def test_attributes(toy):
    assert toy.words == ["<unk>", "<s>", "</s>", "a", "b"] and toy.index["b"] == 4
    assert (toy.order, toy.unk, toy.bos, toy.eos) == (3, 0, 1, 2)
    assert toy.encode("b  a\tq\n").tolist() == [4, 3, -1]


def test_a_state_holds_no_more_than_what_matters(toy):
    """So that two histories that foretell the same are one state, and a beam search can merge them."""
    from asr.text.ngram_query import advance, initial_state

    arrays = toy.arrays
    after_b = advance(arrays, 0, toy.index["b"])[1]
    assert advance(arrays, after_b, toy.index["b"])[1] == after_b  # nothing follows b b, and its weight is 1
    assert advance(arrays, initial_state(arrays), -1)[1] == 0
    a_b = advance(arrays, advance(arrays, 0, toy.index["a"])[1], toy.index["b"])[1]
    assert advance(arrays, advance(arrays, initial_state(arrays), toy.index["a"])[1], toy.index["b"])[1] == a_b


@pytest.mark.parametrize("unk", ["<UNK>", None])
def test_unknown_words(toy, tmp_path, unk):
    text = TOY.replace("<unk>", unk) if unk else TOY.replace("-1.5\t<unk>\t0\n", "").replace("1=5", "1=4")
    (tmp_path / "lm.arpa").write_text(text)
    lm = NgramLM.load(tmp_path / "lm.arpa")
    assert (lm.unk >= 0) == bool(unk)
    assert lm.score("a q", eos=False) == -0.25 - 0.0625 - 0.25 + (-1.5 if unk else -100)


def test_perplexity(toy):
    found = toy.perplexity(["a b", "", "q b"])
    assert (found.sentences, found.words, found.unknown) == (3, 7, 1)
    assert found.log10_prob == pytest.approx(sum(map(toy.score, ["a b", "", "q b"])))
    assert found.perplexity == pytest.approx(10 ** (-found.log10_prob / 7))
    assert found.log10_prob_known == pytest.approx(found.log10_prob + 0.5 + 1.5)  # q after <s>: its weight, and <unk>
    assert found.perplexity_known == pytest.approx(10 ** (-found.log10_prob_known / 6))


def test_perplexity_beyond_what_a_float_holds(toy, tmp_path):
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-0.5 </s>\n-999 zero\n\n\\end\\\n")
    found = NgramLM.load(tmp_path / "lm.arpa").perplexity(["zero"])
    assert found.perplexity == found.perplexity_known == math.inf


def test_perplexity_of_marked_sentences(toy):
    for line in ("<s> a", "a </s>"):
        with pytest.raises(DataError, match="line 3 of the text holds <s> or </s>"):
            toy.perplexity(["a b", "", line, "a"])


def test_perplexity_of_one_text_in_place_of_lines(toy):
    with pytest.raises(UsageError, match="sentences: expected lines"):
        toy.perplexity("a b")


def test_perplexity_of_nothing(toy):
    with pytest.raises(DataError, match="the text has no line"):
        toy.perplexity([])


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
@pytest.mark.parametrize(("order", "prune"), [(1, [0]), (2, [0]), (5, [0, 0, 1])])
def test_saved_and_loaded_is_the_same(tmp_path, name, order, prune):
    lm = build_ngram(["the cat sat on the mat", "the dog sat", "ü \u2028 \u00a0x"] * 3 + ["a dog"], order, prune)
    lm.save(tmp_path / name)
    again = NgramLM.load(tmp_path / name)
    assert again.words == lm.words
    for ours, theirs in zip(lm.tables, again.tables, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs))
    again.save(tmp_path / f"again-{name}")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")


def test_saving_fails_whole(toy, tmp_path):
    with pytest.raises(OSError):
        toy.save(tmp_path / "toy.arpa" / "lm.arpa")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.arpa"]


def test_models_load_without_torch_and_text_without_numba():
    code = ("import sys; sys.modules['torch'] = sys.modules['numba'] = None; import asr.text\n"
            "from asr.text import NgramLM, build_ngram\n"
            "print(build_ngram(['a b'], 2).words)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['<unk>', '<s>', '</s>', 'a', 'b']\n"
    code = ("import sys; sys.modules['torch'] = None; from asr.text import build_ngram\n"
            "print(build_ngram(['a b'], 2).score('a'))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0


def test_an_absent_name_is_an_attribute_error():
    import asr.text

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asr.text.nothing
