"""Three ways of counting: equal where they must be, explained where they may part, an error elsewhere."""

from __future__ import annotations

import random

import pytest

from asr.errors import AsrError
from asr.scoring import agreement, score, summary
from asr.scoring.align import Counts

REFERENCES = {"u1": "a b c", "u2": "d e", "u3": "a b c d e"}
HYPOTHESES = {"u1": "a x c", "u2": "d", "u3": "d e x y z"}


@pytest.mark.parametrize("rules", ["edit", "sclite"])
def test_all_ways_agree_on_random_texts(rules: str) -> None:
    rnd = random.Random(4)
    texts = [{f"u{number}": " ".join(rnd.choice(["a", "b", "c", "A", "(b)", "{ a / b c }", "@"][:7 if rules == "sclite" else 4])
                                     for _ in range(rnd.randint(0, 30))) for number in range(400)} for _ in range(2)]
    scores = score(*texts, rules=rules)  # it checks
    assert scores.agreement.sclite.errors >= scores.agreement.fewest.errors
    if rules == "edit":
        assert scores.words == scores.agreement.fewest and scores.agreement.more


def test_where_conventions_part_is_said() -> None:
    scores = score(REFERENCES, HYPOTHESES)
    assert scores.agreement.more == ["u3"]
    assert (scores.agreement.fewest.errors, scores.agreement.sclite.errors) == (7, 8)
    assert "by sclite's weights %WER 80.00 [ 8 / 10, 3 ins, 4 del, 1 sub ], by the fewest errors 7; they part in 1 utterance: u3" \
        in summary(scores)
    assert "sclite's weights" not in summary(score({"u": "a b"}, {"u": "a c"}))


def test_jiwers_other_count_is_an_error_with_the_utterance(monkeypatch: pytest.MonkeyPatch) -> None:
    true = agreement.jiwer_counts

    def one_too_many(references: list[list[str]], hypotheses: list[list[str]]) -> Counts:
        return true(references, hypotheses) + Counts(insertions=["d", "e"] in references)

    monkeypatch.setattr(agreement, "jiwer_counts", one_too_many)
    with pytest.raises(AsrError, match=r"utterance u2: two ways of counting disagree \(ours and jiwer's\): %WER 50.00 \[ 1 / 2"):
        score(REFERENCES, HYPOTHESES)


@pytest.mark.parametrize(("rules", "wrong", "whose"), [
    ("edit", "DIC", "ours and sclite's"),   # heavier, and other than the fewest errors would have it
    ("sclite", "SC", "sclite's, twice"),
])
def test_another_alignment_of_sclites_is_an_error(monkeypatch: pytest.MonkeyPatch, rules: str, wrong: str, whose: str) -> None:
    true = agreement.align

    def careless(references, hypotheses, weights):
        for ref, operations in zip(references, true(references, hypotheses, weights)):
            yield wrong if ref == ["d", "e"] and weights == agreement.SCLITE else operations

    monkeypatch.setattr(agreement, "align", careless)
    with pytest.raises(AsrError, match=f"utterance u2: two ways of counting disagree \\({whose}\\)"):
        score(REFERENCES, HYPOTHESES, rules=rules)
