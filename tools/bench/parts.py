"""One call in this process, timed part by part: prints the seconds of each as JSON. Run by ``tools.bench``."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime

marks = [("start", time.perf_counter())]


def mark(name: str) -> None:
    """Note that the part called ``name`` ends here."""
    marks.append((name, time.perf_counter()))


stdin = sys.stdin.buffer.read()
marks[0] = ("start", time.perf_counter())
from slsa_verifier_plugin import ratify  # noqa: E402 (imports are what is timed)
from slsa_verifier_plugin.deadline import Deadline  # noqa: E402
from slsa_verifier_plugin.policy.checks import Context, aged, examine  # noqa: E402
from slsa_verifier_plugin.service.service import Service  # noqa: E402

mark("imports, light")
service = Service(os.environ)
call = ratify.parse_call(os.environ, stdin)
policy = service.policy(call.config)
mark("parameters")
from slsa_verifier_plugin.verification.judged import ArtifactRequest, AttachedArtifact  # noqa: E402
from slsa_verifier_plugin.verification.readings import NOTHING_KEPT  # noqa: E402

store = service.store(call.store)
mark("imports, registry")
deadline = Deadline(30)
request = ArtifactRequest(call.image, call.artifact, policy)
artifact = AttachedArtifact(request, store, NOTHING_KEPT, deadline)
candidates = [item for _, blob in artifact.read() for item in blob.candidates]
mark("registry")

mark("imports, signatures")
verifier = service.verifier(policy)
mark("trusted root")
verified = [verifier.verify(candidate) for candidate in candidates]
mark("signatures")
assert call.image.digest is not None
context = Context(policy, call.image.digest)
for item in verified:
    aged(examine(item.claim, context), policy.max_age, datetime.now(UTC), item.signed_at)
mark("policy")
parts = {name: end - marks[index][1] for index, (name, end) in enumerate(marks[1:])}
sys.stdout.write(json.dumps(parts))
