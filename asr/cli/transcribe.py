"""`asr transcribe`: audio to text, on the screen or in files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import search
from asr.cli.paths import need_model
from asr.errors import AsrError, AudioError, UsageError

JOB = "Large jobs (with --out)"


def command(
    model: Annotated[Path, typer.Option(help="The model file, model.safetensors.")],
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]...", help="Files, folders, Kaldi data directories, "
                                                       "quoted patterns ('rec/**/*.wav'), or - for standard input.")] = None,
    list_file: Annotated[Path | None, typer.Option("--list", help="A file of more inputs: a path a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write files into this folder; without it, lines on the screen.")] = None,
    format: Annotated[str, typer.Option(help="What to write: txt, json, srt, vtt, tsv, ctm, stm, or several as txt,json; "
                                             "needs --out.")] = "txt",
    recursive: Annotated[bool, typer.Option("--recursive", help="Look in folders below the folders as well.")] = False,
    base: Annotated[Path | None, typer.Option(help="Outputs are named by the path below this folder; without it, below the "
                                                   "deepest that holds all inputs.")] = None,
    channel: Annotated[int | None, typer.Option(help="Take this channel, counted from 0; without it, all are "
                                                        "averaged.", min=0)] = None,
    channels: Annotated[str, typer.Option(help="mix: channels are averaged. apart: each has a transcript of its own.")] = "mix",
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that "
                                                                    "end in `|`).")] = False,
    batch_seconds: Annotated[float, typer.Option(help="Padded audio seconds in a batch.")] = 120.0,
    jobs: Annotated[int, typer.Option(help="Batches at a time; 0: a core each, four at most, three on CUDA.", min=0)] = 0,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Part I of N of the files, by their content.",
                                              rich_help_panel=JOB)] = None,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS|local", help="Work on a Ray cluster; local: on this machine, in "
                                            "--jobs processes.", rich_help_panel=JOB)] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file that cannot be transcribed.")] = False,
    method: search.Method = "greedy",
    nbest: Annotated[int, typer.Option(help="At most so many transcripts of each file, in json (greedy knows one).", min=1)] = 1,
    tuned: search.Tuned = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="The network computes in bfloat16; on CUDA.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="The network computes in whole numbers of eight bits; on the CPU.")] = False,
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
    """Transcribe audio: a line each on the screen, or files under --out.

    On the screen a file is one line: its path, a tab, its text. Under --out it is PATH.txt, PATH.json ..., where PATH
    keeps the input's folders and its own suffix (a.wav.txt, a.mp3.txt). What is there already, of the same audio by the
    same model and settings, is not done again; a run that was stopped goes on; several may work in one folder. A file
    that cannot be read is named, and is a row of failures.tsv; the others are transcribed, and the exit status is 1.

    \b
    Example:
      asr transcribe --model model.safetensors call.wav
      asr transcribe --model model.safetensors recordings/ --recursive \\
                     --out transcripts --format txt,json,srt
    """
    need_model(model)
    if channels not in ("mix", "apart"):
        raise UsageError(f"--channels {channels}: choose mix or apart")
    if channels == "apart" and channel is not None:
        raise UsageError("--channels apart takes every channel; leave out --channel, or --channels apart")
    options = search.decoder_options(method, beam, lm, lm_unit, lexicon, hotwords, hotword_boost, lm_weight, word_bonus,
                                     blank_penalty, token_threshold, beam_threshold, blank_skip, tuned, nbest)

    from asr.cli.progress import TranscriptionProgress
    from asr.transcription import Recognizer
    from asr.transcription.job import Job, Shard, settings_of, survey_all, transcribe_in_order
    from asr.transcription.pipeline import Executor, Local
    from asr.transcription.sources import find_items, read_list
    from asr.transcription.tuning import with_tuned
    from asr.transcription.writers import parse_formats

    formats = parse_formats(format)
    if nbest > 1 and "json" not in formats:
        raise UsageError(f"--nbest {nbest}: of the formats json alone holds more than the best; add --out DIR --format json")
    part = None if shard is None else Shard.parse(shard)
    if out is None and (formats != ["txt"] or part is not None):
        raise UsageError(f"--format {format} writes files; name their folder with --out" if part is None
                         else "--shard: the shards meet in one folder; name it with --out")
    if ray is not None and "-" in (inputs or []):
        raise UsageError("--ray: standard input cannot be read on other machines; write it to a file first")
    if not batch_seconds > 0:
        raise UsageError(f"--batch-seconds {batch_seconds:g}: must be above zero")
    listed = [] if list_file is None else read_list(list_file)
    items = find_items(inputs or [], recursive, listed, base, channel, allow_pipes)
    # On a cluster it is the workers that compute; what is loaded here tells what they must agree with.
    recognizer = Recognizer.load(model, device if ray is None else "cpu", bf16=bf16 and ray is None, int8=int8)
    recognizer = recognizer.with_options(with_tuned(options, tuned, recognizer.model))
    if formats == ["txt"]:
        recognizer = recognizer.without_times()
    with ExitStack() as stack:
        if ray is None:
            executor: Executor = Local(recognizer, jobs)
        else:
            from asr.transcription.cluster import Cluster, Load

            executor = stack.enter_context(Cluster(ray, Load.of(recognizer, device, bf16), jobs))
        # Without --out the printed lines show the progress, and a bar would catch them from a redirected standard output.
        watch = stack.enter_context(TranscriptionProgress(bar=out is not None))
        if out is not None:
            settings = settings_of(recognizer, bf16)
            report = Job(out, formats, settings, batch_seconds, part, fail_fast, watch).run(executor, items, channels == "apart")
            failed, count = len(report.failed), report.files
        else:
            found, faults = survey_all(items, channels == "apart", watch)
            failed, count = 0, len(found) + len(faults)
            for item, outcome in transcribe_in_order(executor, found, faults, batch_seconds, watch):
                if not isinstance(outcome, str):
                    print(f"{item.shown}\t{outcome.text}", flush=True)
                    continue
                failed += 1
                watch.failed(outcome)
                if fail_fast:
                    raise AsrError("--fail-fast: the rest is left undone")
    if out is not None:
        before = f", {report.kept} of them not by this run" if report.kept else ""
        factor = f", {report.audio_seconds:.1f} s of audio in {report.wall_seconds:.1f} s" if report.transcribed else ""
        print(f"{count - failed} of {count} files transcribed{before}{factor}: {out}")
    if failed:
        where = "they are named above" + ("" if out is None else f" and in {out / 'failures.tsv'}")
        raise AudioError(f"{failed} of {count} files could not be transcribed; {where}")
