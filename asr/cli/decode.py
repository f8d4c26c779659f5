"""`asr decode`: a data directory to a decode folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli import search
from asr.cli.paths import need_dir, need_model
from asr.errors import AsrError


def command(
    model: Annotated[Path, typer.Option(help="The model file, model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A Kaldi data directory.")],
    out: Annotated[Path, typer.Option(help="The decode folder to write.")],
    method: search.Method = "greedy",
    tune: Annotated[bool, typer.Option("--tune", help="Find the weights around which word errors are fewest on this data, which "
                                                      "must be dev and never test; calibrate confidences.")] = False,
    tuned: search.Tuned = None,
    batch_seconds: Annotated[float, typer.Option(help="Padded audio seconds in a batch; the transcripts do not depend "
                                                      "on it.")] = 120.0,
    nbest: Annotated[int, typer.Option(help="Write nbest.jsonl with at most this many transcripts an utterance (greedy "
                                            "knows one).")] = 0,
    archived: Annotated[bool, typer.Option("--archived", help="Read the features that `asr features` wrote (feats.scp) "
                                                              "in place of the audio.")] = False,
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that "
                                                                    "end in `|`).")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto",
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
    """Transcribe a data directory: text, words.ctm and decode.json in one folder.

    Utterances are batched by length. One whose audio cannot be read is named, the others are decoded, and the exit
    status is 1.

    \b
    Example:
      asr decode --model exp/commands/crnn/model.safetensors \\
                 --data data/commands/test \\
                 --out exp/commands/crnn/decode_test_greedy
      asr score --ref data/commands/test/text \\
                --hyp exp/commands/crnn/decode_test_greedy/text

    \b
    With a language model, its weight found on dev:
      asr lm build --kaldi --text data/commands/train/text --out lm.arpa
      asr decode --model model.safetensors --data data/commands/dev \\
                 --out decode_dev_beam --method beam --lm lm.arpa --tune
      asr decode --model model.safetensors --data data/commands/test \\
                 --out decode_test_beam --method beam --lm lm.arpa \\
                 --tuned decode_dev_beam/tuned.json
    """
    need_model(model)
    need_dir(data)
    options = search.decoder_options(method, beam, lm, lm_unit, lexicon, hotwords, hotword_boost, lm_weight, word_bonus,
                                     blank_penalty, token_threshold, beam_threshold, blank_skip, tuned)
    import torch

    from asr.cli.progress import progress
    from asr.corpus import DataDir
    from asr.system import choose_threads
    from asr.transcription.decode import decode_dir
    from asr.transcription.recognizer import Recognizer

    torch.set_num_threads(choose_threads())
    directory = DataDir.load(data, allow_pipes=allow_pipes)
    report = decode_dir(Recognizer.load(model, device, int8=int8), directory, out, options, batch_seconds, device, archived, nbest,
                        tuned, tune, lambda batches: progress(batches, "decoding, batches"),
                        lambda points: progress(points, "tuning, points"))
    if report.tuned is not None:
        best, points = report.tuned.weights, len(report.tuned.points)
        weights = "" if points == 1 else (
            f"of {points} points, the fewest errors around lm_weight {best.lm_weight:g}, word_bonus {best.word_bonus:g}, "
            f"blank_penalty {best.blank_penalty:g}, prior_weight {best.prior_weight:g}: ")
        print(f"{weights}{report.tuned.errors} errors in {report.tuned.words} words; {out / 'tuned.json'}")
    factor = "" if report.real_time_factor is None else f", real-time factor {report.real_time_factor:.4f}"
    print(f"{len(report.results)} utterances, {report.audio_seconds:.1f} s of audio in {report.wall_seconds:.1f} s{factor}: "
          f"{out / 'text'}")
    if report.failed:
        raise AsrError(f"{len(report.failed)} of {len(report.failed) + len(report.results)} utterances were not decoded; "
                       f"they are listed above and in {out / 'decode.json'}")
