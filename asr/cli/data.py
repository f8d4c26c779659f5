"""``asr data``: check, fix, cut, join and describe Kaldi data directories."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.paths import need_dir, need_file
from asr.cli.progress import progress
from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.corpus import DataDir
    from asr.corpus.doctor import Finding
    from asr.corpus.info import DataInfo

app = typer.Typer(no_args_is_help=True, help="Kaldi data directories: check, fix, subset, split, combine, recombine, info.")

Dirs = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Data directories (wav.scp, text, utt2spk, ...).")]
Dir = Annotated[Path, typer.Argument(metavar="DIR", help="A data directory (wav.scp, text, utt2spk, ...).")]
Out = Annotated[Path, typer.Option(help="The directory to write.")]
Pipes = Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that end in |).")]
Seed = Annotated[int, typer.Option(min=0, help="Of the random draw: the same seed, the same draw.")]


@app.command()
def check(
    dirs: Dirs,
    audio: Annotated[str, typer.Option(help="How closely to look at the recordings: none, header (and the last samples), "
                                            "or decode (all of it).")] = "header",
    allow_pipes: Pipes = False,
) -> None:
    """Report every fault at once: file, line, what is wrong, and the cure. Exit status 1 where there are faults.

    \b
    Example:
      asr data check data/train data/dev
      asr data check --audio decode data/train
    """
    if audio not in ("none", "header", "decode"):
        raise UsageError(f"--audio {audio}: choose none, header or decode")
    need_dir(*dirs)
    from asr.corpus.check import check as check_directory

    count = 0
    for path in dirs:
        faults = check_directory(path, allow_pipes, audio)
        count += len(faults)
        for fault in faults:
            print(f"{path}/{fault}")
        if not faults:
            print(f"{path}: no faults")
    if count:
        print(_count(count, "fault"), file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def fix(
    dirs: Dirs,
    prefix_speaker: Annotated[bool, typer.Option("--prefix-speaker", help="Rename utterances to SPEAKER-UTTERANCE where "
                                                                          "they do not begin so.")] = False,
    allow_pipes: Pipes = False,
) -> None:
    """Repair in place what needs no decision; the files as they were are kept in DIR/.backup (the next time in .backup.2, ...).

    Sorts, removes blanks and identical duplicates, drops utterances that are not whole (no transcript, audio missing or
    cut, segment beyond its recording, ...), and derives spk2utt. Exit status 1 where faults remain for a person.

    \b
    Example:
      asr data fix data/train
      asr data fix --prefix-speaker data/train
    """
    need_dir(*dirs)
    from asr.corpus.repair import fix as fix_directory

    remaining = 0
    for path in dirs:
        repair = fix_directory(path, allow_pipes, prefix_speaker)
        for line in repair.done:
            print(f"{path}/{line}")
        for fault in repair.remaining:
            print(f"{path}/{fault}", file=sys.stderr)
        kept = f"; the files as they were are in {repair.backup}" if repair.backup else ""
        print(f"{path}: {_count(len(repair.done), 'repair')}; faults that remain: {len(repair.remaining)}{kept}")
        remaining += len(repair.remaining)
    if remaining:
        raise typer.Exit(1)


@app.command()
def subset(
    dir: Dir,
    out: Out,
    first: Annotated[int | None, typer.Option(min=1, help="Keep the first N utterances.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Keep the last N utterances.")] = None,
    random: Annotated[int | None, typer.Option(min=1, help="Keep N utterances drawn at random.")] = None,
    shortest: Annotated[int | None, typer.Option(min=1, help="Keep the N shortest utterances.")] = None,
    speakers: Annotated[str | None, typer.Option(help="Keep these speakers: a file with one in the first column of each "
                                                      "line, or names with commas.")] = None,
    utterances: Annotated[Path | None, typer.Option(help="Keep these utterances: a file with one in the first column of "
                                                         "each line (a `text`, say).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --random: the same seed, the same draw; 0 if absent.")] = None,
    allow_pipes: Pipes = False,
) -> None:
    """Write a directory with some of the utterances; lists of speakers and utterances apply before the count.

    \b
    Example:
      asr data subset data/train --out data/train_1k --random 1000 --seed 1
      asr data subset data/all --out data/test --speakers george,lucas
    """
    counts = [count for count in (first, last, random, shortest) if count is not None]
    if len(counts) > 1 or not (counts or speakers or utterances):
        raise UsageError("choose one of --first, --last, --random, --shortest, or a list with --speakers or --utterances")
    if seed is not None and random is None:
        raise UsageError("--seed is of the draw that --random makes; add --random N")
    need_file(utterances, "list of utterances")
    from asr.corpus import operations

    data = _load(dir, out, allow_pipes)
    listed = None if utterances is None else data.select(_first_column(utterances))
    if speakers is not None:
        data = operations.by_speakers(data, _names(speakers))
    if listed is not None:  # with both lists what is in both
        data = data.select({u.id for u in data.utterances} & {u.id for u in listed.utterances})
    if not data.utterances and (speakers or utterances):
        raise DataError(f"{dir}: no utterance is in the lists of --speakers and --utterances; nothing was written")
    if first is not None:
        data = operations.first(data, first)
    elif last is not None:
        data = operations.last(data, last)
    elif random is not None:
        data = operations.random(data, random, seed or 0)
    elif shortest is not None:
        data = operations.shortest(data, shortest)
    _save(data, out)


@app.command()
def split(
    dir: Dir,
    out: Annotated[Path, typer.Option(help="The folder in which to write a directory for each part.")],
    parts: Annotated[int | None, typer.Option(min=1, help="Number of equal parts.")] = None,
    fractions: Annotated[str | None, typer.Option(help="Sizes of the parts, with commas: 0.8,0.1,0.1")] = None,
    names: Annotated[str | None, typer.Option(help="Names of the parts, with commas; 1,2,... if absent.")] = None,
    by: Annotated[str, typer.Option(help="speaker (none is in two parts) or utterance.")] = "speaker",
    seed: Seed = 0,
    allow_pipes: Pipes = False,
) -> None:
    """Cut into parts; every utterance goes to one of them.

    \b
    Example:
      asr data split data/all --out data --fractions 0.8,0.1,0.1 --names train,dev,test
      asr data split data/train --out data/train/split4 --parts 4 --by utterance
    """
    if (parts is None) == (fractions is None):
        raise UsageError("choose --parts N or --fractions A,B,...")
    if by not in ("speaker", "utterance"):
        raise UsageError(f"--by {by}: choose speaker or utterance")
    shares = [1.0] * parts if parts is not None else _numbers(fractions or "")
    labels = [label.strip() for label in names.split(",")] if names else [str(number) for number in range(1, len(shares) + 1)]
    if len(labels) != len(shares) or len(set(labels)) < len(labels) or not all(labels):
        raise UsageError(f"--names {names}: {len(shares)} different names are needed, one for each part")
    if any("/" in label or label in (".", "..") for label in labels):
        raise UsageError(f"--names {names}: a part is a folder in --out, so its name has no / and is not . or ..")
    from asr.corpus import operations

    data = _load(dir, None, allow_pipes)
    if any((out / label).resolve() == dir.resolve() for label in labels):
        raise UsageError(f"--out {out}: a part would be written over {dir}")
    for label, part in zip(labels, operations.split(data, shares, by, seed)):
        _save(part, out / label)


@app.command()
def combine(dirs: Dirs, out: Out, allow_pipes: Pipes = False) -> None:
    """Join directories into one; a table that one of them lacks is left out, with a warning.

    \b
    Example:
      asr data combine data/train_a data/train_b --out data/train
    """
    need_dir(*dirs)
    from asr.corpus import operations

    _save(operations.combine([_load(path, out, allow_pipes) for path in dirs]), out)


@app.command()
def recombine(
    dir: Dir,
    ctm: Annotated[Path, typer.Option(help="When each word was spoken: the words.ctm that `asr align` wrote for DIR.")],
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="Number of strings.")],
    words: Annotated[str, typer.Option(help="Words of a string: the fewest and the most.")] = "2-8",
    seed: Seed = 0,
    allow_pipes: Pipes = False,
) -> None:
    """Write strings of a speaker's words in random order, cut where an alignment found them: more to train on, and no sentences.

    \b
    Example:
      asr align --model exp/first/model.safetensors --data data/train --out exp/first/align_train
      asr data recombine data/train --ctm exp/first/align_train/words.ctm --count 1000 --out data/strings
      asr data combine data/train data/strings --out data/train_strings
    """
    need_file(ctm, "alignment")
    fewest, dash, most = words.partition("-")
    if not (dash and fewest.isdecimal() and most.isdecimal()):
        raise UsageError(f"--words {words}: expected the fewest and the most, as in 2-8")
    from asr.corpus.recombine import recombine as put_together
    from asr.transcription.directory import words_of

    data = _load(dir, out, allow_pipes)
    _save(put_together(data, words_of(data, ctm), out, count, seed, (int(fewest), int(most))), out)


@app.command()
def info(
    dirs: Dirs,
    subsampling: Annotated[int, typer.Option(min=1, help="The network keeps one of so many 10 ms frames; for the list of "
                                                         "untrainable utterances.")] = 2,
    deep: Annotated[bool, typer.Option("--deep", help="Read all audio and rank what is suspicious: silence, clipping, text that "
                                                      "does not go with its audio, duplicates, leaks between the DIRs.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --deep: a table of all findings, FILE.tsv.")] = None,
    top: Annotated[int | None, typer.Option(min=0, help="With --deep: findings to show, the worst first; 30 if absent.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="With --deep: threads that read audio; 1 if absent.")] = None,
    allow_pipes: Pipes = False,
) -> None:
    """Show hours, speakers, histograms of durations and characters, and utterances too short for their transcripts.

    With --deep, the DIRs are the parts of one corpus: what is usual is learned from all of them, and nothing may be in two.
    Exit status 1 where a recording cannot be read; what is only suspicious is for a person to judge.

    \b
    Example:
      asr data info data/train data/dev
      asr data info --deep data/train data/dev data/test --out suspicious.tsv
    """
    if not deep and (given := [f"--{name}" for name, value in (("out", out), ("top", top), ("jobs", jobs)) if value is not None]):
        raise UsageError(f"{', '.join(given)}: only for the findings that --deep makes; add --deep")
    need_dir(*dirs)
    from asr.corpus import DataDir
    from asr.corpus.info import describe

    broken = 0
    loaded = {str(path): DataDir.load(path, allow_pipes) for path in dirs}
    for path, data in loaded.items():
        found = describe(data, subsampling, progress(data.wav, "reading headers", len(data.wav)))
        print("\n".join(_report(path, found, subsampling)))
        broken += len(found.unreadable)
    if deep:
        from asr.corpus.doctor import examine, write_findings

        findings = examine(loaded, jobs or 1, lambda items: progress(items, "reading audio"))
        print("\n".join(_suspicious(findings, 30 if top is None else top)))
        if out is not None:
            write_findings(out, findings)
            print(f"{out}: {_count(len(findings), 'finding')}")
        broken += sum(finding.kind == "unreadable" for finding in findings)
    if broken:
        raise typer.Exit(1)


def _suspicious(findings: list[Finding], top: int) -> list[str]:
    """The worst as a table, and how many of each kind."""
    if not findings:
        return ["suspicious: nothing"]
    kinds = Counter(finding.kind for finding in findings)
    lines = ["suspicious: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())]
    shown = [(f"{finding.score:.1f}", finding.kind, finding.item, finding.directory, finding.why) for finding in findings[:top]]
    widths = [max(len(row[column]) for row in shown) for column in range(4)] if shown else []
    lines += ["  " + "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths)), row[4]]) for row in shown]
    if len(findings) > top:
        lines.append(f"  ... and {len(findings) - top} more; --out FILE.tsv has them all")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _report(path: str, info: DataInfo, subsampling: int) -> list[str]:
    lines = [path, f"  utterances  {info.utterances}", f"  speakers    {info.speakers}",
             f"  recordings  {info.recordings}", f"  duration    {_hours(info.durations.sum())}"]
    if len(info.durations):
        lines.append(f"  utterance   shortest {info.durations.min():.2f} s, mean {info.durations.mean():.2f} s, "
                     f"longest {info.durations.max():.2f} s")
    for (rate, channels, format), count in sorted(info.formats.items()):
        lines.append(f"  audio       {count} x " + (format if not rate else f"{rate} Hz, {_channels(channels)}, {format}"))
    if info.words:
        lines.append(f"  words       {info.words} ({info.vocabulary} different)")
    lines += _bars("durations", [(f"{low:g}-{high:g} s", count) for low, high, count in info.histogram()])
    lines += _bars("characters", [(repr(character), count) for character, count in info.characters.most_common()])
    if info.untrainable:
        lines.append(f"  untrainable {len(info.untrainable)}: fewer output frames (10 ms x {subsampling}) than characters "
                     "need")
        lines += [f"    {id}: {frames} frames, {needed} needed" for id, frames, needed in info.untrainable]
    if info.unreadable:
        lines.append(f"  unreadable  {len(info.unreadable)}; not counted in the hours")
        lines += [f"    {why}" for why in info.unreadable]
    return lines


def _bars(title: str, rows: list[tuple[str, int]]) -> list[str]:
    if not rows:
        return []
    width = max(len(label) for label, _ in rows)
    most = max(count for _, count in rows)
    return [f"  {title}", *(f"    {label:>{width}}  {count:>8}  {'#' * round(40 * count / most)}".rstrip()
                            for label, count in rows)]


def _hours(seconds: float) -> str:
    minutes, rest = divmod(round(float(seconds), 1), 60)
    return f"{seconds / 3600:.2f} h ({int(minutes // 60)}:{int(minutes % 60):02d}:{rest:04.1f})"


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _load(path: Path, out: Path | None, allow_pipes: bool) -> DataDir:
    need_dir(path)
    from asr.corpus import DataDir

    if out is not None and out.resolve() == path.resolve():
        raise UsageError(f"--out {out}: it is the directory that is read; choose another")
    return DataDir.load(path, allow_pipes)


def _save(data: DataDir, out: Path) -> None:
    data.save(out)
    print(f"{out}: {len(data)} utterances, {len(data.speakers)} speakers")


def _names(text: str) -> list[str]:
    return _first_column(Path(text)) if Path(text).is_file() else [name.strip() for name in text.split(",") if name.strip()]


def _first_column(path: Path) -> list[str]:
    try:
        return [line.split()[0] for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read: {error}") from None


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--fractions {text}: numbers with commas are needed, for example 0.8,0.1,0.1") from None
    if any(not 0 < number < float("inf") for number in numbers):
        raise UsageError(f"--fractions {text}: every number must be above 0")
    return numbers
