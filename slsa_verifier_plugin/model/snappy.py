"""Reads the raw snappy format (google/snappy ``format_description.txt``), in which GitHub stores attestations' bundles."""

from __future__ import annotations


class SnappyError(ValueError):
    """The bytes are not snappy, or hold more than they may."""


def decompressed(content: bytes, limit: int) -> bytes:
    """Return what ``content`` holds.

    Args:
        content: the length as a varint, then literals and copies (sections 1 and 2).
        limit: bytes that may come out.

    Raises:
        SnappyError: malformed, or more than ``limit`` bytes.
    """
    size, at = _varint(content)
    # Asked before anything is unpacked: 5 bytes can announce 4 GiB.
    if size > limit:
        raise SnappyError(f"it holds {size} bytes, at most {limit} are read")
    found = bytearray()
    while at < len(content):
        tag = content[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            # Section 2.1: bytes that stand there as they are.
            length, at = _literal(content, tag >> 2, at)
            # Asked before slicing, for a slice in Python ends early without an error.
            if at + length > len(content):
                raise SnappyError("a literal is cut off")
            found += content[at : at + length]
            at += length
        else:
            # Section 2.2: a copy of what came before, with an offset of one, two or four bytes.
            wide = (1, 2, 4)[kind - 1]
            if at + wide > len(content):
                raise SnappyError("a copy is cut off")
            low = int.from_bytes(content[at : at + wide], "little")
            at += wide
            # Section 2.2.1: beside a one-byte offset the tag has three bits of length (from 4 on) and three more of the offset.
            length = (tag >> 2 & 7) + 4 if kind == 1 else (tag >> 2) + 1
            _copy(found, (tag >> 5 << 8 | low) if kind == 1 else low, length)
        # Asked after each element: a copy can be 64 times as long as its own bytes.
        if len(found) > size:
            raise SnappyError("it holds more than it says")
    # A file that was cut off must not pass for a shorter one.
    if len(found) != size:
        raise SnappyError("it holds less than it says")
    return bytes(found)


def _varint(content: bytes) -> tuple[int, int]:
    size = 0
    # Section 1: seven bits a byte, the lowest first. Lengths have 32 bits, so at most five bytes.
    for at, byte in enumerate(content[:5]):
        size |= (byte & 127) << 7 * at
        # The highest bit says that another byte follows.
        if byte < 128:
            return size, at + 1
    raise SnappyError("its length cannot be read")


def _literal(content: bytes, coded: int, at: int) -> tuple[int, int]:
    """Return a literal's length and where it begins (section 2.1)."""
    # A short literal's length, less one, stands in the tag; a longer one's in one to four bytes behind it.
    if coded < 60:
        return coded + 1, at
    wide = coded - 59
    # A length that is cut off leaves nothing of the literal: the caller refuses it.
    return int.from_bytes(content[at : at + wide], "little") + 1, at + wide


def _copy(found: bytearray, offset: int, length: int) -> None:
    """Repeat ``length`` bytes from ``offset`` bytes back, which may run into what is being written (section 2.2)."""
    # An offset of zero has nothing to copy, one beyond what is there begins before the first byte.
    if not 0 < offset <= len(found):
        raise SnappyError("a copy begins before the beginning")
    begin = len(found) - offset
    # The offset may be smaller than the length: then the bytes repeat, as in a run of one byte.
    pattern = bytes(found[begin : begin + length])
    found += (pattern * (length // len(pattern) + 1))[:length]
