"""`asr transcribe`: audio files and folders to text, on the screen or in files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import search
from asr.cli.paths import need_model
from asr.errors import AudioError, UsageError


def command(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Audio files, and folders of them.")],
    model: Annotated[Path, typer.Option(help="The model file, model.safetensors.")],
    out: Annotated[Path | None, typer.Option(help="Write files into this folder; without it, lines on the screen.")] = None,
    format: Annotated[str, typer.Option(help="What to write: txt, json, or both as txt,json; needs --out.")] = "txt",
    recursive: Annotated[bool, typer.Option("--recursive", help="Look in folders below the folders as well.")] = False,
    channel: Annotated[int | None, typer.Option(help="Take this channel, counted from 0; without it, all are "
                                                        "averaged.", min=0)] = None,
    batch_seconds: Annotated[float, typer.Option(help="Padded audio seconds in a batch.")] = 120.0,
    method: search.Method = "greedy",
    tuned: search.Tuned = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto",
    beam: search.Beam = 16,
    lm: search.Lm = None,
    lm_unit: search.LmUnit = "word",
    lexicon: search.Lexicon = None,
    hotwords: search.Hotwords = None,
    hotword_boost: search.HotwordBoost = 5.0,
    lm_weight: search.LmWeight = None,
    word_bonus: search.WordBonus = None,
    blank_penalty: search.BlankPenalty = None,
    token_threshold: search.TokenThreshold = 12.0,
    beam_threshold: search.BeamThreshold = 20.0,
    blank_skip: search.BlankSkip = 1.0,
) -> None:
    """Transcribe audio files: a line each on the screen, or files under --out.

    On the screen a file is one line: its path, a tab, its text. Under --out it is PATH.txt and PATH.json, where PATH
    keeps the input's folders and its own suffix (a.wav.txt, a.mp3.txt). A file that cannot be read is named, the
    others are transcribed, and the exit status is 1.

    \b
    Example:
      asr transcribe --model model.safetensors call.wav
      asr transcribe --model model.safetensors recordings/ --recursive \\
                     --out transcripts --format txt,json
    """
    from asr.transcription.files import find_inputs, parse_formats, transcribe_files, write_transcript

    need_model(model)
    options = search.decoder_options(method, beam, lm, lm_unit, lexicon, hotwords, hotword_boost, lm_weight, word_bonus,
                                     blank_penalty, token_threshold, beam_threshold, blank_skip, tuned)
    formats = parse_formats(format)
    if out is None and formats != ["txt"]:
        raise UsageError(f"--format {format} writes files; name their folder with --out")
    names = find_inputs(inputs, recursive)

    import torch

    from asr.cli.progress import progress
    from asr.system import choose_threads
    from asr.transcription.recognizer import Recognizer
    from asr.transcription.tuning import with_tuned

    torch.set_num_threads(choose_threads())
    recognizer = Recognizer.load(model, device)
    recognizer = recognizer.with_options(with_tuned(options, tuned, recognizer.model))
    transcripts = transcribe_files(recognizer, names, batch_seconds, channel)
    failed = 0
    # Without --out the printed lines show the progress, and a bar would catch them from a redirected standard output.
    for done in transcripts if out is None else progress(transcripts, "transcribing, files", total=len(names)):
        if done.result is None:
            failed += 1
            print(f"asr: {done.error}", file=sys.stderr, flush=True)
        elif out is None:
            print(f"{done.path}\t{done.result.text}", flush=True)
        else:
            write_transcript(done, out, names[done.path], formats)
    if out is not None:
        print(f"{len(names) - failed} of {len(names)} files transcribed: {out}")
    if failed:
        raise AudioError(f"{failed} of {len(names)} files could not be transcribed; they are named above")
