"""What a classifier is configured by: the sections that only it has, and the tree that holds them beside the shared ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from asr.config import AugmentConfig, FeatureConfig, LoopConfig, ModelConfig, Section, Seed


class TableConfig(Section):
    """The columns of a table of items (tab- or comma-separated, with a header)."""

    id: str = Field("id", description="column of names, each once; where it is absent, the line's number is the name")
    label: str = Field("label", description="column of classes")
    group: str = Field("group", description="column of speakers, subjects or sources: intervals draw whole groups; may be absent")


class VideoConfig(Section):
    """Frames of a video file, a folder of pictures, or a stack in a .npy or .npz file."""

    size: tuple[int, int] | None = Field(None, description="height and width of every frame; absent: all clips must have one size")
    fit: Literal["stretch", "crop"] = Field("stretch", description="where a frame's shape differs: deform it, or cut its edges off")
    resample: Literal["area", "bilinear"] = Field("area", description="area: every pixel is the mean of what it covers")
    colour: Literal["gray", "rgb"] = "gray"
    frame_step: int = Field(1, ge=1, description="every so many frames, one is kept")
    max_frames: int = Field(0, ge=0, description="a clip of more is thinned out evenly to this many; 0 for no limit")
    shift: int = Field(0, ge=0, description="training: whole clips moved by up to this many pixels, edges repeated")
    flip: float = Field(0.0, ge=0, le=1, description="training: probability of a mirrored clip (left and right must mean the same)")
    noise: float = Field(0.0, ge=0, description="training: deviation of white noise, where 1 is the training data's own")


class SeriesConfig(Section):
    """A recording of several channels: rows are times, columns are channels (.csv, .tsv, .npy)."""

    standardise: Literal["train", "item", "none"] = Field(
        "train", description="mean and deviation of each channel: over all training items, of each item, or left alone")
    differences: bool = Field(False, description="first differences in time stand beside the values as channels of their own")
    jitter: float = Field(0.0, ge=0, description="training: deviation of white noise, where 1 is the training data's own")
    scale: float = Field(0.0, ge=0, lt=1, description="training: each channel times a factor within this of 1")
    warp: float = Field(0.0, ge=0, lt=1, description="training: stretched in time by a factor within this of 1")
    crop: float = Field(0.0, ge=0, lt=1, description="training: up to this part is cut off, at both ends together")
    channel_dropout: float = Field(0.0, ge=0, lt=1, description="training: probability of a channel set to its mean")


class TextConfig(Section):
    """Words as vectors, and hashed n-grams beside them."""

    normalizer: str = Field("none", description="named normaliser, as of tokenizers; applied first")
    lowercase: bool = True
    words: Literal["marks", "blanks"] = Field(
        "marks", description="marks: punctuation is words of its own; blanks: what stands between blanks")
    min_count: int = Field(1, ge=1, description="words seen less often in training are unknown")
    dim: int = Field(128, gt=0, description="width of a vector; with vectors, that of the file")
    char_ngrams: tuple[int, int] | None = Field(None, description="shortest and longest runs of letters that are hashed, as [3, 3]")
    word_ngrams: int = Field(1, ge=1, description="longest run of words that is hashed; 1 for none")
    buckets: int = Field(20_000, gt=0, description="of the hash of n-grams")
    vectors: str | None = Field(None, description="file of pretrained vectors (word2vec's or GloVe's text format) to begin with")
    freeze: bool = Field(False, description="pretrained vectors stay as they are")
    word_dropout: float = Field(0.0, ge=0, lt=1, description="training: probability of a word made unknown")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the vectors")

    @field_validator("char_ngrams")
    @classmethod
    def _ascending(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError("must be two whole numbers, the smaller one first, from 1 up")
        return value


class InputConfig(Section):
    """What is read of an item: which column names it, and how it becomes frames."""

    kind: Literal["audio", "video", "series", "text"]
    column: str | None = Field(None, description="of the table; when absent, `text` for text and `path` for files")
    features: FeatureConfig = Field(FeatureConfig(), description="audio")
    augment: AugmentConfig = Field(AugmentConfig(), description="audio")
    video: VideoConfig = VideoConfig()
    series: SeriesConfig = SeriesConfig()
    text: TextConfig = TextConfig()

    @model_validator(mode="after")
    def _of_this_kind(self) -> InputConfig:
        read = {"features", "augment"} if self.kind == "audio" else {self.kind}
        for name in ("features", "augment", "video", "series", "text"):
            if name not in read and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` says nothing to an input of kind {self.kind}")
        if self.kind == "audio" and self.features.cmvn == "speaker":
            raise ValueError("features.cmvn: speaker needs a data directory; choose global, utterance or none")
        return self

    @property
    def source(self) -> str:
        """The column this input is in."""
        return self.column or ("text" if self.kind == "text" else "path")


class ClassifyTrainingConfig(LoopConfig):
    """The training of a classifier."""

    batch_size: int = Field(32, ge=1, description="items in a batch")
    monitor: Literal["error", "f1_error", "loss"] = Field(
        "error", description="what `best` means, on dev: share of wrong labels, 1 less macro F1, or the loss")


class ClassifyConfig(Section):
    """One label for an item: sounds, videos, series of sensors, texts, or two of them."""

    seed: Seed = Field(1, ge=0)
    table: TableConfig = TableConfig()
    inputs: tuple[InputConfig, ...] = Field(
        description="one; or two for a parallel network: the convolutions' first, the context's second")
    model: ModelConfig = ModelConfig()
    pooling: Literal["mean", "max", "last", "attention"] = Field("mean", description="how frames become one vector")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: every class counts as much, however rare")
    training: ClassifyTrainingConfig = ClassifyTrainingConfig()

    @model_validator(mode="after")
    def _inputs(self) -> ClassifyConfig:
        if not 1 <= len(self.inputs) <= 2:
            raise ValueError(f"inputs: one or two, not {len(self.inputs)}")
        if len(self.inputs) == 2 and self.model.architecture != "parallel":
            raise ValueError("two inputs need model.architecture: parallel, a branch for each")
        kind, over = self.inputs[0].kind, self.model.conv.over
        if (kind == "video") != (over == "image") or (kind == "text" and over != "time"):
            right = {"video": "image", "text": "time"}.get(kind, "spectrogram, or time")
            raise ValueError(f"model.conv.over: {over} does not go with an input of kind {kind}; choose {right}")
        return self
