"""``asr score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir, need_file


def command(
    ref: Annotated[Path, typer.Option(help="References: Kaldi `text`, or by suffix trn, stm, ctm, tsv, json, jsonl.")],
    hyp: Annotated[Path, typer.Option(help="Hypotheses, of every reference: the same formats (ctm against stm or ctm).")],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json, per_utt.jsonl, per_speaker.tsv, slices.tsv, "
                                                  "confusions.tsv and alignments.txt.")] = None,
    normalizer: Annotated[str, typer.Option(help="Applied to both sides first: none, nfc, basic, english or basic-LANGUAGE. The "
                                                 "score without it is shown too.")] = "none",
    rules: Annotated[str | None, typer.Option(help="How words are aligned: edit (fewest errors, as Kaldi and jiwer), sclite, or "
                                                   "sclite-cased. By default sclite for trn, stm and ctm, else edit.")] = None,
    cer: Annotated[bool, typer.Option("--cer", help="Count characters as well (spaces between words included).")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Leave out references without a hypothesis, and say "
                                                            "PARTIAL.")] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Kaldi `utt2spk`, for counts of each speaker.")] = None,
    data: Annotated[Path | None, typer.Option(help="Kaldi data directory: speakers, recordings and durations from its "
                                                   "utt2spk, segments and utt2dur.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="A tsv table with an id column; the score is broken down by the "
                                                       "others.")] = None,
    by: Annotated[str, typer.Option(help="Print the score by these columns, commas between them: speaker, recording, duration, "
                                         "any of --metadata.")] = "",
    top: Annotated[int, typer.Option(help="Print as many of the words most often confused, missed and inserted.", min=0)] = 0,
    ref_format: Annotated[str | None, typer.Option(help="text, trn, stm, ctm, tsv or json, where the suffix does not "
                                                        "tell.")] = None,
    hyp_format: Annotated[str | None, typer.Option(help="The same of the hypotheses.")] = None,
) -> None:
    """Count word errors, paired by utterance id or by time, with a 95 % interval.

    \b
    Example:
      asr score --ref data/fsdd/test/text --hyp exp/fsdd/crnn/decode_test_greedy/text \\
                --data data/fsdd/test --by speaker,duration --out exp/fsdd/crnn/decode_test_greedy
      asr score --ref talks.stm --hyp talks.ctm --normalizer english
    """
    for path, what in ((ref, "file of references"), (hyp, "file of hypotheses"), (utt2spk, "utt2spk file"),
                       (metadata, "table of metadata")):
        need_file(path, what)
    if data is not None:
        need_dir(data)
    from asr.scoring import score, summary, write_scores
    from asr.scoring.files import breakdown, frequent_errors, hypotheses_in

    scored = None if out is None else hypotheses_in(out, hyp)
    scores = score(ref, hyp, cer=cer, normalizer=normalizer, partial=partial, utt2spk=utt2spk, ref_format=ref_format,
                   hyp_format=hyp_format, rules=rules, data=data, metadata=metadata)
    tables = [breakdown(scores, column.strip()) for column in by.split(",") if column.strip()]
    if out is not None:
        write_scores(scores, out, scored)
    print("\n".join([summary(scores), *tables, *([frequent_errors(scores, top)] if top else [])]), end="")
