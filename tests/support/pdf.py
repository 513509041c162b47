"""The text of a PDF that Chromium printed (ISO 32000-1, 9.10): enough to tell whether a page lost some of it."""

from __future__ import annotations

import re
import zlib


def text_of(content: bytes) -> str:
    """Return the characters in the order in which they are drawn, without blanks: a line's end leaves none."""
    objects = {int(n): body for n, body in re.findall(rb"(\d+) 0 obj\b(.*?)\bendobj", content, re.DOTALL)}
    fonts = {
        number: _characters(_stream(objects[int(found[1])]))
        for number, body in objects.items()
        if (found := re.search(rb"/ToUnicode (\d+) 0 R", body))
    }
    return "".join(
        _drawn(_stream(objects[int(number)]), fonts)
        for body in objects.values()
        if re.search(rb"/Type\s*/Page\b", body)
        for number in re.findall(rb"/Contents (\d+) 0 R", body)
    )


def _stream(body: bytes) -> bytes:
    found = re.search(rb"stream\r?\n(.*?)\r?\n?endstream", body, re.DOTALL)
    assert found is not None
    return zlib.decompress(found[1]) if b"FlateDecode" in body[: found.start()] else found[1]


def _characters(mapping: bytes) -> dict[int, str]:
    """Return the characters that a font's glyphs stand for, from its ToUnicode CMap."""
    found: dict[int, str] = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", mapping, re.DOTALL):
        for glyph, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            found[int(glyph, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", mapping, re.DOTALL):
        for first, last, text in re.findall(rb"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            for offset in range(int(last, 16) - int(first, 16) + 1):
                found[int(first, 16) + offset] = chr(int(text, 16) + offset)
    return found


def _drawn(content: bytes, fonts: dict[int, dict[int, str]]) -> str:
    """Return what a content stream draws. Skia, which writes Chromium's, names a font by its object's number."""
    shown: list[str] = []
    font: dict[int, str] = {}
    for name, glyphs in re.findall(rb"/F(\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)>", content):
        if name:
            font = fonts.get(int(name), {})
        else:
            codes = (int(glyphs[at : at + 4], 16) for at in range(0, len(glyphs), 4))
            shown += (font.get(code, "") for code in codes)
    return re.sub(r"\s", "", "".join(shown))
