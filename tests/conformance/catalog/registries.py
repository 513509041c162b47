"""Step 3: a registry that refuses, fails, lies or hangs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, only_here

SLOW = {"timeout": "1500ms"}
"""For what hangs: the time limit itself is what ends it."""
_AT_ONCE = (
    "401",
    "403",
    "404",
    "body-other",
    "body-truncated",
    "resets",
    "redirect-loop",
    "redirect-private",
    "redirect-decimal",
    "redirect-hexadecimal",
    "redirect-oracle",
    "redirect-no-host",
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    table: dict[str, tuple[dict[str, Any], str, str]] = {
        "401": (
            {"status": 401},
            "REGISTRY_UNAUTHORIZED",
            "The registry wants credentials and there are none.",
        ),
        "403": ({"status": 403}, "REGISTRY_FORBIDDEN", "The registry forbids it."),
        "404": ({"status": 404}, "REGISTRY_NOT_FOUND", "The registry does not have it."),
        "429": ({"status": 429}, "REGISTRY_THROTTLED", "The registry throttles, for as long as one asks."),
        "500": ({"status": 500}, "REGISTRY_ERROR", "The registry fails, for as long as one asks."),
        "body-never-starts": ({"body": "never-starts"}, "DEADLINE_EXCEEDED", "Headers, and then nothing."),
        "body-never-ends": ({"body": "never-ends"}, "", "A body without an end."),
        "body-drips": ({"body": "drips"}, "DEADLINE_EXCEEDED", "A byte now and then."),
        "body-truncated": ({"body": "truncated"}, "", "The connection ends in the middle."),
        "body-other": ({"body": "other"}, "REGISTRY_INVALID_RESPONSE", "Other bytes than the digest's."),
        "silent": (
            {"body": "silent"},
            "DEADLINE_EXCEEDED",
            "A connection that is accepted and never answered.",
        ),
        "resets": ({"body": "resets"}, "", "The connection is reset."),
        "redirect-loop": ({"redirect": "loop"}, "", "A redirect to itself."),
        "redirect-private": (
            {"redirect": "http://169.254.169.254/latest/meta-data"},
            "",
            "A redirect to a cloud's metadata service.",
        ),
        "redirect-decimal": (
            {"redirect": "http://2852039166/latest/meta-data"},
            "REGISTRY_INVALID_RESPONSE",
            "The same address as one number.",
        ),
        "redirect-hexadecimal": (
            {"redirect": "http://0xa9.0xfe.43518/latest/meta-data"},
            "REGISTRY_INVALID_RESPONSE",
            "The same address in three numbers.",
        ),
        "redirect-oracle": (
            {"redirect": "http://192.0.0.192/opc/v2/"},
            "REGISTRY_INVALID_RESPONSE",
            "A redirect to Oracle's metadata service, outside of the link's network.",
        ),
        "redirect-no-host": (
            {"redirect": "http://1.2.3.4.5/"},
            "REGISTRY_INVALID_RESPONSE",
            "A redirect to what can be no host.",
        ),
    }
    either = ("REGISTRY_INVALID_RESPONSE", "REGISTRY_ERROR", "REGISTRY_UNREACHABLE", "DEADLINE_EXCEEDED")
    for where in ("manifest", "blob"):
        for name, (fault, reason, why) in table.items():
            yield Case(
                f"registry-{where}-{name}",
                f"{why} ({where})",
                reason or "|".join(either),
                parameters={} if name in _AT_ONCE else SLOW,
                faults=[{"on": where, **fault}],
                blobs=only_here(f"{where} {name}"),
                silent=("Traceback",),
                seconds=6.0 if name in _AT_ONCE else 3.5,
            )
    yield Case(
        "registry-500-once",
        "The registry fails once and then answers: within the time limit one tries again.",
        "VERIFIED",
        faults=[{"on": "manifest", "status": 500, "times": 1}, {"on": "blob", "status": 503, "times": 1}],
        blobs=only_here("fetched 1"),
    )
    yield Case(
        "registry-429-once",
        "The registry throttles once, and says for how long.",
        "VERIFIED",
        faults=[{"on": "blob", "status": 429, "headers": {"Retry-After": "1"}, "times": 1}],
        blobs=only_here("fetched 2"),
    )
    yield Case(
        "registry-429-too-long",
        "The registry asks for more patience than there is time.",
        "REGISTRY_THROTTLED",
        parameters=SLOW,
        faults=[{"on": "blob", "status": 429, "headers": {"Retry-After": "3600"}}],
        blobs=only_here("fetched 3"),
        seconds=3.5,
    )
    yield Case(
        "registry-away",
        "Nobody listens where the registry should be.",
        "REGISTRY_UNREACHABLE",
        parameters=SLOW,
        environment={"RATIFY_VERIFIER_SUBJECT": "127.0.0.1:9/conformance/app@@IMAGE@"},
        blobs=only_here("fetched 4"),
        seconds=3.5,
    )
    yield Case(
        "registry-provider-unknown",
        "A credential provider that nobody knows.",
        "REGISTRY_CREDENTIALS",
        store={"authProvider": {"name": "nobody", "password": "a-planted-secret"}},
        blobs=only_here("fetched 5"),
        says=("nobody",),
        silent=("a-planted-secret",),
    )
