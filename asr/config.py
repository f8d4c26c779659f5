"""The typed configuration tree, and the one loader for it.

A configuration is a YAML file of the sections below; what is absent takes its default, and an unknown or mistyped key
is an error that names the key's path and the closest known one. The resolved tree is written beside every run and
travels inside every model file, so nothing but the model file is needed to transcribe.

This module imports neither torch nor any other part of the toolkit.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from asr.errors import ConfigError


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("a range is [from, to], the smaller number first")
    return value


def _in_63_bits(value: int) -> int:
    if value >= 2**63:
        raise ValueError("a seed must be below 2**63 = 9223372036854775808")  # torch's generators take no more
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
Seed = Annotated[int, AfterValidator(_in_63_bits)]


class Section(BaseModel):
    """A part of the configuration: immutable, closed to keys it does not know; its numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads `yes` and `on` as true, which pydantic would take for 1."""
        given = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in given) and _holds_number(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("a number is needed here, not true or false")
        return value


def _holds_number(annotation: Any) -> bool:
    """Whether int or float is in an annotation such as ``tuple[float, ...] | None``."""
    return annotation in (int, float) or any(_holds_number(inner) for inner in typing.get_args(annotation))


# --------------------------------------------------------------------------------------------------- features


class FeatureConfig(Section):
    """The front-end. The defaults are Kaldi's own (``compute-fbank-feats``), with 80 mel bins and dither 0."""

    kind: Literal["fbank", "mfcc", "spectrogram"] = "fbank"
    sample_rate: int = Field(16000, gt=0, description="Hz; audio at another rate is resampled to it")
    frame_length_ms: float = Field(25.0, gt=0)
    frame_shift_ms: float = Field(10.0, gt=0)
    window: Literal["povey", "hamming", "hanning", "rectangular", "blackman"] = "povey"
    preemphasis: float = Field(0.97, ge=0, le=1)
    remove_dc_offset: bool = True
    dither: float = Field(0.0, ge=0, description="in units of a 16-bit sample, as in Kaldi")
    snip_edges: bool = True
    num_mel_bins: int = Field(80, ge=3)
    low_freq: float = Field(20.0, ge=0, description="Hz")
    high_freq: float = Field(0.0, description="Hz; zero or less counts down from the Nyquist frequency")
    num_ceps: int = Field(13, ge=1, description="mfcc only")
    cepstral_lifter: float = Field(22.0, ge=0, description="mfcc only")
    cmvn: Literal["none", "global", "speaker", "utterance"] = "global"
    cmvn_variance: bool = Field(True, description="divide by the standard deviation as well")

    @model_validator(mode="after")
    def _consistent(self) -> FeatureConfig:
        nyquist = self.sample_rate / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not self.low_freq < high <= nyquist:
            raise ValueError(f"low_freq {self.low_freq:g} and high_freq {high:g} Hz must satisfy "
                             f"low_freq < high_freq <= {nyquist:g} (half the sample rate)")
        if self.kind == "mfcc" and self.num_ceps > self.num_mel_bins:
            raise ValueError(f"num_ceps {self.num_ceps} must not exceed num_mel_bins {self.num_mel_bins}")
        return self


# ----------------------------------------------------------------------------------------------- augmentation


class NoiseConfig(Section):
    """Additive noise: from files, or generated (white to brown, and babble made of the utterance itself)."""

    probability: float = Field(0.0, ge=0, le=1)
    snr_db: Range = (5.0, 25.0)
    files: str | None = Field(None, description="a folder or a wav.scp of noise; generated noise when absent")


class ReverbConfig(Section):
    """Convolution with a room's impulse response: from files, or generated with a drawn reverberation time."""

    probability: float = Field(0.0, ge=0, le=1)
    rt60_s: Range = (0.1, 0.6)
    files: str | None = Field(None, description="a folder or a wav.scp of impulse responses; generated when absent")


class SpecAugmentConfig(Section):
    """SpecAugment (Park et al., 2019) without time warping: masks on the features, filled with the mean (zero)."""

    freq_masks: int = Field(0, ge=0)
    freq_width: int = Field(10, ge=0, description="largest width of one mask, in bins")
    time_masks: int = Field(0, ge=0)
    time_width: int = Field(10, ge=0, description="largest width of one mask, in frames")
    time_fraction: float = Field(0.2, ge=0, le=1, description="a mask never covers more of the utterance than this")


class AugmentConfig(Section):
    """What training does to an utterance before the network hears it; drawn anew for each utterance and epoch."""

    speed: tuple[float, ...] = Field((), description="factors, one drawn per utterance; pitch moves along")
    tempo: Range | None = Field(None, description="factor drawn from the range; pitch stays (WSOLA)")
    pitch_semitones: Range | None = Field(None, description="shift drawn from the range; duration stays")
    volume_db: Range | None = Field(None, description="gain drawn from the range")
    vtlp: Range | None = Field(None, description="vocal-tract-length warp of the mel axis, drawn from the range")
    telephone: float = Field(0.0, ge=0, le=1, description="probability of a 300-3400 Hz band and mu-law coding")
    noise: NoiseConfig = NoiseConfig()
    reverb: ReverbConfig = ReverbConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()

    @field_validator("speed")
    @classmethod
    def _speeds(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0.5 <= factor <= 2 for factor in value):
            raise ValueError("each speed factor must be from 0.5 to 2")
        return value


# ----------------------------------------------------------------------------------------------------- tokens


class TokenizerConfig(Section):
    """How text becomes tokens. Token 0 is the CTC blank."""

    kind: Literal["char", "bpe", "phone"] = "char"
    vocab_size: int = Field(200, ge=4, description="bpe only; the blank is counted")
    lexicon: str | None = Field(None, description="phone only: Kaldi's lexicon.txt, `word phone phone ...` a line")
    dir: str | None = Field(None, description="a folder written by `asr tokenizer`; made from the training text when absent")
    normalizer: str = Field("none", description="named normaliser applied to transcripts before tokens are made")

    @model_validator(mode="after")
    def _lexicon_of_phones(self) -> TokenizerConfig:
        if self.lexicon is not None and self.kind != "phone":
            raise ValueError(f"a lexicon is for kind: phone, not {self.kind}")
        if self.kind == "phone" and self.lexicon is None and self.dir is None:
            raise ValueError("kind: phone needs a lexicon (`word phone phone ...` a line), or dir, a tokenizer that has one")
        return self


# ------------------------------------------------------------------------------------------------------ model


class ConvLayerConfig(Section):
    """One 2-D convolution; every pair is (time, frequency)."""

    channels: int = Field(gt=0)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)

    @model_validator(mode="after")
    def _odd(self) -> ConvLayerConfig:
        if any(size < 1 or size % 2 == 0 for size in self.kernel):
            raise ValueError(f"kernel sizes must be odd (centred on a frame), not {list(self.kernel)}")
        if any(step < 1 for step in self.stride):
            raise ValueError(f"strides must be 1 or more, not {list(self.stride)}")
        return self


class ConvConfig(Section):
    """The convolution stack. Its kernels go over the (time, frequency) of a spectrogram; over time alone, where bins are
    channels (sensors, words); or over the (height, width) of every frame of a video by itself."""

    layers: tuple[ConvLayerConfig, ...] = Field((
        ConvLayerConfig(channels=32, kernel=(3, 3), stride=(2, 2)),
        ConvLayerConfig(channels=32, kernel=(3, 3), stride=(1, 2)),
    ), description="may be empty: recurrence alone")
    over: Literal["spectrogram", "time", "image"] = "spectrogram"
    norm: Literal["batch", "layer", "none"] = "batch"
    activation: Literal["relu", "hardtanh", "gelu", "silu"] = "relu"
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _over_time(self) -> ConvConfig:
        if self.over == "time" and any(layer.kernel[1] != 1 or layer.stride[1] != 1 for layer in self.layers):
            raise ValueError("over time, bins are channels: kernel and stride must be 1 in the second place, as in kernel: [5, 1]")
        return self

    @property
    def subsampling(self) -> int:
        """Input frames to one output frame: the product of the strides in time."""
        return 1 if self.over == "image" else math.prod(layer.stride[0] for layer in self.layers)


class RnnConfig(Section):
    """The recurrent stack."""

    cell: Literal["gru", "lstm"] = "gru"
    hidden: int = Field(128, gt=0, description="units of one direction")
    layers: int = Field(2, ge=0, description="0 leaves the recurrence out")
    bidirectional: bool = True
    norm: Literal["batch", "layer", "none"] = "layer"
    dropout: float = Field(0.0, ge=0, lt=1, description="on the input of every layer but the first")


class AttentionConfig(Section):
    """Self-attention: after the recurrence, or in its place (`model.rnn.layers: 0`)."""

    kind: Literal["transformer", "conformer"] = "transformer"
    layers: int = Field(0, ge=0, description="0 leaves attention out")
    dim: int = Field(128, gt=0)
    heads: int = Field(4, gt=0, description="must divide dim")
    feedforward: int = Field(512, gt=0, description="width of the feed-forward layers")
    kernel: int = Field(15, gt=0, description="conformer only: frames of its convolution, odd")
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _divides(self) -> AttentionConfig:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim {self.dim} must be even, and a multiple of heads {self.heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd (centred on a frame), not {self.kernel}")
        return self


class FusionConfig(Section):
    """How the two branches of a parallel network become one."""

    kind: Literal["concat", "sum", "gated", "glu", "bilinear", "film", "cross_attention", "squeeze_excite"] = "concat"
    dim: int = Field(128, gt=0, description="width of what is made of the two; concat and squeeze_excite keep both widths")
    heads: int = Field(4, gt=0, description="cross_attention only; must divide dim")
    level: Literal["frames", "utterance"] = Field("frames", description="join frame by frame, or after pooling (one label an item)")

    @model_validator(mode="after")
    def _possible(self) -> FusionConfig:
        if self.kind == "cross_attention" and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if self.level == "utterance" and self.kind in ("cross_attention", "squeeze_excite"):
            raise ValueError(f"{self.kind} looks along the frames: it needs level: frames")
        return self


class ModelConfig(Section):
    """The network. `cascade`: convolutions, then the context (recurrence, attention); `parallel`: convolutions beside the
    context on the same input, then fusion. A stage without layers is left out: convolutions alone, recurrence alone."""

    architecture: Literal["cascade", "parallel"] = "cascade"
    conv: ConvConfig = ConvConfig()
    stacking: int = Field(1, ge=1, description="cascade only: frames joined into one before the context")
    projection: int = Field(0, ge=0, description="width between convolutions and what follows; 0 leaves it out")
    rnn: RnnConfig = RnnConfig()
    attention: AttentionConfig = AttentionConfig()
    fusion: FusionConfig = FusionConfig()
    dropout: float = Field(0.0, ge=0, lt=1, description="before the output layer")

    @model_validator(mode="after")
    def _whole(self) -> ModelConfig:
        context = self.rnn.layers or self.attention.layers
        if self.architecture == "parallel" and not (self.conv.layers and context):
            raise ValueError("parallel needs two branches: conv.layers, and rnn.layers or attention.layers")
        if self.architecture == "parallel" and self.stacking > 1:
            raise ValueError("stacking is for the cascade: in parallel the context's frames are joined as the convolutions stride")
        if not (self.conv.layers or context or self.projection):
            raise ValueError("nothing to learn with: conv.layers, projection, rnn.layers and attention.layers are all empty")
        return self


# --------------------------------------------------------------------------------------------------- training


class OptimizerConfig(Section):
    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0, description="the peak of the schedule")
    weight_decay: float = Field(1e-2, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")

    @field_validator("betas")
    @classmethod
    def _decays(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("each of the two must be from 0 to less than 1")
        return value


class ScheduleConfig(Section):
    name: Literal["constant", "linear", "cosine", "noam", "plateau"] = "cosine"
    warmup_steps: int = Field(200, ge=0)
    final_fraction: float = Field(0.01, ge=0, le=1, description="linear and cosine end at this fraction of lr")
    patience: int = Field(3, ge=0, description="plateau: epochs without a better dev loss before lr halves")


class LoopConfig(Section):
    """The training loop, whatever is trained."""

    epochs: int = Field(30, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    precision: Literal["32", "bf16", "16"] = "32"
    gradient_clip: float = Field(5.0, ge=0, description="largest gradient norm; 0 for none")
    accumulate: int = Field(1, ge=1, description="batches to one optimizer step")
    batch_multiple: int = Field(1, ge=1, description="batches hold a multiple of so many items: even shares for as many processes")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="exponential moving average of the weights; 0 for none")
    average_best: int = Field(5, ge=1, description="checkpoints, best on dev, averaged into the model")
    early_stop: int = Field(0, ge=0, description="epochs without a better dev error before stopping; 0 for never")
    nonfinite_limit: int = Field(10, ge=1, description="steps in a row with a non-finite loss or gradient before stopping")
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints to resume from")
    workers: int = Field(1, ge=0, description="processes that read and augment audio and make features")
    threads: int = Field(0, ge=0, description="threads of the network on the CPU; 0 lets the toolkit choose")

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # YAML reads `precision: 16` as a number


class ObjectiveConfig(Section):
    """What the training of a recogniser minimises: CTC, and what may be added to it."""

    intermediate: tuple[int, ...] = Field((), description="recurrent layers below the last, counted from 1, that the output layer "
                                                          "answers to as well (intermediate CTC)")
    intermediate_weight: float = Field(0.3, gt=0, lt=1, description="part of their mean loss in the whole")
    consistency: float = Field(0.0, ge=0, description="weight of how far two masked views differ (CR-CTC); 0 for one view")
    mix: float = Field(0.0, ge=0, le=1, description="part of the utterances that are heard together with another of their batch "
                                                    "(MixSpeech)")


class TrainingConfig(LoopConfig):
    """The training of a recogniser."""

    batch_seconds: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        120.0, description="padded audio seconds in a batch, of all processes together; auto: as many as memory holds")
    max_utterances: int = Field(64, ge=1, description="in a batch")
    sort_first_epoch: bool = Field(False, description="short utterances first in the first epoch (SortaGrad)")
    ctc_backend: Literal["auto", "torch", "triton"] = Field("auto", description="what computes the loss")
    monitor: Literal["wer", "cer", "loss"] = Field("wer", description="what `best` means, on dev")
    archived: bool = Field(False, description="read features from feats.scp (`asr features`) instead of audio")
    objective: ObjectiveConfig = ObjectiveConfig()


class Config(Section):
    """Everything a training run needs to know, apart from where its data lies."""

    seed: Seed = Field(1, ge=0)
    features: FeatureConfig = FeatureConfig()
    augment: AugmentConfig = AugmentConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _possible(self) -> Config:
        objective, augment, model = self.training.objective, self.augment.spec_augment, self.model
        if objective.intermediate:
            if model.architecture != "cascade" or model.attention.layers:
                raise ValueError("training.objective.intermediate is for a cascade that ends in recurrence "
                                 "(model.architecture: cascade, model.attention.layers: 0)")
            if len(set(objective.intermediate) & set(range(1, model.rnn.layers))) < len(objective.intermediate):
                raise ValueError(f"training.objective.intermediate: {list(objective.intermediate)} must be different, from 1 to "
                                 f"{model.rnn.layers - 1}, below the last of model.rnn.layers")
        masked = (augment.freq_masks and augment.freq_width) or (augment.time_masks and augment.time_width)
        if objective.consistency and not masked:
            raise ValueError("training.objective.consistency compares two masked views: give augment.spec_augment masks")
        return self


# ----------------------------------------------------------------------------------------------------- loader


class _Loader(yaml.SafeLoader):
    """Of keys that come twice YAML's loader keeps the last without a word; here they are an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (first := seen.setdefault((key.tag, key.value), key)) is not key:
                raise yaml.YAMLError(f"`{key.value}` comes twice, first in line {first.start_mark.line + 1}, then in line "
                                     f"{key.start_mark.line + 1}; make one of the two")
        return node


Root = typing.TypeVar("Root", bound=Section)


def load_config(path: str | Path | None = None, overrides: typing.Sequence[str] = (), root: type[Root] = Config) -> Root:
    """Read a YAML file (or none: all defaults), apply ``a.b=value`` overrides, validate the whole, return the tree.

    ``root`` is the kind of tree: a recogniser's (Config) where nothing else is said.

    Values of overrides are YAML: ``training.epochs=3``, ``augment.speed=[0.9,1.0,1.1]``, ``augment.vtlp=null``; entries of lists
    that the file has go by number: ``inputs.0.text.dim=300``.
    Raises ConfigError that lists every fault with the key's path and, for an unknown key, the closest known one.
    """
    where = str(path) if path else "configuration"
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
        except OSError as error:
            raise ConfigError(f"{path}: cannot read: {error.strerror}") from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that is none
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        if loaded is not None and not isinstance(loaded, dict):
            raise ConfigError(f"{path}: expected sections (`training:` ...), found a {type(loaded).__name__}")
        tree = loaded or {}
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, where, root)


def parse_config(tree: dict[str, Any], where: str = "configuration", root: type[Root] = Config) -> Root:
    """Validate a tree of plain values (as read from YAML or from a model's metadata) into a tree of sections."""
    try:
        return root.model_validate(tree)
    except ValidationError as error:
        found: dict[str, list[str]] = {}  # a value that may be of two types has a fault for each
        for fault in error.errors():
            found.setdefault(_path(fault["loc"], root), []).append(_describe(fault, root))
        faults = [f"{path}: {' or '.join(whats)}" if path else " or ".join(whats) for path, whats in found.items()]
        raise ConfigError(f"{where}: " + ("; ".join(faults) if len(faults) == 1 else
                                          f"{len(faults)} faults\n  " + "\n  ".join(faults))) from None


def dump_config(config: Section) -> str:
    """The resolved tree as YAML, every key with its value; `load_config` reads it back to an equal tree."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def _apply(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: expected a.b=value, for example training.epochs=3")
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {' '.join(str(error).split())}") from None
    node: Any = tree
    for key in keys[:-1]:
        child = node[_place(node, key, override)] if isinstance(node, list) else node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict | list):
            raise ConfigError(f"--set {override}: `{key}` holds the value {child!r}, it has no keys below it")
        node = child
    node[_place(node, keys[-1], override) if isinstance(node, list) else keys[-1]] = value


def _place(entries: list[Any], key: str, override: str) -> int:
    """The number of an entry of a list that is there."""
    if not key.isdecimal() or int(key) >= len(entries):
        raise ConfigError(f"--set {override}: `{key}` is no entry of a list of {len(entries)}; the first is 0")
    return int(key)


def _path(location: tuple[Any, ...], root: type[Section]) -> str:
    """`key.path` of a fault: what pydantic puts behind a key (the types that its value may have) is none of it."""
    return ".".join(str(part) for end, part in enumerate(location) if isinstance(part, int) or _keys_at(location[:end], root))


def _describe(fault: Any, root: type[Section]) -> str:
    """One pydantic fault as `what is wrong (did you mean ...?)`."""
    location = fault["loc"]
    if fault["type"] == "extra_forbidden":
        known = _keys_at(location[:-1], root)
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        return "unknown key" + (f"; did you mean `{close[0]}`? (known: {', '.join(known)})" if close else "")
    message = fault["msg"].removeprefix("Value error, ")
    return f"{message} (got {fault['input']!r})" if not isinstance(fault["input"], dict) else message


def _keys_at(location: tuple[Any, ...], root: type[Section]) -> list[str]:
    """The keys the section at this location knows; walks lists and optional sections as well."""
    section: Any = root
    for part in location:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        section = _section_of(field.annotation) if field else None
        if section is None:
            return []
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    """The Section inside an annotation such as ``tuple[Section, ...]`` or ``Section | None``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, Section):
        return annotation
    for inner in typing.get_args(annotation):
        if inner is not Ellipsis and (found := _section_of(inner)):
            return found
    return None
