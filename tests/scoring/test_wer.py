from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain_edit_distance import edit_distance

from asr.errors import DataError, UsageError
from asr.scoring import Counts, error_rate, score

WORD = st.sampled_from(["a", "b", "c", "5", "ab", "\u6771\u4eac", "e\u0301", "\u00e9"])
TEXT = st.lists(WORD, max_size=8).map(" ".join)


@pytest.mark.parametrize(("ref", "hyp", "counts"), [
    ("the cat sat", "the cat sat", Counts(3, 0, 0, 0)),
    ("the cat sat", "the bat sat", Counts(3, 0, 0, 1)),
    ("the cat sat", "the sat", Counts(3, 0, 1, 0)),
    ("the cat sat", "the cat now sat", Counts(3, 1, 0, 0)),
    ("the cat sat", "", Counts(3, 0, 3, 0)),
    ("5", "7", Counts(1, 0, 0, 1)),
    ("the the the", "the the", Counts(3, 0, 1, 0)),
    ("a", "a a a", Counts(1, 2, 0, 0)),
    ("\u00e9t\u00e9", "ete", Counts(1, 0, 0, 1)),
    ("a  b ", " a\tb", Counts(2, 0, 0, 0)),
    ("a b", "a\nb\n", Counts(2, 0, 0, 0)),
    ("A", "a", Counts(1, 0, 0, 1)),
])
def test_counts_by_hand(ref: str, hyp: str, counts: Counts) -> None:
    scores = score({"u": ref}, {"u": hyp})
    assert scores.words == counts
    assert (scores.insertions, scores.deletions, scores.substitutions) == \
        (counts.insertions, counts.deletions, counts.substitutions)
    assert scores.wer == pytest.approx(counts.errors / counts.reference)
    assert error_rate([ref], [hyp]) == scores.wer


def test_kaldi_lines() -> None:
    references = {f"u{number}": "a b c" for number in range(100)}
    hypotheses = references | {"u1": "a b", "u2": "x b c", "u3": "x b y"}
    scores = score(references, hypotheses, cer=True)
    assert scores.kaldi_line() == "%WER 1.33 [ 4 / 300, 0 ins, 1 del, 3 sub ]"
    assert scores.ser_line() == "%SER 3.00 [ 3 / 100 ]"
    assert scores.cer_line() == "%CER 1.00 [ 5 / 500, 0 ins, 2 del, 3 sub ]"
    assert score(references, hypotheses).cer_line() is None and score(references, hypotheses).cer is None


def test_characters_count_the_spaces_between_words() -> None:
    scores = score({"u": "ab  cd"}, {"u": "abcd"}, cer=True)
    assert scores.characters == Counts(5, 0, 1, 0)
    assert scores.cer == 0.2 == error_rate(["ab  cd"], ["abcd"], characters=True)


def test_one_character_lines_are_counted() -> None:
    # jiwer's own command drops such lines, and pairs the later ones wrongly.
    references = {"u1": "5", "u2": "", "u3": "one two", "u4": "a"}
    scores = score(references, {"u1": "7", "u2": "", "u3": "one two", "u4": "a"})
    assert scores.kaldi_line() == "%WER 25.00 [ 1 / 4, 0 ins, 0 del, 1 sub ]"


@given(st.dictionaries(st.text("uvw", min_size=1), st.tuples(TEXT, TEXT), min_size=1, max_size=6))
@example({"u": ("a", ""), "v": ("", "a")})
def test_errors_are_the_fewest_possible(pairs: dict[str, tuple[str, str]]) -> None:
    references = {utterance: "z " + ref for utterance, (ref, _) in pairs.items()}  # some word, so that a rate exists
    hypotheses = {utterance: hyp for utterance, (_, hyp) in reversed(pairs.items())}  # another order: pairing is by id
    scores = score(references, hypotheses, cer=True)
    for row in scores.per_utterance:
        ref, hyp = references[row.id].split(), hypotheses[row.id].split()
        assert row.words.errors == edit_distance(ref, hyp)
        assert row.words.reference == len(ref)
        assert len(ref) - row.words.deletions + row.words.insertions == len(hyp)
        assert row.characters.errors == edit_distance(" ".join(ref), " ".join(hyp))
        assert row.characters.reference == len(" ".join(ref))
        letters = [letter for letter, _, _ in row.pairs()]
        assert [ours for _, ours, _ in row.pairs() if ours is not None] == ref
        assert [theirs for _, _, theirs in row.pairs() if theirs is not None] == hyp
        assert all((letter == "C") == (ours == theirs) for letter, ours, theirs in row.pairs())
        assert (letters.count("I"), letters.count("D"), letters.count("S")) == \
            (row.words.insertions, row.words.deletions, row.words.substitutions)
    assert scores.words == sum((row.words for row in scores.per_utterance), Counts())
    assert scores.characters == sum((row.characters for row in scores.per_utterance), Counts())
    assert scores.wrong_sentences == sum(references[u].split() != hypotheses[u].split() for u in references)
    assert sum(scores.confusions().values()) == scores.errors
    assert [row.id for row in scores.per_utterance] == list(references)


@given(st.lists(st.tuples(st.sampled_from("xyz"), TEXT, TEXT), min_size=1, max_size=12))
def test_speakers_sum_to_the_whole(rows: list[tuple[str, str, str]]) -> None:
    ids = [f"u{number}" for number in range(len(rows))]
    scores = score({u: "z " + ref for u, (_, ref, _) in zip(ids, rows)}, {u: hyp for u, (_, _, hyp) in zip(ids, rows)},
                   cer=True, utt2spk={u: speaker for u, (speaker, _, _) in zip(ids, rows)})
    speakers = scores.per_speaker.values()
    assert list(scores.per_speaker) == sorted({speaker for speaker, _, _ in rows})
    assert sum((speaker.words for speaker in speakers), Counts()) == scores.words
    assert sum((speaker.characters for speaker in speakers), Counts()) == scores.characters
    assert sum(speaker.utterances for speaker in speakers) == scores.utterances
    assert sum(speaker.wrong_sentences for speaker in speakers) == scores.wrong_sentences


def test_more_pairs_than_one_call_to_jiwer_takes(monkeypatch) -> None:
    references = {f"u{number}": f"a b{number % 7}" for number in range(25)}
    hypotheses = {u: text if int(u[1:]) % 3 else "a" for u, text in references.items()}
    whole = score(references, hypotheses)
    monkeypatch.setattr("asr.scoring.align._PAIRS_PER_CALL", 4)
    assert score(references, hypotheses).per_utterance == whole.per_utterance


def test_confusions() -> None:
    scores = score({"u1": "the cat sat", "u2": "a cat"}, {"u1": "the bat", "u2": "oh a bat"})
    # Between two alignments of equal weight, a pair comes last, as in sclite: "cat" is missed, "sat" is heard as "bat".
    assert scores.confusions() == {("D", "cat", None): 1, ("S", "sat", "bat"): 1, ("S", "cat", "bat"): 1, ("I", None, "oh"): 1}


def test_empty_references_count_insertions() -> None:
    scores = score({"u1": "", "u2": "yes", "u3": ""}, {"u1": "uh huh", "u2": "yes", "u3": ""})
    assert scores.kaldi_line() == "%WER 200.00 [ 2 / 1, 2 ins, 0 del, 0 sub ]"
    assert scores.ser_line() == "%SER 33.33 [ 1 / 3 ]"
    assert [row.words.rate for row in scores.per_utterance] == [None, 0.0, None]


def test_no_reference_word_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="WER is undefined: the 2 references hold no word"):
        score({"u1": "", "u2": " "}, {"u1": "", "u2": "a"})
    with pytest.raises(DataError, match=r"after normaliser basic \(version 1\)"):
        score({"u1": "?!"}, {"u1": "a"}, normalizer="basic")
    with pytest.raises(DataError, match="undefined"):
        error_rate([""], ["a"])
    with pytest.raises(DataError, match="no utterances"):
        score({}, {})


def test_missing_hypotheses_are_an_error_unless_partial() -> None:
    references = {f"u{number}": "a b" for number in range(8)}
    with pytest.raises(DataError, match=r"7 of 8 references have no hypothesis: u1, u2, u3, u4, u5 and 2 more; .*--partial"):
        score(references, {"u0": "a b"})
    scores = score(references, {"u0": "a", "u7": "a b"}, partial=True)
    assert scores.kaldi_line() == "%WER 25.00 [ 1 / 4, 0 ins, 1 del, 0 sub ] [PARTIAL] 2 of 8 utterances"
    assert scores.missing == ["u1", "u2", "u3", "u4", "u5", "u6"]
    assert "PARTIAL" not in score(references, references, partial=True).kaldi_line()
    with pytest.raises(DataError, match="none of the 8 references has a hypothesis"):
        score(references, {}, partial=True)


@pytest.mark.parametrize("partial", [False, True])
def test_a_hypothesis_without_a_reference_is_an_error(partial: bool) -> None:
    with pytest.raises(DataError, match="1 of 2 hypotheses have no reference: u9"):
        score({"u1": "a"}, {"u1": "a", "u9": "a"}, partial=partial)


def test_files_are_read_and_their_faults_named(tmp_path) -> None:
    ref, hyp, speakers = (tmp_path / name for name in ("ref", "hyp", "utt2spk"))
    ref.write_text("u1 a b\nu2 c\n")
    hyp.write_text("u2 c\nu1 a\n")
    speakers.write_text("u1 x\nu2 y\n")
    scores = score(ref, str(hyp), utt2spk=speakers)
    assert (scores.errors, scores.reference_words, list(scores.per_speaker)) == (1, 3, ["x", "y"])
    hyp.write_text("u2 c\nu1 a\nu2 c\n")
    with pytest.raises(DataError, match="hyp:3: u2 appears a second time"):
        score(ref, hyp)
    hyp.write_text("u2 c\n")
    with pytest.raises(DataError, match=r"hyp do not match .*ref: 1 of 2 references have no hypothesis: u1"):
        score(ref, hyp)
    speakers.write_text("u1 x\nu2\n")
    with pytest.raises(DataError, match="utt2spk: no speaker for 1 of 2 utterances: u2"):
        score(ref, ref, utt2spk=speakers)
    with pytest.raises(UsageError, match="cannot read"):
        score(ref, tmp_path / "absent")


def test_a_normalised_score_shows_the_other_too() -> None:
    scores = score({"u": "Hello, World!"}, {"u": "hello world"}, normalizer="basic", cer=True)
    assert (scores.errors, str(scores.normalizer)) == (0, "basic (version 1)")
    assert scores.unnormalized.errors == 2 and scores.unnormalized.characters.errors == 4
    assert str(scores.unnormalized.normalizer) == "none (version 1)"
    assert scores.per_utterance[0].reference == ["hello", "world"]
    assert score({"u": "a"}, {"u": "a"}).unnormalized is None
    with pytest.raises(UsageError, match="unknown normaliser"):
        score({"u": "a"}, {"u": "a"}, normalizer="klingon")


def test_error_rate_wants_lists_of_one_length() -> None:
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        error_rate(["a", "b"], ["a"])
