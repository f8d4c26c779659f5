"""From audio to words: the recogniser, decoding of data directories, transcription of files, and the writers."""

from asr.transcription.decode import DecodeReport, decode_dir
from asr.transcription.files import Transcript, transcribe_files
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Alternative, Result, Word

__all__ = ["Alternative", "DecodeReport", "Recognizer", "Result", "Transcript", "Word", "decode_dir", "transcribe_files"]
