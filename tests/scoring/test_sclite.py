"""sclite's rules: by hand from its documentation, and against sclite itself where it is installed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sctk import needs_sctk, sclite

from asr.errors import DataError
from asr.scoring import Counts, score


@pytest.mark.parametrize(("ref", "hyp", "operations"), [
    ("a b c", "a x c", "CSC"),
    ("", "uh", "I"),
    ("", "", ""),
    ("a", "", "D"),
    ("5", "7", "S"),
    ("a a a", "a a", "DCC"),                                  # repeats: the pair comes last
    ("a b c d e", "v w a b c", "IICCCDD"),                    # 4 errors where 5 substitutions weigh 20, these 12
    ("i've {um / uh / @} as far", "i've as far", "CCC"),      # the example of sclite's manual
    ("i've {um / uh / @} as far", "i've uh as far", "CCCC"),
    ("{a b / c} d", "c d", "CC"),
    ("{a b / c} d", "a b d", "CCC"),
    ("{ {a/b} c / d } e", "b c e", "CCC"),                    # alternations within one
    ("{a/b}{c/d} e", "b d e", "CCC"),
    ("x", "{ a / x }", "C"),
    ("(uh) yes (no)", "yes no", "dCC"),
    ("a b", "a (uh) b", "CiC"),
    ("a @ b", "a b", "CC"),
    ("@", "a", "I"),
    ("a", "@", "D"),
    ("b yes; x;y", "b yes x;z", "CCC"),                       # word;tag
    ("q* b*", "q b", "CC"),
    ("The CAT", "the cat", "CC"),
    ("\u00c9t\u00e9 Stra\u00dfe", "\u00e9t\u00e9 STRA\u00dfE", "SC"),  # only A to Z are folded
    ("{ a / / b }", "b", "C"),
    ("a- b", "ax b", "SC"),
])
def test_by_hand(ref: str, hyp: str, operations: str) -> None:
    row = score({"u": ref, "v": "z"}, {"u": hyp, "v": "z"}, rules="sclite").per_utterance[0]
    assert row.operations == operations
    assert row.words == Counts(len(operations) - operations.count("I"), operations.count("I"), operations.count("D"),
                               operations.count("S"))


def test_weights_can_prefer_more_errors() -> None:
    """Five substitutions weigh 20, three insertions and three deletions 18: the known difference to the fewest errors."""
    ref, hyp = "a b c d e", "d e x y z"
    light, fewest = (score({"u": ref}, {"u": hyp}, rules=rules) for rules in ("sclite", "edit"))
    assert (light.errors, fewest.errors) == (6, 5)
    assert fewest.agreement.more == ["u"] and fewest.agreement.sclite == light.words
    ref, hyp = "a b c", "x y z"
    assert score({"u": ref}, {"u": hyp}, rules="sclite").per_utterance[0].operations == "SSS"


def test_case_can_be_told_apart() -> None:
    assert score({"u": "The (Uh) cat"}, {"u": "the cat"}, rules="sclite-cased").per_utterance[0].operations == "SdC"


def test_words_shown_are_those_of_the_branch_taken() -> None:
    row = score({"u": "so {um / i mean} (uh) Yes"}, {"u": "so i mean yes"}, rules="sclite", cer=True).per_utterance[0]
    assert (row.reference, row.hypothesis) == (["so", "i", "mean", "(uh)", "Yes"], ["so", "i", "mean", "yes"])
    assert row.slots == (0, 1, 1, 2, 3)
    assert row.characters == Counts(13, 0, 0, 0)  # "so i mean yes": a forgiven word is on neither side


def test_a_normaliser_works_between_the_marks() -> None:
    scores = score({"u": "I've {Um, / uh-huh / @} (Uh!) $5."}, {"u": "i've uh huh five dollars"}, rules="sclite",
                   normalizer="english")
    assert scores.per_utterance[0].operations == "CCCdCC"
    assert scores.unnormalized is not None and scores.unnormalized.errors > 0


@pytest.mark.parametrize(("text", "fault"), [
    ("{ a / b", "not closed by }"), ("a } b", "closing brace without an opening one: }"), ("x{a / b}", "a brace within a word: x{"),
    ("{ / }", "an alternation without a word"), ("{ a {b / c }", "not closed by }"),
])
def test_a_malformed_alternation_is_named(text: str, fault: str) -> None:
    with pytest.raises(DataError, match="utterance u7: the reference is malformed: ") as caught:
        score({"u7": text}, {"u7": "a"}, rules="sclite")
    assert fault in str(caught.value)


def test_too_many_words_with_alternations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.scoring.rules._CELLS", 20)
    with pytest.raises(DataError, match="utterance u: .* cut the recording into segments"):
        score({"u": "{a / b} c d e f"}, {"u": "a b c d e"}, rules="sclite")


WORDS = ["a", "b", "c", "d", "A", "(a)", "(b)", "@", "\u00e9", "\u00c9", "\u6771\u4eac", "b;t", "c*", "5"]


def text(rnd: random.Random, depth: int = 0, alternatives: float = 0.2) -> str:
    words = []
    for _ in range(rnd.choice([0, 1, 1, 2, 3, 4, 6, 9, 20]) if depth == 0 else rnd.choice([1, 1, 2, 3])):
        if rnd.random() < alternatives and depth < 3:
            words.append("{ " + " / ".join(text(rnd, depth + 1) for _ in range(rnd.randint(1, 3))) + " }")
        else:
            words.append(rnd.choice(WORDS))
    return " ".join(words)


@needs_sctk
@pytest.mark.parametrize(("seed", "alternatives", "rules", "options"), [
    (1, 0.0, "sclite", ("-D",)), (2, 0.2, "sclite", ("-D",)), (3, 0.4, "sclite", ("-D",)), (4, 0.2, "sclite-cased", ("-D", "-s")),
])
def test_alignments_are_sclites(tmp_path: Path, seed: int, alternatives: float, rules: str, options: tuple[str, ...]) -> None:
    """Not the counts alone: every step of every utterance."""
    rnd = random.Random(seed)
    rows = [(text(rnd, 0, alternatives), text(rnd, 0, alternatives / 10)) for _ in range(1500)] + [("a", "a")]
    for name, side in (("r.trn", 0), ("h.trn", 1)):
        (tmp_path / name).write_text("".join(f"{row[side]} (s-{number})\n" for number, row in enumerate(rows)), "utf-8")
    theirs = sclite(tmp_path, "r.trn", "h.trn", *options)
    ours = score(tmp_path / "r.trn", tmp_path / "h.trn", rules=rules)
    assert len(theirs) == ours.utterances == len(rows)
    for row in ours.per_utterance:
        assert row.operations.replace("d", "C").replace("i", "C") == theirs[row.id,][0], rows[int(row.id[2:])]


@needs_sctk
def test_plain_words_over_long_utterances_are_sclites(tmp_path: Path) -> None:
    rnd = random.Random(5)
    rows = []
    for _ in range(300):
        words = "abcdefgh"[:rnd.randint(1, 8)]
        rows.append([" ".join(rnd.choice(words) for _ in range(rnd.randint(0, 90))) for _ in range(2)])
    rows.append(["a", "a"])
    for name, side in (("r.trn", 0), ("h.trn", 1)):
        (tmp_path / name).write_text("".join(f"{row[side]} (s-{number})\n" for number, row in enumerate(rows)))
    theirs = sclite(tmp_path, "r.trn", "h.trn")
    assert {(row.id,): [row.operations] for row in score(tmp_path / "r.trn", tmp_path / "h.trn").per_utterance} == theirs
