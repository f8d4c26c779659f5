"""Forecasts from a window: an encoder, a direct forecast of every step, and what stands around them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from asr.models.heads import Pooling
from asr.models.network import build_encoder
from asr.models.parallel import Parallel
from asr.series.config import ForecastConfig, HorizonConfig


class Forecaster(nn.Module):
    """Windows of C series and K covariates -> S steps of each series, in Q quantiles (one: the point forecast).

    With `forecast.channels: independent` every series goes through the network by itself, with the covariates beside it, and
    all share its weights; with ``joint`` they are one input. Beside a skip the output layer begins at zero: what has learned
    nothing forecasts what the normalisation and the skip give. A window has the same forecast alone and in any batch.
    """

    def __init__(self, config: ForecastConfig, series: int, covariates: int = 0):
        super().__init__()
        forecast = config.forecast
        self.forecast, self.series, self.covariates = forecast, series, covariates
        self.independent = forecast.channels == "independent"
        self.together = 1 if self.independent else series  # series that one pass of the network sees and forecasts
        offsets = list(range(forecast.horizon)) if forecast.steps == "all" else [forecast.horizon - 1]
        self.offsets, self.outputs = offsets, max(1, len(forecast.quantiles))
        self.encoder = build_encoder(config.model, self.together + covariates)
        dim = self.encoder.dim
        rnn = config.model.rnn
        directed = bool(rnn.bidirectional and rnn.layers and not config.model.attention.layers)
        self.pooling = Pooling("last", dim, directed and not isinstance(self.encoder, Parallel))
        width = self.together * self.outputs
        decoder = {"direct": DirectDecoder, "parallel": ParallelDecoder}[forecast.decoder]
        self.decoder = decoder(forecast, offsets, dim, series if self.independent else 1, width, covariates, config.model.dropout)
        self.skip = Skip(forecast, offsets)
        if forecast.skip != "none":
            nn.init.zeros_(self.decoder.output.weight)
            nn.init.zeros_(self.decoder.output.bias)

    def forward(self, inputs: Tensor, covariates: Tensor | None = None) -> Tensor:
        """inputs (B, L, C) float32, covariates (B, L + horizon, K) of the window and the rows ahead -> (B, S, C, Q)."""
        batch, rows, series = inputs.shape
        if (rows, series) != (self.forecast.lookback, self.series):
            raise ValueError(f"inputs must be (batch, {self.forecast.lookback}, {self.series}), not {tuple(inputs.shape)}")
        shift, scale = window_statistics(inputs, self.forecast.normalise)  # (B, 1, C) each
        inputs = (inputs - shift) / scale
        seen, ahead = inputs, None
        if self.independent:
            seen = inputs.transpose(1, 2).reshape(-1, rows, 1)  # (B, L, C) -> (B, C, L) -> (B·C, L, 1)
        if self.covariates:
            if covariates is None:
                raise ValueError(f"this forecaster needs its {self.covariates} covariates")
            if self.independent:
                covariates = covariates.repeat_interleave(series, dim=0)
            seen, ahead = torch.cat([seen, covariates[:, :rows]], dim=2), covariates[:, rows:]
        lengths = torch.full((len(seen),), rows, dtype=torch.int64, device=seen.device)
        state = self.pooling(*self.encoder(seen, lengths))  # (B·C, D) or (B, D)
        made = self.decoder(state, ahead)  # (B·C, S, Q) or (B, S, C·Q)
        if self.independent:
            outputs = made.unflatten(0, (batch, series)).transpose(1, 2)  # (B, C, S, Q) -> (B, S, C, Q)
        else:
            outputs = made.unflatten(2, (series, self.outputs))
        outputs = outputs + self.skip(inputs).unsqueeze(3)
        return outputs * scale.unsqueeze(3) + shift.unsqueeze(3)


def window_statistics(inputs: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """(B, L, C) -> shift and scale (B, 1, C) of each window and series.

    ``standard`` is reversible instance normalisation (Kim et al., "Reversible instance normalization for accurate time-series
    forecasting against distribution shift", ICLR 2022) without its affine part, ``last`` that of NLinear (Zeng et al., 2023).
    """
    zero, one = torch.zeros_like(inputs[:, :1]), torch.ones_like(inputs[:, :1])
    if kind == "last":
        return inputs[:, -1:], one
    if kind == "mean":
        return inputs.mean(dim=1, keepdim=True), one
    if kind == "standard":
        variance, mean = torch.var_mean(inputs, dim=1, keepdim=True, correction=0)
        return mean, torch.sqrt(variance + 1e-5)
    return zero, one


class DirectDecoder(nn.Module):
    """All steps at once: one linear map of the state, and of the covariates ahead."""

    def __init__(self, config: HorizonConfig, offsets: list[int], dim: int, series: int, width: int, covariates: int,
                 dropout: float):
        super().__init__()
        self.steps, self.width = len(offsets), width
        self.known = nn.Linear(covariates * config.horizon, dim) if covariates else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(dim, self.steps * width)

    def forward(self, state: Tensor, ahead: Tensor | None) -> Tensor:
        """state (N, D), ahead (N, horizon, K) -> (N, S, width)."""
        if self.known is not None and ahead is not None:
            state = state + self.known(ahead.flatten(1))
        return self.output(self.dropout(state)).unflatten(1, (self.steps, self.width))


class ParallelDecoder(nn.Module):
    """The horizon in segments, each by one step of a GRU cell from the same state: SegRNN's parallel decoding.

    The cell's input says which segment (and which series) is asked for, and what of the covariates is known there (Lin et al.,
    "SegRNN: segment recurrent neural network for long-term time series forecasting", arXiv 2308.11200). All segments begin at
    one state, so of the cell's two products one is over the batch alone and the other over the segments alone; only the gates are
    for both.
    """

    def __init__(self, config: HorizonConfig, offsets: list[int], dim: int, series: int, width: int, covariates: int,
                 dropout: float):
        super().__init__()
        self.offsets, self.width, self.segment = offsets, width, config.segment
        self.first = offsets[0] // config.segment  # segments before the first step that is asked for are not made
        self.segments = offsets[-1] // config.segment + 1 - self.first
        self.missing = (self.first + self.segments) * config.segment - config.horizon
        self.place = nn.Parameter(torch.randn(self.segments, dim) * 0.02)
        self.which = nn.Parameter(torch.randn(series, dim) * 0.02) if series > 1 else None
        self.known = nn.Linear(covariates * config.segment, dim, bias=False) if covariates else None
        self.cell = nn.GRUCell(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(dim, config.segment * width)

    def forward(self, state: Tensor, ahead: Tensor | None) -> Tensor:
        """state (N, D), N = B·C with the series innermost where they are told apart; ahead (N, horizon, K) -> (N, S, width)."""
        asked = self.place.unsqueeze(0)  # (1, M, D)
        if self.which is not None:
            asked = asked + self.which.unsqueeze(1)  # (C, M, D)
        gates = nn.functional.linear(asked, self.cell.weight_ih, self.cell.bias_ih)
        gates = gates.repeat(len(state) // len(gates), 1, 1)  # (N, M, 3D)
        if self.known is not None and ahead is not None:
            ahead = nn.functional.pad(ahead, (0, 0, 0, self.missing))[:, self.first * self.segment:]
            parts = self.known(ahead.unflatten(1, (self.segments, self.segment)).flatten(2))  # (N, M, D)
            gates = gates + nn.functional.linear(parts, self.cell.weight_ih)
        held = nn.functional.linear(state, self.cell.weight_hh, self.cell.bias_hh).unsqueeze(1)  # (N, 1, 3D)
        (r, z, n), (held_r, held_z, held_n) = gates.chunk(3, dim=2), held.chunk(3, dim=2)
        update = torch.sigmoid(z + held_z)
        new = torch.tanh(n + torch.sigmoid(r + held_r) * held_n)
        made = self.output(self.dropout(torch.lerp(new, state.unsqueeze(1), update)))  # (N, M, segment·width)
        steps = made.unflatten(2, (self.segment, self.width)).flatten(1, 2)
        start = self.first * self.segment
        if self.offsets[-1] - self.offsets[0] + 1 == len(self.offsets):
            return steps[:, self.offsets[0] - start:self.offsets[-1] + 1 - start]
        return steps[:, [offset - start for offset in self.offsets]]


class Skip(nn.Module):
    """A linear forecast beside the network, one map for all series.

    ``linear``: of the last rows of the window, from zero on; LSTNet's autoregressive part (Lai et al., 2018) where the rows are
    few, NLinear or Linear (Zeng et al., 2023) where it sees all. ``ridge``: the same map, fitted by least squares before training
    (`asr.series.linear`) and left as it is, so the network learns what a line leaves over. ``seasonal``: place by place of the
    period, the coming periods of the past ones, from their mean on (Lin et al., "SparseTSF", ICML 2024).
    """

    def __init__(self, config: HorizonConfig, offsets: list[int]):
        super().__init__()
        self.kind, self.offsets, self.period = config.skip, offsets, config.period
        self.rows = config.skip_rows or config.lookback
        if self.kind in ("linear", "ridge"):
            self.map = nn.Linear(self.rows, len(offsets)).requires_grad_(self.kind == "linear")
            nn.init.zeros_(self.map.weight)
            nn.init.zeros_(self.map.bias)
        elif self.kind == "seasonal":
            past = config.lookback // config.period
            self.map = nn.Linear(past, math.ceil(config.horizon / config.period), bias=False)
            nn.init.constant_(self.map.weight, 1 / past)

    def set_map(self, weights: Tensor) -> None:
        """Put a fitted map in place: ``weights`` (rows + 1, S), of the rows and last of the constant."""
        with torch.no_grad():
            self.map.weight.copy_(weights[:-1].T)  # (rows, S) -> (S, rows)
            self.map.bias.copy_(weights[-1])

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L, C) normalised -> (B, S, C)."""
        if self.kind == "none":
            return inputs.new_zeros(len(inputs), len(self.offsets), inputs.shape[2])
        by_series = inputs.transpose(1, 2)  # (B, L, C) -> (B, C, L)
        if self.kind in ("linear", "ridge"):
            return self.map(by_series[..., -self.rows:]).transpose(1, 2)  # (B, C, S) -> (B, S, C)
        places = by_series.unflatten(2, (-1, self.period)).transpose(2, 3)  # (B, C, N, P) -> (B, C, P, N)
        ahead = self.map(places).transpose(2, 3).flatten(2)  # (B, C, P, M) -> (B, C, M, P) -> (B, C, M·P)
        return ahead[..., self.offsets].transpose(1, 2)  # (B, C, S) -> (B, S, C)
