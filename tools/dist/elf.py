"""The little of ELF that is needed to carry shared objects along (System V ABI, "Dynamic Section")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from tools.dist.errors import BuildError

MAGIC = b"\x7fELF"
_CLASS_64 = 2
_LITTLE_ENDIAN = 1
_LOAD, _DYNAMIC = 1, 2
_NULL, _NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 0, 1, 5, 14, 15, 29
_HEADER, _SEGMENT = 64, 56
"""Bytes of the file's header, and of one entry of the program header table."""
_ENTRY = 16
"""Bytes of an entry of the dynamic section: tag and value, 64 bits each."""


@dataclass(frozen=True)
class Dynamic:
    """What a shared object or program says about others.

    Attributes:
        soname: the name others ask for it by; None where it has none.
        needed: names of the libraries that it needs.
        run_paths: directories that it wants them looked for in; ``$ORIGIN`` is its own.
    """

    soname: str | None
    needed: tuple[str, ...]
    run_paths: tuple[str, ...]


def is_elf(path: Path) -> bool:
    """Return True for a file that begins as an ELF object does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_dynamic(path: Path) -> Dynamic:
    """Return what the dynamic section of an ELF file says; an empty answer for a static program.

    Raises:
        BuildError: it is no 64-bit little-endian ELF file, or its tables lie outside of it.
    """
    content = path.read_bytes()
    entries = [(tag, value) for _, tag, value in _entries(path, content)]
    strings = next((value for tag, value in entries if tag == _STRTAB), None)
    if strings is None:
        return Dynamic(None, (), ())
    base = _file_offset(path, content, strings)

    def text(offset: int) -> str:
        begin = base + offset
        return content[begin : content.index(b"\0", begin)].decode()

    sonames = [text(value) for tag, value in entries if tag == _SONAME]
    run_paths = [
        part for tag, value in entries if tag in (_RPATH, _RUNPATH) for part in text(value).split(":") if part
    ]
    needed = tuple(text(value) for tag, value in entries if tag == _NEEDED)
    return Dynamic(sonames[0] if sonames else None, needed, tuple(run_paths))


def drop_run_paths(path: Path) -> None:
    """Take run paths out of an ELF file in place: directories of the machine that built it mean nothing elsewhere.

    Raises:
        BuildError: as for ``read_dynamic``.
    """
    content = bytearray(path.read_bytes())
    entries = list(_entries(path, bytes(content)))
    kept = [(tag, value) for _, tag, value in entries if tag not in (_RPATH, _RUNPATH)]
    if len(kept) == len(entries):
        return
    # The section keeps its size: what is left moves up, and further ends of the list fill it.
    kept += [(_NULL, 0)] * (len(entries) - len(kept))
    for (offset, _, _), (tag, value) in zip(entries, kept, strict=True):
        struct.pack_into("<QQ", content, offset, tag, value)
    path.write_bytes(content)


def _program_headers(path: Path, content: bytes) -> list[tuple[int, int, int, int]]:
    """Return type, file offset, address and size in the file of every segment."""
    if content[:6] != MAGIC + bytes((_CLASS_64, _LITTLE_ENDIAN)) or len(content) < _HEADER:
        raise BuildError(f"{path.name} is no 64-bit little-endian ELF file")
    table, size, count = struct.unpack_from("<Q14xHH", content, 32)
    if table + size * count > len(content) or (count and size < _SEGMENT):
        raise BuildError(f"{path.name} is cut short")
    headers = []
    for index in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, table + index * size)
        if kind in (_LOAD, _DYNAMIC) and offset + length > len(content):
            raise BuildError(f"{path.name} is cut short")
        headers.append((kind, offset, address, length))
    return headers


def _entries(path: Path, content: bytes) -> list[tuple[int, int, int]]:
    """Return file offset, tag and value of every entry of the dynamic section, its end included."""
    entries = []
    for kind, begin, _, length in _program_headers(path, content):
        if kind != _DYNAMIC:
            continue
        for offset in range(begin, begin + length - _ENTRY + 1, _ENTRY):
            tag, value = struct.unpack_from("<QQ", content, offset)
            entries.append((offset, tag, value))
            if tag == _NULL:
                break
    return entries


def _file_offset(path: Path, content: bytes, address: int) -> int:
    for kind, offset, begin, length in _program_headers(path, content):
        if kind == _LOAD and begin <= address < begin + length:
            return offset + address - begin
    raise BuildError(f"{path.name} has its strings outside of every segment")
