"""Blocks of the network against independent references, and the facts that others rely on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.config import ConvConfig, ConvLayerConfig, ModelConfig, RnnConfig, load_config
from asr.models import build_model, summarize
from asr.models.masking import conv_output_lengths, frame_mask
from asr.models.norm import FrameNorm, MaskedBatchNorm2d, PackedBatchNorm, _MaskedBatchNorm


@given(st.integers(0, 200), st.sampled_from([1, 3, 5, 11, 41]), st.integers(1, 4))
def test_lengths_are_those_torch_makes(length, kernel, stride):
    padding = kernel // 2
    made = int(conv_output_lengths(torch.tensor([length]), kernel, stride, padding))
    if length == 0:
        assert made == 0
    else:
        assert made == torch.nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, length)).shape[2]


def test_frame_mask():
    assert frame_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]


def padded(lengths, channels=3, bins=4):
    torch.manual_seed(0)
    inputs = torch.randn(len(lengths), channels, max(lengths), bins) * 2 + 1
    mask = frame_mask(torch.tensor(lengths), max(lengths))[:, None, :, None].float()
    return inputs * mask, mask


def test_batch_norm_without_padding_is_torch_batch_norm():
    inputs, mask = padded([6, 6, 6])
    ours, theirs = MaskedBatchNorm2d(3), torch.nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(inputs, mask), theirs(inputs))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(inputs, mask), theirs.eval()(inputs))


def test_batch_norm_sees_the_real_frames_alone():
    """Statistics, outputs and gradients of a padded batch are those of its frames laid end to end."""
    lengths = [7, 2, 5]
    inputs, mask = padded(lengths)
    inputs.requires_grad_()
    norm = MaskedBatchNorm2d(3)
    output = norm(inputs, mask)
    laid = torch.cat([inputs.detach()[row, :, :length] for row, length in enumerate(lengths)], dim=1).unsqueeze(0)
    laid.requires_grad_()
    reference = torch.nn.BatchNorm2d(3)
    expected = reference(laid)
    torch.testing.assert_close(torch.cat([output[row, :, :length] for row, length in enumerate(lengths)], dim=1), expected[0])
    torch.testing.assert_close(norm.running_var, reference.running_var)
    assert not output[1, :, 2:].any()
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    start, loss = 0, torch.zeros(())
    for row, length in enumerate(lengths):
        loss = loss + (output[row, :, :length] * weights[0, :, start:start + length]).sum()
        start += length
    loss.backward()
    torch.testing.assert_close(inputs.grad[1, :, :2], laid.grad[0, :, 7:9])


def test_batch_norm_of_packed_frames_is_torch_batch_norm_but_takes_a_single_frame():
    ours, theirs = PackedBatchNorm(3), torch.nn.BatchNorm1d(3)
    frames = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours(frames), theirs(frames))
    mean, variance = ours.running_mean.clone(), ours.running_var.clone()
    single = torch.tensor([[3.0, -1.0, 8.0]], requires_grad=True)
    output = ours(single)
    assert torch.equal(output, torch.zeros(1, 3))  # its own mean, and a bias of zero
    output.sum().backward()
    torch.testing.assert_close(ours.running_mean, mean.lerp(single[0].detach(), 0.1))
    torch.testing.assert_close(ours.running_var, 0.9 * variance)
    assert ours.bias.grad.tolist() == [1, 1, 1] and single.grad.isfinite().all()


def test_frame_norm_is_torch_layer_norm():
    inputs, mask = padded([5, 3])
    ours = FrameNorm(3, 4)
    expected = torch.nn.functional.layer_norm(inputs.transpose(1, 2), (3, 4)).transpose(1, 2)  # (B, C, T, F) <-> (B, T, C, F)
    torch.testing.assert_close(ours(inputs, mask), expected * mask)


def test_unpadded_cascade_is_the_plain_chain_of_torch_layers():
    config = ModelConfig(conv=ConvConfig(norm="none", layers=(ConvLayerConfig(channels=5, stride=(2, 2)),)),
                         rnn=RnnConfig(hidden=6, layers=2, norm="none"))
    torch.manual_seed(0)
    model = build_model(config, 8, 4).eval()
    features = torch.randn(3, 21, 8)
    hidden = torch.relu(model.encoder.conv.layers[0].conv(features.unsqueeze(1)))
    hidden = hidden.permute(0, 2, 1, 3).flatten(2)  # (B, C, T, F) -> (B, T, C, F) -> (B, T, C·F)
    for layer in model.encoder.context.rnn.layers:
        hidden, _ = layer.rnn(hidden.transpose(0, 1))  # (B, T, D) -> (T, B, D)
        hidden = hidden.transpose(0, 1)  # (T, B, D) -> (B, T, D)
    logits, lengths = model(features, torch.tensor([21, 21, 21]))
    assert lengths.tolist() == [11, 11, 11]
    torch.testing.assert_close(logits, model.output(hidden))


def test_gradients_reach_every_parameter():
    model = build_model(ModelConfig(projection=7), 16, 5)
    logits, _ = model(torch.randn(2, 40, 16), torch.tensor([40, 17]))
    logits.square().sum().backward()
    assert [name for name, parameter in model.named_parameters()
            if parameter.grad is None or not (parameter.grad.any() or name.endswith("bias"))] == []


@pytest.mark.parametrize("lengths", [[0], [0, 0], [5, 0, 1]])
def test_empty_utterances_have_no_frames(lengths):
    model = build_model(ModelConfig(), 16, 5).eval()
    logits, frames = model(torch.zeros(len(lengths), max(lengths), 16), torch.tensor(lengths))
    assert frames.tolist() == [(length + 1) // 2 for length in lengths]
    assert logits.shape == (len(lengths), int(frames.max()), 5)


def test_wrong_feature_size_says_so():
    with pytest.raises(ValueError, match=r"\(batch, frames, 16\), not \(2, 30, 12\)"):
        build_model(ModelConfig(), 16, 5)(torch.zeros(2, 30, 12), torch.tensor([30, 30]))


def test_summary_counts_what_is_there():
    config = ModelConfig(conv=ConvConfig(layers=(ConvLayerConfig(channels=8, kernel=(11, 5), stride=(2, 2)),
                                                 ConvLayerConfig(channels=8, kernel=(3, 3), stride=(2, 1)))))
    model = build_model(config, 40, 29)
    text = summarize(model, frame_shift=0.01, frame_length=0.025)
    assert f"{sum(p.numel() for p in model.parameters()):,}" in text
    assert "receptive field of the convolutions: 15 frames, 0.165 s; output frame rate 25 Hz (one per 4 input frames)" in text
    assert model.frame_subsampling == 4


@pytest.mark.parametrize("model", ["{architecture: parallel, projection: 12, fusion: {kind: gated}}",
                                   "{rnn: {layers: 0}, attention: {layers: 2, kind: conformer}}", "{stacking: 3, rnn: {layers: 0}}",
                                   "{conv: {layers: []}, attention: {layers: 1}}"])
def test_every_part_is_in_the_summary(model):
    """The rows' parameters add up to the total."""
    network = build_model(load_config(None, [f"model={model}"]).model, 40, 29)
    lines = summarize(network, 0.01, 0.025).splitlines()
    total = next(index for index, line in enumerate(lines) if line.startswith("total"))
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[1:total + 1]]
    assert sum(counts[:-1]) == counts[-1] == sum(p.numel() for p in network.parameters())


@torch.no_grad()
def test_the_receptive_field_is_the_one_printed():
    """Plant a change in one frame and count the frames whose convolution output moves."""
    config = ModelConfig(conv=ConvConfig(norm="none", activation="gelu", layers=(ConvLayerConfig(channels=3, kernel=(5, 3)),
                                                                                 ConvLayerConfig(channels=3, kernel=(3, 3)))))
    model = build_model(config, 8, 4).eval()
    features, lengths = torch.randn(1, 41, 8), torch.tensor([41])
    changed = features.clone()
    changed[0, 20] += 1
    moved = (model.encoder.conv(features, lengths)[0] != model.encoder.conv(changed, lengths)[0]).any(dim=2).sum()
    assert int(moved) == 7 and "7 frames" in summarize(model, 0.01, 0.025)


def test_batch_norm_gradients_against_finite_differences():
    inputs, mask = padded([4, 2], channels=2, bins=2)
    function = MaskedBatchNorm2d(2).double()
    apply = lambda x, w, b: _MaskedBatchNorm.apply(x, mask.double(), w, b, function.eps, False)[0]  # noqa: E731
    weight, bias = torch.rand(2, dtype=torch.float64, requires_grad=True), torch.rand(2, dtype=torch.float64, requires_grad=True)
    # Sums of squares and counts are kept in the inputs' precision, here double.
    assert torch.autograd.gradcheck(apply, (inputs.double().requires_grad_(), weight, bias))
