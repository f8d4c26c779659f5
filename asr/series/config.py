"""What a forecaster is configured by: the sections that only it has, and the tree that holds them beside the shared ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from asr.config import ConvConfig, ConvLayerConfig, LoopConfig, ModelConfig, RnnConfig, Section, Seed


class SeriesConfig(Section):
    """The table of a time series: its columns, its parts, and the units it is learned in."""

    header: bool = Field(True, description="the first line of a CSV file names the columns; without, they are named 0, 1, ...")
    separator: str = Field(",", min_length=1, max_length=1, description="between the cells of a CSV file")
    time: str | None = Field(None, description="the column of timestamps; without, rows are taken as equally spaced")
    frequency: str | None = Field(None, description="pandas' name of the step (h, D, B, MS ...); seen from the timestamps if null")
    targets: tuple[str, ...] = Field((), description="columns to forecast; all that are neither time nor covariates when empty")
    covariates: tuple[str, ...] = Field((), description="columns that are known ahead as well: inputs, over window and horizon")
    calendar: tuple[Literal["hour", "weekday", "monthday", "yearday"], ...] = Field(
        (), description="covariates made of the timestamps, each as a sine and a cosine")
    fill: Literal["none", "forward", "linear"] = Field("none", description="what fills missing values and rows of the inputs; "
                                                                          "they are neither learned from nor scored")
    skip_constant: bool = Field(False, description="leave out targets that never change over the training rows")
    split: tuple[float, float, float] = Field((0.7, 0.1, 0.2), description="training, validation and test in order of time: "
                                                                          "numbers of rows, or fractions of all rows")
    scale: Literal["standard", "maxabs_file", "none"] = Field(
        "standard", description="standard: mean and deviation of the training rows; maxabs_file: divided by the largest "
                                "absolute value of the whole file, test rows included (LSTNet's protocol)")
    season: int = Field(1, ge=1, description="rows in a season: the scale of MASE")

    @field_validator("split")
    @classmethod
    def _split(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value[:2]) <= 0 or value[2] < 0:
            raise ValueError("training and validation need a positive share, test one that is not negative")
        if max(value) <= 1:
            if sum(value) > 1 + 1e-9:
                raise ValueError("fractions must not add up to more than 1")
        elif any(part != int(part) for part in value):
            raise ValueError("give three numbers of rows, or three fractions of at most 1")
        return value


class HorizonConfig(Section):
    """What is forecast from what, and what stands around the network."""

    lookback: int = Field(336, ge=2, description="rows of a window that the network sees")
    horizon: int = Field(96, ge=1, description="rows ahead")
    steps: Literal["all", "last"] = Field("all", description="forecast every row of the horizon, or its last alone")
    units: Literal["scaled", "original"] = Field("scaled", description="units of the scores: after `data.scale`, or of the file")
    channels: Literal["independent", "joint"] = Field(
        "independent", description="every series by itself, through the same weights; or all series as one input")
    normalise: Literal["none", "last", "mean", "standard"] = Field(
        "last", description="taken from a window, and given back to its forecast: the last value, the mean, or mean and deviation")
    skip: Literal["none", "linear", "ridge", "seasonal"] = Field(
        "none", description="a linear forecast beside the network: of the window's rows, learned with it or fitted before; or of "
                            "its periods, place by place")
    skip_rows: int = Field(0, ge=0, description="linear, ridge: how many rows at the window's end it sees; 0 for all")
    period: int = Field(24, ge=1, description="seasonal: rows in a period; divides lookback")
    decoder: Literal["direct", "parallel"] = Field(
        "parallel", description="all steps from the state in one linear map, or segment by segment, each by one GRU step from it")
    segment: int = Field(24, ge=1, description="parallel: rows in a segment")
    loss: Literal["mse", "mae", "huber"] = "mae"
    quantiles: tuple[float, ...] = Field(
        (), description="forecast these as well, by the pinball loss in place of `loss`; 0.5, the point forecast, among them")
    interval: float = Field(0.8, gt=0, lt=1, description="without quantiles: the share of validation errors that an interval holds")

    @model_validator(mode="after")
    def _fits(self) -> HorizonConfig:
        if any(not 0 < level < 1 for level in self.quantiles) or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must rise, between 0 and 1: {list(self.quantiles)}")
        if self.quantiles and 0.5 not in self.quantiles:
            raise ValueError("quantiles must hold 0.5, the point forecast")
        if self.skip == "seasonal" and self.lookback % self.period:
            raise ValueError(f"lookback {self.lookback} must be a multiple of period {self.period}, for the seasonal skip")
        if self.skip_rows > self.lookback:
            raise ValueError(f"skip_rows {self.skip_rows} must not exceed lookback {self.lookback}")
        return self


class ForecastTrainingConfig(LoopConfig):
    """The training of a forecaster."""

    batch_size: int = Field(32, ge=1, description="windows in a batch, each with all its series")
    stride: int = Field(1, ge=1, description="an epoch takes every so many-th window, from a place drawn anew for each epoch")
    validation_stride: int = Field(1, ge=1, description="measure every so many-th window of validation while training")
    monitor: Literal["loss", "mse", "mae"] = Field("mse", description="what `best` means, on validation, in `forecast.units`")


class ForecastConvConfig(ConvConfig):
    """Convolutions over time; none where nothing else is said."""

    layers: tuple[ConvLayerConfig, ...] = Field((), description="may be empty: recurrence alone")
    over: Literal["spectrogram", "time", "image"] = "time"
    norm: Literal["batch", "layer", "none"] = "none"


class ForecastRnnConfig(RnnConfig):
    """One recurrent layer that reads up to the last row."""

    layers: int = Field(1, ge=0, description="0 leaves the recurrence out")
    bidirectional: bool = False
    norm: Literal["batch", "layer", "none"] = "none"


class ForecastModelConfig(ModelConfig):
    """The same network with other defaults: patches of rows, then one GRU."""

    conv: ForecastConvConfig = ForecastConvConfig()
    stacking: int = Field(24, ge=1, description="cascade only: frames joined into one before the context")
    projection: int = Field(128, ge=0, description="width between convolutions and what follows; 0 leaves it out")
    rnn: ForecastRnnConfig = ForecastRnnConfig()


class ForecastConfig(Section):
    """Everything the training of a forecaster needs to know, apart from where its table lies."""

    seed: Seed = Field(1, ge=0)
    data: SeriesConfig = SeriesConfig()
    forecast: HorizonConfig = HorizonConfig()
    model: ForecastModelConfig = ForecastModelConfig()
    training: ForecastTrainingConfig = ForecastTrainingConfig()

    @model_validator(mode="after")
    def _together(self) -> ForecastConfig:
        joined = self.model.conv.subsampling * self.model.stacking
        if self.forecast.lookback % joined:
            raise ValueError(f"forecast.lookback {self.forecast.lookback} must be a multiple of {joined}, the rows that "
                             "model.conv strides and model.stacking make one frame of: the last frame would be part padding")
        if self.model.conv.over == "image":
            raise ValueError("model.conv.over: image is for video; a series needs time")
        if self.model.architecture == "parallel" and self.model.fusion.level == "utterance":
            raise ValueError("model.fusion.level: utterance is for classification; a forecaster reads the last frame")
        return self
