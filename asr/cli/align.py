"""`asr align`: a data directory with transcripts to the times of its words and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir, need_model
from asr.errors import AsrError


def command(
    model: Annotated[Path, typer.Option(help="The model file, model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A Kaldi data directory with transcripts (`text`).")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    wildcard: Annotated[str | None, typer.Option(help="This word of the transcripts stands for speech that was not written "
                                                      "down.")] = None,
    fit: Annotated[Path | None, typer.Option(help="Estimate the timing model anew from this data, and write the model with "
                                                  "it to this path.")] = None,
    batch_seconds: Annotated[float, typer.Option(help="Padded audio seconds in a batch; the times do not depend on it.")] = 120.0,
    archived: Annotated[bool, typer.Option("--archived", help="Read the features that `asr features` wrote (feats.scp) "
                                                              "in place of the audio.")] = False,
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that "
                                                                    "end in `|`).")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto",
) -> None:
    """Say when each word of the transcripts was spoken: words.ctm, tokens.ctm and TextGrid files in one folder.

    An utterance whose audio cannot be read, or is too short for its text, is named, the others are aligned, and the exit
    status is 1.

    \b
    Example:
      asr align --model exp/commands/crnn/model.safetensors \\
                --data data/commands/dev \\
                --out exp/commands/crnn/align_dev
    """
    need_model(model)
    need_dir(data)
    import torch

    from asr.cli.progress import progress
    from asr.corpus import DataDir
    from asr.system import choose_threads
    from asr.transcription.align import align_dir

    torch.set_num_threads(choose_threads())
    report = align_dir(model, DataDir.load(data, allow_pipes=allow_pipes), out, batch_seconds, device, archived, wildcard, fit,
                       watch=lambda batches: progress(batches, "aligning, batches"))
    print(f"{len(report.results)} utterances, {report.audio_seconds:.1f} s of audio in {report.wall_seconds:.1f} s, times by "
          f"{report.times}: {out / 'words.ctm'}")
    if report.failed:
        raise AsrError(f"{len(report.failed)} of {len(report.failed) + len(report.results)} utterances were not aligned; "
                       f"they are listed above and in {out / 'align.json'}")
