"""What may be added to the CTC loss: answers of inner layers, and two views that must agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.small import metrics, run, settings

from asr.errors import ConfigError
from asr.models import build_model
from asr.training.objective import Mix, disagreement

MASKS = "augment.spec_augment={freq_masks: 1, freq_width: 6}"


@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5), st.integers(0, 2 ** 31))
def test_disagreement_is_the_sum_of_both_divergences(batch, frames, vocabulary, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, frames + 1, (batch,), generator=generator)
    first, second = torch.randn(2, batch, frames, vocabulary, dtype=torch.float64, generator=generator)
    expected = []
    for row, length in enumerate(lengths.tolist()):
        one, other = (torch.distributions.Categorical(logits=view[row, :length], validate_args=False) for view in (first, second))
        both = torch.distributions.kl_divergence(one, other) + torch.distributions.kl_divergence(other, one)
        expected.append(0.5 * both.sum())
    measured = disagreement(first, second, lengths)
    torch.testing.assert_close(measured.double(), torch.stack(expected).double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(measured, disagreement(second, first, lengths))
    first[torch.arange(frames)[None] >= lengths[:, None]] = 1e4  # what is past an end does not count
    torch.testing.assert_close(disagreement(first, second, lengths), measured)


def test_each_view_is_drawn_to_the_other_and_neither_is_drawn_away():
    """The gradient at a view is softmax(view) - softmax(other) on every frame, halved: that of a cross-entropy against a target."""
    first, second = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind(0)
    for view in (first, second):
        view.retain_grad()
    disagreement(first, second, torch.tensor([3, 2])).sum().backward()
    apart = 0.5 * (first.softmax(-1) - second.softmax(-1)).detach()
    apart[1, 2] = 0
    torch.testing.assert_close(first.grad, apart)
    torch.testing.assert_close(second.grad, -apart)


def test_logits_of_a_layer_are_those_of_a_network_that_ends_there():
    whole = build_model(settings("model.rnn={hidden: 6, layers: 3}").model, 20, 5).eval()
    features, lengths = torch.randn(3, 17, 20), torch.tensor([17, 4, 11])
    layers, made = whole.layer_logits(features, lengths, (2, 1))
    final, expected_lengths = whole(features, lengths)
    assert torch.equal(layers[-1], final) and torch.equal(made, expected_lengths)
    for logits, layer in zip(layers, (2, 1)):
        short = build_model(settings(f"model.rnn={{hidden: 6, layers: {layer}}}").model, 20, 5).eval()
        short.load_state_dict({name: whole.state_dict()[name] for name in short.state_dict()})
        torch.testing.assert_close(logits, short(features, lengths)[0])


def test_the_objective_is_made_of_its_parts(tones, tmp_path):
    """What a step minimises, taken apart with torch's own loss."""
    from asr.training.data import SpeechData
    from asr.training.preparation import prepare
    from asr.training.speech import SpeechTask

    config = settings("model.rnn={hidden: 6, layers: 3}", "training.objective={intermediate: [1, 2], intermediate_weight: 0.25, "
                      "consistency: 0.5}", MASKS)
    prepared = prepare(config, tones / "train", tones / "dev")
    task = SpeechTask(prepared, 1, tmp_path)
    task.network.eval()
    batch = next(iter(SpeechData(prepared).val_dataloader()))
    losses, labels = task.losses(batch, torch.Generator().manual_seed(5))

    generator = torch.Generator().manual_seed(5)
    features = task._features(batch, {})
    views = [task.spec_augment(features, batch.lengths, generator) for _ in range(2)]
    assert not torch.equal(*views)
    answers = [task.network.layer_logits(view, batch.lengths, (1, 2)) for view in views]

    def ctc(logits, lengths):
        return torch.nn.functional.ctc_loss(logits.log_softmax(-1).transpose(0, 1), batch.targets, lengths, batch.target_lengths,
                                            reduction="none")

    of_layer = [sum(ctc(logits[layer], lengths) for logits, lengths in answers) / 2 for layer in range(3)]
    expected = 0.75 * of_layer[2] + 0.25 * (of_layer[0] + of_layer[1]) / 2
    expected = expected + 0.5 * disagreement(answers[0][0][2], answers[1][0][2], answers[0][1])
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    assert labels == int(batch.target_lengths.sum())


@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 2 ** 31))
def test_mixed_utterances_have_another_of_their_batch_as_partner(size, part, seed):
    mix = Mix.draw(part, size, torch.Generator().manual_seed(seed))
    assert ((mix.partner >= 0) & (mix.partner < size)).all() and ((mix.share >= 0) & (mix.share <= 1)).all()
    assert size == 1 or (mix.partner != torch.arange(size)).all()
    again = Mix.draw(part, size, torch.Generator().manual_seed(seed))
    assert torch.equal(mix.partner, again.partner) and torch.equal(mix.share, again.share)


def test_shares_are_of_beta_a_half_and_as_many_as_asked():
    mix = Mix.draw(0.25, 100_000, torch.Generator().manual_seed(0))
    mixed = mix.share[mix.share < 1]
    assert len(mixed) / 100_000 == pytest.approx(0.25, abs=0.01)
    expected = torch.distributions.Beta(0.5, 0.5).sample((100_000,))
    levels = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(mixed.quantile(levels), expected.quantile(levels), atol=0.02, rtol=0)
    assert set(Mix.draw(1.0, 3, torch.Generator().manual_seed(0)).partner.tolist()) <= {0, 1, 2}
    partners = torch.stack([Mix.draw(1.0, 4, torch.Generator().manual_seed(seed)).partner for seed in range(200)])
    assert all(set(partners[:, row].tolist()) == {0, 1, 2, 3} - {row} for row in range(4))  # any other one


def test_what_is_heard_together_has_the_losses_of_both(tones, tmp_path):
    """Each utterance of a mixed batch alone through the network, with torch's loss of both its transcripts."""
    from asr.training.data import SpeechData
    from asr.training.preparation import prepare
    from asr.training.speech import SpeechTask

    prepared = prepare(settings("training.objective.mix=0.6"), tones / "train", tones / "dev")
    task = SpeechTask(prepared, 1, tmp_path)
    task.network.eval()
    batch = next(iter(SpeechData(prepared).val_dataloader()))
    losses, _ = task.losses(batch, torch.Generator().manual_seed(2))
    mix = Mix.draw(0.6, len(batch.ids), torch.Generator().manual_seed(2))
    assert 0 < int((mix.share < 1).sum()) < len(batch.ids) and len(set(batch.lengths.tolist())) > 1

    features = task._features(batch, {})
    for row, (other, share) in enumerate(zip(mix.partner.tolist(), mix.share.tolist())):
        heard = share * features[row] + (1 - share) * features[other]
        length = int(max(batch.lengths[row], batch.lengths[other]) if share < 1 else batch.lengths[row])
        logits, frames = task.network(heard[None, :length], torch.tensor([length]))
        of = [torch.nn.functional.ctc_loss(logits.log_softmax(-1).transpose(0, 1), batch.targets[[each]], frames,
                                           batch.target_lengths[[each]], reduction="sum") for each in (row, other)]
        torch.testing.assert_close(losses[row], share * of[0] + (1 - share) * of[1], rtol=1e-4, atol=1e-4)


def test_it_is_learnt_with(tones, tmp_path):
    run(tones, tmp_path / "exp", "model.rnn={hidden: 24, layers: 2}", MASKS,
        "training.objective={intermediate: [1], consistency: 0.2, mix: 0.2}")
    first, last = metrics(tmp_path / "exp")[0], metrics(tmp_path / "exp")[-1]
    assert last["train_loss"] < 0.8 * first["train_loss"]


@pytest.mark.parametrize(("overrides", "what"), [
    (["training.objective.intermediate=[2]", "model.rnn.layers=2"], "from 1 to 1"),
    (["training.objective.intermediate=[1, 1]", "model.rnn.layers=3"], "must be different"),
    (["training.objective.intermediate=[1]", "model.architecture=parallel"], "cascade that ends in recurrence"),
    (["training.objective.intermediate=[1]", "model.attention.layers=1"], "cascade that ends in recurrence"),
    (["training.objective.consistency=0.2"], "spec_augment"),
])
def test_what_cannot_be_is_said_before_any_work(overrides, what):
    with pytest.raises(ConfigError, match=what):
        settings(*overrides)
