"""A speech-recognition toolkit on convolutional-recurrent networks and CTC.

    >>> import asr
    >>> asr.__version__
    '0.1.0'

``from asr import Recognizer`` loads the recogniser (and with it torch) on first use; ``import asr`` alone is light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Recognizer", "__version__"]

if TYPE_CHECKING:
    from asr.transcription.recognizer import Recognizer


def __getattr__(name: str) -> Any:
    if name == "Recognizer":
        from asr.transcription.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
