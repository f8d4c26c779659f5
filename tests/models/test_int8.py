"""int8: close to float32, and of each utterance the same alone and in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from asr.config import parse_config
from asr.errors import UsageError
from asr.models import build_model
from asr.models.int8 import Int8Gru, Int8Linear, quantized_rows, to_int8

LENGTHS = [31, 1, 17, 17, 2]


def network(seed: int = 0, **rnn: object) -> nn.Module:
    config = parse_config({"model": {"conv": {"layers": [{"channels": 6, "kernel": [3, 3], "stride": [2, 2]}]}, "projection": 24,
                                     "rnn": {"hidden": 20, "layers": 2, **rnn}}}).model
    torch.manual_seed(seed)
    return build_model(config, 12, 9).eval()


def test_rows_are_quantized_each_by_itself():
    rows = torch.tensor([[1.0, -0.5, 0.25], [1000.0, 3.0, -1000.0], [0.0, 0.0, 0.0]])
    quantized, scales = quantized_rows(rows)
    assert quantized.dtype == torch.int8 and quantized.tolist() == [[127, -64, 32], [127, 0, -127], [0, 0, 0]]
    assert ((quantized * scales - rows).abs() <= scales / 2 + 1e-6).all()


@torch.inference_mode()
def test_a_linear_layer_multiplies_whole_numbers():
    torch.manual_seed(1)
    layer = nn.Linear(33, 7)
    inputs = torch.randn(3, 5, 33)
    found = Int8Linear(layer.weight, layer.bias)(inputs)
    rows, scales = quantized_rows(inputs.flatten(0, 1))
    weight_scale = layer.weight.abs().amax(dim=1) / 127
    weight = (layer.weight / weight_scale[:, None]).round()
    exact = (rows.double() @ weight.double().t()) * weight_scale * scales + layer.bias
    torch.testing.assert_close(found.flatten(0, 1).double(), exact, rtol=1e-6, atol=1e-6)
    assert (found - layer(inputs)).abs().max() < 0.02
    assert Int8Linear(layer.weight, None)(inputs[:0]).shape == (0, 5, 7)


@torch.inference_mode()
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_gru_is_close_to_torchs_and_knows_no_batch(bidirectional):
    torch.manual_seed(2)
    gru = nn.GRU(30, 20, bidirectional=bidirectional)
    for parameter in gru.parameters():
        parameter.mul_(2)
    quantized = Int8Gru(gru)
    sequences = [3 * torch.randn(length, 30) for length in LENGTHS]
    packed = pack_sequence(sequences, enforce_sorted=False)
    found, _ = quantized(packed)
    assert 1e-4 < (found.data - gru(packed)[0].data).abs().max() < 0.1
    together = torch.nn.utils.rnn.unpack_sequence(found)
    for sequence, row in zip(sequences, together):
        alone, _ = quantized(pack_sequence([sequence]))
        torch.testing.assert_close(alone.data, row, rtol=0, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("rnn", [{}, {"bidirectional": False}, {"norm": "layer"}])
def test_one_utterance_one_answer(rnn):
    quantized = to_int8(network(**rnn))
    torch.manual_seed(3)
    lengths = torch.tensor([40, 9, 0, 23])
    features = torch.randn(4, 40, 12)
    logits, frames = quantized(features, lengths)
    exact = network(**rnn)(features, lengths)[0]
    assert 0 < (logits - exact).abs().max() < 0.1 * exact.abs().max()
    for row, (length, count) in enumerate(zip(lengths.tolist(), frames.tolist())):
        alone, _ = quantized(features[row:row + 1, :length], lengths[row:row + 1])
        torch.testing.assert_close(alone[0], logits[row, :count], rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("model", [{"architecture": "parallel", "fusion": {"kind": "cross_attention", "dim": 8, "heads": 2}},
                                   {"attention": {"layers": 1, "dim": 8, "heads": 2, "feedforward": 8}},
                                   {"attention": {"kind": "conformer", "layers": 1, "dim": 8, "heads": 2, "feedforward": 8}}])
def test_attention_stays_as_it_is(model):
    torch.manual_seed(0)
    before = build_model(parse_config({"model": {**model, "rnn": {"hidden": 20, "layers": 1}}}).model, 12, 9).eval()
    quantized = to_int8(before)
    features, lengths = torch.randn(2, 40, 12), torch.tensor([40, 23])
    logits, exact = quantized(features, lengths)[0], before(features, lengths)[0]
    assert 0 < (logits - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_network_it_is_made_of_stays_as_it_is():
    before = network()
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    quantized = to_int8(before)
    assert not any(isinstance(module, (nn.GRU, nn.Linear)) for module in quantized.modules())
    assert sum(isinstance(module, nn.GRU) for module in before.modules()) == 2
    assert all(torch.equal(kept[name], value) for name, value in before.state_dict().items())


def test_what_int8_is_not_for():
    with pytest.raises(UsageError, match="LSTM"):
        to_int8(network(cell="lstm"))
    with pytest.raises(UsageError, match="for the CPU"):
        to_int8(network().to("meta"))
