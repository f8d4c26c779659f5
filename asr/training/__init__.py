"""Training on Lightning: `train` is the whole run."""

from asr.training.run import train

__all__ = ["train"]
