"""From audio to words: the recogniser, decoding and alignment of data directories, transcription of files, the writers."""

from asr.transcription.align import AlignReport, align_dir
from asr.transcription.decode import DecodeReport, decode_dir
from asr.transcription.recognizer import Recognizer, Transcript
from asr.transcription.result import Alternative, Result, Word

__all__ = ["AlignReport", "Alternative", "DecodeReport", "Recognizer", "Result", "Transcript", "Word", "align_dir",
           "decode_dir"]
