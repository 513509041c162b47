"""Raw snappy, against what the format says."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.snappy import SnappyError, decompressed

LIMIT = 1 << 20


def varint(size: int) -> bytes:
    found = bytearray()
    while size > 127:
        found.append(size & 127 | 128)
        size >>= 7
    return bytes([*found, size])


def literal(content: bytes) -> bytes:
    size = len(content) - 1
    if size < 60:
        return bytes([size << 2]) + content
    wide = max(1, (size.bit_length() + 7) // 8)
    return bytes([(59 + wide) << 2]) + size.to_bytes(wide, "little") + content


@given(st.binary(min_size=1, max_size=70_000))
def test_literals_of_every_length(content: bytes) -> None:
    assert decompressed(varint(len(content)) + literal(content), LIMIT) == content


@pytest.mark.parametrize("size", [1, 59, 60, 61, 62, 255, 256, 257, 65536, 65537])
def test_literals_of_the_lengths_where_the_coding_changes(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    assert decompressed(varint(size) + literal(content), size) == content


@pytest.mark.parametrize(
    ("coded", "expected"),
    [
        (b"\x00", b""),
        # "ab", then a copy of two bytes' offset, one byte's, four bytes'; copies may run into what they write.
        (varint(8) + literal(b"ab") + bytes([(6 - 1) << 2 | 2, 2, 0]), b"abababab"),
        (varint(6) + literal(b"ab") + bytes([(4 - 4) << 2 | 1, 2]), b"ababab"),
        (varint(12) + literal(b"abc") + bytes([(9 - 1) << 2 | 3, 3, 0, 0, 0]), b"abc" * 4),
        (varint(5) + literal(b"a") + bytes([(4 - 4) << 2 | 1, 1]), b"aaaaa"),
        # An offset of eleven bits: 256 and more.
        (
            varint(304) + literal(b"x" * 260 + b"y" * 40) + bytes([1 << 5 | 1, 44]),
            b"x" * 260 + b"y" * 40 + b"x" * 4,
        ),
    ],
)
def test_copies(coded: bytes, expected: bytes) -> None:
    assert decompressed(coded, LIMIT) == expected


@pytest.mark.parametrize(
    "coded",
    [
        b"",
        b"\xff" * 6,
        b"\x05",
        varint(5) + literal(b"abc"),
        varint(2) + literal(b"abc"),
        varint(3) + b"\x08ab",
        varint(3) + b"\xf4\x01",
        varint(3) + b"\xf4",
        varint(3) + b"\xfc\x02\x00\x00",
        varint(9) + literal(b"ab") + bytes([(6 - 1) << 2 | 2, 3, 0]),
        varint(9) + literal(b"ab") + bytes([(6 - 1) << 2 | 2, 0, 0]),
        varint(9) + literal(b"ab") + bytes([(6 - 1) << 2 | 2, 2]),
        varint(9) + literal(b"ab") + bytes([1]),
        varint(9) + bytes([(6 - 1) << 2 | 2, 1, 0]),
        # Cut off where what is there has the length that is announced.
        varint(2) + b"\x08ab",
        varint(8) + literal(b"ab") + bytes([(6 - 1) << 2 | 2, 2]),
        varint(8) + literal(b"ab") + bytes([(6 - 1) << 2 | 3, 2, 0, 0]),
    ],
)
def test_what_is_malformed_is_an_error(coded: bytes) -> None:
    with pytest.raises(SnappyError):
        decompressed(coded, LIMIT)


def test_what_is_too_large_is_refused_before_it_is_made() -> None:
    with pytest.raises(SnappyError, match="at most 1048576"):
        decompressed(varint(LIMIT + 1) + literal(b"a"), LIMIT)
    with pytest.raises(SnappyError, match="more than it says"):
        decompressed(varint(3) + literal(b"a") + bytes([63 << 2 | 2, 1, 0]) * 100_000, LIMIT)


@given(st.binary(max_size=300))
def test_any_bytes_are_snappy_or_an_error(coded: bytes) -> None:
    with suppress(SnappyError):
        assert len(decompressed(coded, 4096)) <= 4096
