"""Step 14 by annotation: the repository that an image's source label names, in the forms that build tools write."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, attested, signed
from tests.support.sigstore import COMMIT

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"

OWN = {
    "scp": "git@github.com:example/source-demo.git",
    "ssh": "ssh://git@github.com/example/source-demo.git",
    "folder": "https://github.com/example/source-demo/tree/main/app",
    "file": "https://github.com/example/source-demo/blob/main/Dockerfile",
    "case": "https://GitHub.com/Example/Source-Demo",
    "scp-case": "git@github.com:Example/source-demo",
    "scheme-case": "HTTPS://github.com/example/source-demo",
}
"""Labels that name the summary's own repository."""

OTHERS = {
    "scp-other": "git@github.com:example/other.git",
    "scp-user": "alice@github.com:example/source-demo.git",
    "scp-host": "git@github.example:example/source-demo.git",
    "ssh-port": "ssh://git@github.com:2222/example/source-demo.git",
    "folder-of-other": "https://github.com/example/other/tree/main/source-demo",
    "folder-dots": "https://github.com/example/source-demo/tree/main/../../../../example/other",
    "folder-elsewhere": "https://git.example/example/source-demo/tree/main",
    "folder-query": "https://github.com/example/source-demo/tree/main?x=/example/other",
    "longer": "https://github.com/example/source-demo/app",
    "path-in-path": "https://github.example/github.com/example/source-demo",
}
"""Near misses: labels of another repository, or of none."""


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for table, reason in ((OWN, "VERIFIED"), (OTHERS, "SOURCE_REVISION_MISMATCH")):
        for name, label in table.items():
            yield Case(
                f"label-{name}",
                f"The image's source label is {label}.",
                reason,
                parameters={"sourceBinding": "annotation"},
                image={"labels": {REVISION: COMMIT, SOURCE: label}},
                blobs=attested(signed()),
                step=0 if reason == "VERIFIED" else 14,
            )
