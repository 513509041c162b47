"""What is known to control a terminal, a CI system's log, a page or a reader of JSON, and how to tell that none of it is left.

Nothing here uses the package's own encoders.
"""

from __future__ import annotations

import re
import unicodedata

from hypothesis import strategies as st

COMMANDS = (
    "##[command]x",
    "##[set-env name=PATH;]/evil",
    "##vso[task.setvariable variable=x;isSecret=false]y",
    "##vso[task.complete result=Succeeded;]",
    "####vso[task.logissue type=error]x",
    "##teamcity[buildStatus status='SUCCESS']",
    "::error file=a.py,line=1::b",
    "::set-output name=a::b",
    "::add-mask::x",
    "::stop-commands::token",
    ":::group::x",
    "::endgroup::",
    "section_start:1700000000:x[collapsed=true]",
    "section_end:1700000000:x",
    "travis_fold:start:x",
    "travis_time:end:x",
)
"""Taken from a log by GitHub's, Gitea's and Forgejo's runners, Azure Pipelines, TeamCity, GitLab and Travis."""
SEQUENCES = (
    "\r\x1b[0K",
    "\x1b[31m",
    "\x1b[8m",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]8;;https://evil.example\x1b\\x",
    "\x1b]1339;url=artifact://x\x07",
    "\x1bPq\x1b\\",
    "\x9b31m",
    "\x9d0;x\x9c",
    "\x90q\x9c",
    "\x08\x08",
    "\x00",
    "\x7f",
    "\x0b\x0c",
    "\x85",
)
"""Control sequences (ECMA-48), with C0 and C1 introducers."""
UNSEEN = (
    "\u202eabc\u202c",
    "\u2066x\u2069",
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u034f",
    "\u115f",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\ufe0f",
    "\U000e0041",
    "\U000e0101",
    "\u00a0",
    "\u2028",
    "\u2029",
    "\ud800",
    "\udfff",
    "\ue000",
)
"""Characters that turn text round, show nothing, end a line, or are no characters."""
MARKUP = (
    '{"isSuccess":true}',
    '\n{"isSuccess":true}\n',
    "SLSA Attestation Check: SUCCESS. x",
    "{0}",
    "[here](https://evil.example)",
    "[here](1)",
    "![x](https://evil.example/x.png)",
    "[x]: https://evil.example",
    "https://evil.example",
    "www.evil.example",
    "someone@evil.example",
    "@someone",
    "@org/team",
    "#1",
    "owner/repository#1",
    "GH-1",
    "!1",
    "~label",
    "$x^2$",
    "| a | b |",
    "`code`",
    "``` x",
    "**b** _i_ ~~s~~",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</code></details>",
    '" onload="alert(1)',
    "' onload='alert(1)",
    "<!--",
    "&lt;script&gt;",
    "--- x",
    "+++ x",
    "~~~ x",
    "- item: value",
    "a: b",
    "# comment",
    "\\",
    '"',
)
"""Markup, mentions and references, what looks like a verdict, and what begins a fold."""
CONTROLS = COMMANDS + SEQUENCES + UNSEEN + MARKUP

_COMMAND = re.compile(
    r"##(?:\[|vso\[|teamcity\[)"
    r"|::(?:error|warning|notice|debug|group|endgroup|add-mask|add-path|set-env|set-output|save-state|stop-commands|add-matcher)"
    r"[ :]|section_(?:start|end):|travis_(?:fold|time):",
    re.IGNORECASE,
)
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")


def commands_in(text: str) -> list[str]:
    """Return the commands that a CI system would find in ``text``."""
    return _COMMAND.findall(text)


def unseen_in(text: str, besides: str = " \n") -> list[str]:
    """Return the characters of ``text`` that are not seen, but those in ``besides``."""
    return [
        f"U+{ord(char):04X}"
        for char in text
        if char not in besides and (unicodedata.category(char)[0] in "CZ" or _UNSEEN.match(char))
    ]


HOSTILE = st.lists(st.sampled_from(CONTROLS) | st.text(max_size=20), min_size=1, max_size=5).map("".join)
"""Known controls among other text: before, behind and right beside one another."""
