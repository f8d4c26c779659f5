"""Is a recording whole? What its container says of its own size, compared with the file's.

libsndfile and libavformat shorten a cut file in silence, and of several joined ones libsndfile reads the first; so this is asked
before anything is decoded (of flac, which says its samples and not its bytes, after).
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable

from asr.errors import AudioError, DataError

JOINED = "several recordings one after another, of which only the first would be read; join them with ffmpeg or sox"
ReadAt = Callable[[int, int], bytes]  # (offset, count) -> the bytes there, fewer at the end of the file


def check_whole(name: str, read_at: ReadAt, size: int) -> None:
    """Raise AudioError where the container itself shows that its end is missing, or that another recording follows."""
    if size == 0:
        raise AudioError(f"{name}: cannot read: the file is empty (0 bytes)")
    head = read_at(0, 12)
    mp3 = head[:3] == b"ID3" or _is_mp3_frame(head)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        promised = _riff_end(read_at, size)
    elif head[:7] == b"NIST_1A":
        promised = _sphere_end(read_at)
    elif head[:4] == b"OggS":
        if not _ogg_ends(read_at, size):
            raise AudioError(f"{name}: cannot read: cut: the last page of the ogg stream is missing")
        if not _ogg_is_one(read_at, size):
            raise AudioError(f"{name}: cannot read: {JOINED}")
        return
    elif mp3:
        promised = _mp3_end(read_at)
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        promised = 8 + struct.unpack(">I", head[4:8])[0]
    elif head[:4] == b".snd" and len(head) == 12:
        offset, length = struct.unpack(">II", head[4:])
        promised = 0 if length == 0xFFFFFFFF else offset + length
    elif head[:4] == b"riff" and size >= 24:  # Sony Wave64
        promised = struct.unpack("<Q", read_at(16, 8))[0]
    else:
        return  # flac says its samples, not its bytes: decoding shows a cut there, and what follows
    if promised > size:
        raise AudioError(f"{name}: cannot read: cut: its header promises {promised} bytes, the file has {size}")
    if 0 < promised < size and (_mp3_follows(read_at, promised, size) if mp3
                                else read_at(promised + promised % 2, 4) == head[:4]):
        raise AudioError(f"{name}: cannot read: {JOINED}")


def check_whole_video(name: str, read_at: ReadAt, size: int) -> None:
    """Raise DataError where the container of a video shows that its end is missing: MP4 and its kin, Matroska, AVI, GIF.

    Transport streams and what was recorded live say nothing of their end.
    """
    head = read_at(0, 12)
    if size == 0:
        raise DataError(f"{name}: cannot read: the file is empty (0 bytes)")
    promised = 0
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        promised = _boxes_end(read_at, size)
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        promised = _matroska_end(read_at)
    elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
        promised = _avi_end(read_at)
    elif head[:4] == b"GIF8" and not read_at(max(0, size - 64), 64).rstrip(b"\0").endswith(b";"):
        raise DataError(f"{name}: cannot read: cut: the mark at the end of a gif is missing")
    if promised > size:
        raise DataError(f"{name}: cannot read: cut: its header promises {promised} bytes, the file has {size}")


def _boxes_end(read_at: ReadAt, size: int) -> int:
    """Where the last box of an MP4 or QuickTime file must end (ISO/IEC 14496-12); 0 where it does not say."""
    offset = 0
    while offset + 8 <= size:
        box = read_at(offset, 16)
        length = struct.unpack(">I", box[:4])[0]
        if length == 1 and len(box) == 16:
            length = struct.unpack(">Q", box[8:])[0]
        if length < 8:  # 0: to the end of the file, wherever that is
            return 0
        offset += length
    return offset


def _matroska_end(read_at: ReadAt) -> int:
    """Where the Segment of a Matroska or WebM file must end (RFC 8794, RFC 9559); 0 where it was written live, without its size."""
    _, end, _ = _element(read_at, 0)
    kind, end, known = _element(read_at, end)
    return end if kind == b"\x18\x53\x80\x67" and known else 0


def _element(read_at: ReadAt, at: int) -> tuple[bytes, int, bool]:
    """The EBML element at the offset: its id, where it ends, and whether its size is known. Id and size each begin with as many
    zero bits as bytes follow their first."""
    head = read_at(at, 24).ljust(24, b"\0")
    width = 9 - head[0].bit_length()
    many = 9 - head[width].bit_length()
    largest = (1 << 7 * many) - 1
    size = int.from_bytes(head[width:width + many], "big") & largest
    return head[:width], at + width + many + size, size != largest


def _avi_end(read_at: ReadAt) -> int:
    """Where the last RIFF chunk of an AVI file must end (in OpenDML several follow each other); 0 where it does not say."""
    end = 0
    while (head := read_at(end + end % 2, 8))[:4] == b"RIFF" and len(head) == 8:
        length = struct.unpack("<I", head[4:])[0]
        if length == 0 or length >= 0x7FFFF000:  # written into a pipe
            return 0
        end += end % 2 + 8 + length
    return end


def _riff_end(read_at: ReadAt, size: int) -> int:
    """Where the data chunk of a RIFF/RF64 file must end, in bytes; 0 where the header does not say (a stream)."""
    offset, data64 = 12, 0
    while offset + 8 <= size:
        kind, length = struct.unpack("<4sI", read_at(offset, 8))
        if kind == bytes(4):
            return 0  # no chunk's name: libsndfile looks no further either, and finds no data
        if kind == b"ds64":
            data64 = struct.unpack("<Q", read_at(offset + 16, 8).ljust(8, b"\0"))[0]
        if kind == b"data":
            if length == 0xFFFFFFFF and data64:
                return offset + 8 + data64
            # A writer into a pipe cannot know the length: sox and ffmpeg leave one of the largest numbers.
            return 0 if length >= 0x7FFFF000 else offset + 8 + length
        offset += 8 + length + length % 2
    return 0


def _sphere_end(read_at: ReadAt) -> int:
    """Header plus the samples of an uncompressed NIST sphere file, in bytes."""
    lines = read_at(0, 16).split(b"\n")
    header = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 0
    fields = {}
    for line in read_at(0, header).split(b"\n"):
        parts = line.split(None, 2)
        if len(parts) == 3 and parts[1] == b"-i" and parts[2].strip().isdigit():
            fields[parts[0]] = int(parts[2])
    count = fields.get(b"sample_count", 0) * fields.get(b"channel_count", 1) * fields.get(b"sample_n_bytes", 0)
    return header + count if count else 0


def _ogg_last(read_at: ReadAt, size: int) -> bytes:
    """The last Ogg page and what follows it, from at most the file's last 64 KB; empty where there is none."""
    tail = read_at(max(0, size - 65536), 65536)
    at = tail.rfind(b"OggS")
    return tail[at:] if at >= 0 else b""


def _ogg_ends(read_at: ReadAt, size: int) -> bool:
    """Whether the last Ogg page is complete and carries the end-of-stream flag (RFC 3533)."""
    page = _ogg_last(read_at, size)
    return len(page) >= 27 and len(page) >= _ogg_page_size(page) and bool(page[5] & 4)


def _ogg_page_size(page: bytes) -> int:
    return 27 + page[26] + sum(page[27:27 + page[26]])


def _ogg_is_one(read_at: ReadAt, size: int) -> bool:
    """Whether the last Ogg page belongs to a stream that begins with the file: first pages come before all others there."""
    begun, offset = set(), 0
    while len(page := read_at(offset, 282)) >= 27 and page[:4] == b"OggS" and page[5] & 2:
        begun.add(page[14:18])
        offset += _ogg_page_size(page)
    return _ogg_last(read_at, size)[14:18] in begun


def _is_mp3_frame(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def _after_id3(read_at: ReadAt, at: int) -> int:
    """Where an ID3v2 tag at the offset ends; the offset itself where there is none."""
    head = read_at(at, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return at
    return at + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))


def _xing(frame: bytes) -> int:
    """Where the Xing/Info header begins in the first frame of an mp3; -1 where it has none."""
    return max(frame.find(b"Xing"), frame.find(b"Info"))


def _mp3_end(read_at: ReadAt) -> int:
    """Where the stream must end by the byte count of its Xing/Info header; 0 where there is none."""
    start = _after_id3(read_at, 0)
    frame = read_at(start, 200)
    at = _xing(frame)
    if at < 0 or len(frame) < at + 16:
        return 0
    flags = struct.unpack(">I", frame[at + 4:at + 8])[0]
    if not flags & 2:
        return 0
    position = at + 8 + (4 if flags & 1 else 0)
    count = struct.unpack(">I", frame[position:position + 4])[0]
    return start + count if count else 0  # a writer into a pipe leaves 0


def _mp3_follows(read_at: ReadAt, end: int, size: int) -> bool:
    """Whether another mp3 begins where the first must end, behind its tags (ID3v1, APE)."""
    while (tag := read_at(end, 16))[:3] == b"TAG" or tag[:8] == b"APETAGEX":
        end += 128 if tag[:3] == b"TAG" else 32 + int.from_bytes(tag[12:16], "little")
    end = _after_id3(read_at, end)
    frame = read_at(end, 200)
    # Some writers do not count the frame of the header itself: a frame or two may be left over.
    return _is_mp3_frame(frame) and (_xing(frame) >= 0 or size - end > 4096)


def flac_follows(source: int | io.BytesIO) -> bool:
    """Whether another flac begins where the decoder, at the end of its stream, stands in the file.

    It reads 8 KB ahead, so a second beginning in the last 16 KB is searched for: a marker and the length of what must follow.
    Sure after decoding from the start; a search for a sample can end in the second recording, far from its beginning.
    """
    at = os.lseek(source, 0, os.SEEK_CUR) if isinstance(source, int) else source.tell()
    first = max(1, at - 16384)  # 0 is the file's own
    near = os.pread(source, 16384 + 512, first) if isinstance(source, int) else source.getbuffer()[first:first + 16384 + 512]
    return re.search(rb"fLaC[\0\x80]\0\0\x22", near) is not None
