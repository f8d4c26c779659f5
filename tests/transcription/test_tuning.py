"""Tuning on dev: the best part of a grid that costs no pass of the network, files that say it, and confidences that are true."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics.pairwise import rbf_kernel
from transcription.test_decode_dir import RECOGNIZER, TEXTS, planted_dir
from transcription.test_decoder import DOUBTED, TOKENIZER, emissions

from asr.corpus import DataDir
from asr.ctc import Lexicon
from asr.errors import DataError, UsageError
from asr.text import build_ngram
from asr.transcription import Recognizer, decode_dir, tuning
from asr.transcription.calibration import expected_calibration_error
from asr.transcription.decoder import Decoder, DecoderOptions, Weights
from asr.transcription.result import Alternative, Result, Word
from asr.transcription.tuning import (
    ALIKE,
    BLANK_PENALTIES,
    LEXICON_BONUSES,
    LM_WEIGHTS,
    PRIOR_WEIGHTS,
    WORD_BONUSES,
    Emitted,
    Point,
    best_of,
    calibrate,
    draw_surface,
    judged,
    load_tuned,
    smoothed,
    token_prior,
    tune,
    with_tuned,
    word_errors,
)

LM = build_ngram(["the cat sat", "the cat ran"] * 5, order=2)


def spoken(folder) -> DataDir:
    data = planted_dir(folder)
    known = [type(u)(u.id, u.recording, u.speaker, text=TEXTS[u.id]) for u in data.utterances]
    return DataDir.from_utterances(known, data.wav)


def test_the_grid_finds_the_weight_that_mends_the_errors():
    emitted = [Emitted(["u1"], *DOUBTED), Emitted(["u2"], *emissions("the cat ran", {}))]
    references = {"u1": "the cat sat", "u2": "the cat ran"}
    decoder = Decoder(DecoderOptions("beam", lm=LM), TOKENIZER)
    watched = []
    found = tune(decoder, emitted, references, lambda points: watched.extend(points) or points)
    assert watched == [point.weights for point in found.points]
    errors = {point.weights: point.errors for point in found.points}
    assert len(errors) == len(found.points) and errors[Weights(0.0, 0.0, 0.0)] == 1
    assert errors[found.weights] == found.errors == 0 and found.words == 6
    assert found.weights.lm_weight > 0 and found.weights == best_of(found.points) and found.points == smoothed(errors)
    knowing = decoder.with_prior(token_prior(emitted))
    assert {point.prior_weight for point in errors} == set(PRIOR_WEIGHTS) and {point.blank_penalty for point in errors} == {0.0}
    for point, count in list(errors.items())[::7]:
        assert word_errors(knowing.reweighted(point), emitted, references) == count


def test_what_the_network_says_too_often_is_discounted_where_that_mends_errors():
    """The network takes any vowel for `o` and leaves some room for the others; the language model knows the words."""
    emitted = [Emitted(["u1"], *DOUBTED), Emitted(["u2"], *emissions("the cat ran", {}))]
    prior = token_prior(emitted)
    counts = torch.cat([batch.log_probs[row, :frames].double().exp() for batch in emitted
                        for row, frames in enumerate(batch.frames.tolist())]).sum(0) + 0.1
    assert prior == pytest.approx((counts / counts.sum()).log().tolist())
    decoder = Decoder(DecoderOptions("beam", weights=Weights(0.0, 0.0, 0.0, 1.0), prior=prior), TOKENIZER)
    plain = Decoder(DecoderOptions("beam", weights=Weights(0.0)), TOKENIZER)
    log_probs, frames = DOUBTED
    expected = torch.log_softmax(log_probs - torch.tensor(prior), -1)
    assert decoder(log_probs, frames) == plain(expected, frames) != plain(log_probs, frames)


def test_a_prior_that_is_missing_or_of_other_tokens_is_named():
    with pytest.raises(UsageError, match="a prior_weight needs the prior"):
        DecoderOptions("beam", weights=Weights(prior_weight=0.3))
    with pytest.raises(DataError, match="the prior is of 2 tokens"):
        Decoder(DecoderOptions("beam", prior=(-1.0, -0.5)), TOKENIZER)


def test_the_prior_travels_in_tuned_json(tmp_path, monkeypatch):
    """Of all points those with a prior are made to win: what was found decodes the same again, from the file alone."""
    monkeypatch.setattr(tuning, "best_of", lambda points: max(
        points, key=lambda point: (point.weights.prior_weight, -point.errors)).weights)
    data, lm = spoken(tmp_path / "data"), build_ngram(TEXTS.values(), order=2)
    report = decode_dir(RECOGNIZER, data, tmp_path / "dev", DecoderOptions("beam", lm=lm), tuning=True)
    assert report.tuned.weights.prior_weight == PRIOR_WEIGHTS[-1]
    found = load_tuned(tmp_path / "dev/tuned.json", RECOGNIZER.model)
    assert found.prior == pytest.approx(report.tuned.prior) and len(found.prior) == RECOGNIZER.model.tokenizer.vocab_size
    decode_dir(RECOGNIZER, data, tmp_path / "again", DecoderOptions("beam", lm=lm), tuned=tmp_path / "dev/tuned.json")
    for name in ("text", "words.ctm"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "dev" / name).read_text()


def test_of_equals_the_smallest_weights_are_taken():
    points = [Point(Weights(weight), 3, around) for weight, around in ((1.0, 3.0), (0.2, 3.0), (0.1, 3.1))]
    assert best_of(points) == Weights(0.2)


def test_a_lucky_point_does_not_win():
    """Three errors alone among nines are chance; fours among fours are not."""
    tried = {Weights(weight, bonus): 4 if weight > 0.8 else 9 for weight in LM_WEIGHTS for bonus in WORD_BONUSES}
    tried[Weights(0.2, 0.0)] = 3
    found = best_of(smoothed(tried))
    assert found.lm_weight > 0.8 and tried[found] == 4


WEIGHTS = st.builds(Weights, *(st.sampled_from(values)
                               for values in (LM_WEIGHTS, WORD_BONUSES, BLANK_PENALTIES, PRIOR_WEIGHTS)))


@given(st.dictionaries(WEIGHTS, st.integers(0, 50), min_size=1, max_size=40))
def test_the_errors_around_are_scikit_learns_kernel_mean(tried):
    points = smoothed(tried)
    places = np.array([list(vars(weights).values()) for weights in tried]) / ALIKE
    kernel = rbf_kernel(places, gamma=0.5)
    assert [point.around for point in points] == pytest.approx(list(kernel @ list(tried.values()) / kernel.sum(1)), abs=1e-9)
    assert all(min(tried.values()) - 1e-9 <= point.around <= max(tried.values()) + 1e-9 for point in points)
    assert {weights: errors for weights, errors, _ in points} == tried
    assert best_of(points) == best_of(smoothed(dict(reversed(tried.items()))))


@pytest.mark.parametrize(("lexicon", "bonuses"), [(None, {0.0}), (Lexicon.from_words(["the"], TOKENIZER), set(LEXICON_BONUSES))])
def test_without_a_language_model_the_blank_penalty_is_varied(tmp_path, lexicon, bonuses):
    emitted, references = [Emitted(["u1"], *DOUBTED)], {"u1": "the cot sat"}
    found = tune(Decoder(DecoderOptions("beam", lexicon=lexicon), TOKENIZER), emitted, references)
    tried = {point.weights for point in found.points}
    assert {weights.word_bonus for weights in tried} == bonuses
    assert {weights.blank_penalty for weights in tried} == set(BLANK_PENALTIES)
    assert {(weights.lm_weight, weights.prior_weight) for weights in tried} == {(0.0, 0.0)}
    if lexicon is None:
        assert found.weights == Weights(0.0, 0.0, 0.0)
    draw_surface(found, tmp_path / "tuning.png")
    with Image.open(tmp_path / "tuning.png") as picture:
        assert min(picture.size) > 100


def test_the_network_runs_once_and_what_was_found_is_written_and_used(tmp_path, monkeypatch):
    passes = []
    forward = type(RECOGNIZER.model.network).forward
    monkeypatch.setattr(type(RECOGNIZER.model.network), "forward", lambda *given: passes.append(1) or forward(*given))
    data = spoken(tmp_path / "data")
    lm = build_ngram(TEXTS.values(), order=2)
    report = decode_dir(RECOGNIZER, data, tmp_path / "dev", DecoderOptions("beam", lm=lm), tuning=True)
    assert len(passes) == 1 and len(report.tuned.points) > 30
    assert {path.name for path in (tmp_path / "dev").iterdir()} == {"text", "words.ctm", "decode.json", "tuned.json", "tuning.tsv",
                                                                   "tuning.png"}
    rows = [line.split("\t") for line in (tmp_path / "dev/tuning.tsv").read_text().splitlines()]
    assert rows[0] == ["lm_weight", "word_bonus", "blank_penalty", "prior_weight", "errors", "wer", "wer_around"]
    assert len(rows) == 1 + len(report.tuned.points)
    tuned = json.loads((tmp_path / "dev/tuned.json").read_text())
    assert tuned["errors"] == min(int(row[4]) for row in rows[1:]) == 0 and tuned["words"] == 15
    assert load_tuned(tmp_path / "dev/tuned.json", RECOGNIZER.model)[0] == report.tuned.weights == Weights(**tuned["weights"])
    decode_dir(RECOGNIZER, data, tmp_path / "again", DecoderOptions("beam", lm=lm), tuned=tmp_path / "dev/tuned.json")
    for name in ("text", "words.ctm"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "dev" / name).read_text()
    again = json.loads((tmp_path / "again/decode.json").read_text())
    assert again["settings"]["lm_weight"] == tuned["weights"]["lm_weight"] and again["settings"]["calibrated"]
    assert again["confidence"] == tuned["confidence"] and again["confidence"]["right"] == 15


def test_nothing_to_count_errors_by_is_nothing_to_tune_on():
    for options in (DecoderOptions("beam"), DecoderOptions()):
        for emitted, references in (([], {}), ([Emitted(["u1"], *DOUBTED)], {"u1": ""})):
            with pytest.raises(DataError, match="--tune: nothing to tune on"):
                tune(Decoder(options, TOKENIZER), emitted, references)


def test_transcripts_are_needed(tmp_path):
    with pytest.raises(UsageError, match=r"--tune: 4 of 4 utterances have no transcript"):
        decode_dir(RECOGNIZER, planted_dir(tmp_path / "data"), tmp_path / "out", tuning=True)
    assert not (tmp_path / "out").exists()


def test_greedy_decoding_is_calibrated_alone(tmp_path):
    report = decode_dir(RECOGNIZER, spoken(tmp_path / "data"), tmp_path / "dev", tuning=True)
    assert len(report.tuned.points) == 1
    calibration = load_tuned(tmp_path / "dev/tuned.json", RECOGNIZER.model).calibration
    decoded = decode_dir(RECOGNIZER, spoken(tmp_path / "data"), tmp_path / "test", tuned=tmp_path / "dev/tuned.json").results
    raw = decode_dir(RECOGNIZER, spoken(tmp_path / "data"), tmp_path / "raw").results
    for key, result in raw.items():
        assert [word.confidence for word in decoded[key].words] == pytest.approx(
            calibration([word.confidence for word in result.words]).tolist())
    calibrated = Recognizer(RECOGNIZER.model, DecoderOptions(calibration=calibration))
    assert calibrated.transcribe(np.zeros(80, np.float32)).words == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weights": {"lm": 1}, "calibration": null, "model": ""}',
                                     '{"weights": {}, "calibration": {"kind": "magic", "points": [[1, 0]]}, "model": ""}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "tuned.json").write_text(content)
    with pytest.raises(DataError, match="not a tuned.json of `asr decode --tune`"):
        load_tuned(tmp_path / "tuned.json", RECOGNIZER.model)
    with pytest.raises(UsageError, match="cannot read"):
        load_tuned(tmp_path / "none.json", RECOGNIZER.model)


def test_weights_of_another_model_are_remarked_on(tmp_path, caplog):
    (tmp_path / "tuned.json").write_text('{"weights": {"lm_weight": 1}, "calibration": null, "model": "other"}')
    with caplog.at_level(logging.WARNING, "asr"):
        assert load_tuned(tmp_path / "tuned.json", RECOGNIZER.model) == (Weights(1.0), None, None, {})
    assert "was tuned with another model" in caplog.text


def test_weights_are_for_the_search_that_was_tuned(tmp_path, caplog):
    """Without the language model that a weight is of, or with one that has no weight, it is refused; the rest is remarked on."""
    def used(weight, tuned, **given):
        (tmp_path / "tuned.json").write_text(json.dumps({"weights": {"lm_weight": weight}, "calibration": None, "settings": tuned,
                                                         "model": RECOGNIZER.model.fingerprint}))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "asr"):
            options = with_tuned(DecoderOptions(**given), tmp_path / "tuned.json", RECOGNIZER.model)
        return options.weights.lm_weight, caplog.text

    lexicon = Lexicon.from_words(["the"], TOKENIZER)
    with_lm, without = (DecoderOptions("beam", lm=lm, lexicon=lexicon).settings() for lm in (LM, None))
    for settings in (with_lm, {}):
        with pytest.raises(UsageError, match=r"tuned.json: was tuned with a language model \(lm_weight 1.5\); name it with --lm"):
            used(1.5, settings, method="beam")
    with pytest.raises(UsageError, match="was tuned without a language model, and gives it no weight; leave out --lm"):
        used(0.0, without, method="beam", lm=LM)
    assert used(1.5, with_lm, method="beam", lm=LM, lexicon=lexicon) == (1.5, "")
    assert used(0.0, with_lm, method="beam", lexicon=lexicon) == (0.0, "") == used(0.0, without, method="beam", lexicon=lexicon)
    weight, said = used(1.5, with_lm, method="beam", lm=LM, lm_unit="token")
    assert weight == 1.5 and "tuned for another search (lm_unit word, not token; lexicon given, not none)" in said
    assert "(method beam, not greedy)" in used(1.5, with_lm)[1]
    assert "(method greedy, not beam)" in used(0.5, DecoderOptions().settings(), method="beam")[1]


def test_calibration_brings_confidence_and_truth_together():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.3, 1.0, 3000)
    right = rng.random(3000) < truth
    results = {f"u{n}": Result("", [Word("yes" if good else "no", 0, 1, float(value**0.25))], [], [Alternative("", 0, 0, 0)], 1.0)
               for n, (value, good) in enumerate(zip(truth, right))}
    references = dict.fromkeys(results, "yes")
    calibration, told = calibrate(results, references)
    confidences, found = judged(results, references)
    assert np.array_equal(found, right) and told["words"] == 3000 and told["right"] == right.sum()
    error = told["expected_calibration_error"]
    assert error["before"] > 0.15 and error["after"] < 0.04
    assert expected_calibration_error(calibration(confidences), right) == pytest.approx(error["after"], abs=1e-5)
