"""Shows what ``demo --push`` has put into a registry, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.demo.pushing import PATCH_FILE, ROOT, ROOT_FILE, VERIFIER_FILE, Pushed
from slsa_verifier_plugin.sinks import Json, json_text

_NAMESPACE = "gatekeeper-system"
_WHERE = f"slsa-verifier-policy --namespace {_NAMESPACE}"


def text_of(pushed: Sequence[Pushed], folder: Path, painter: Painter) -> Iterator[str]:
    """Yield the lines for people."""
    for one in pushed:
        fate = "to be admitted" if one.admit else f"to be denied: {one.expected}"
        yield f"{one.tag:<11} {one.image}  {'pushed' if one.new else 'was there'}, {fate}"
    yield ""
    wrong = [one for one in pushed if not one.as_expected]
    for one in wrong:
        yield painter.paint(
            f"{one.tag} is {one.report.decision} from this registry: {one.report.message}", "red"
        )
    # No lines to type then: with these images a cluster would show the wrong thing.
    if wrong:
        yield "These are not the verdicts that the images are there to show. Delete the repository, or name another place."
        return
    yield "This machine has judged each from the registry: as it must be."
    yield ""
    yield from painter.lines(
        f"{folder} has {VERIFIER_FILE}, {ROOT_FILE} and {PATCH_FILE}. TEST ONLY: the keys of this trusted root are public, so "
        "that whoever likes can sign for it. Trust it in no cluster that matters, and take it out when you have seen enough."
    )
    place = shlex.quote(str(folder / PATCH_FILE))
    yield ""
    yield "In a cluster that has the provider (docs/operations/install.md):"
    yield f"  kubectl patch configmap {_WHERE} --type merge --patch-file {place}"
    yield from _restarted()
    for one in pushed:
        yield f"  kubectl run {one.tag} --image {one.image}"
    yield ""
    yield "They hold no program: a Pod that is admitted is created, and has nothing to start. Afterwards:"
    yield f"  kubectl delete pod {' '.join(one.tag for one in pushed)} --ignore-not-found"
    yield "  kubectl apply -k mine/provider/server    # your own policy: the folder that deploy/configure.sh made"
    removal = shlex.quote(f'{{"data":{{"{ROOT}":null}}}}')
    yield f"  kubectl patch configmap {_WHERE} --type merge --patch {removal}"
    yield from _restarted()


def _restarted() -> Iterator[str]:
    # Pods see a ConfigMap that changed after a minute or so, and nothing tells when; new ones see it at once.
    yield f"  kubectl rollout restart deployment/slsa-verifier --namespace {_NAMESPACE}"
    yield f"  kubectl rollout status deployment/slsa-verifier --namespace {_NAMESPACE} --timeout 180s"


def json_of(pushed: Sequence[Pushed], folder: Path) -> Json:
    """Return the same as JSON."""
    return json_text(
        {
            "asExpected": all(one.as_expected for one in pushed),
            "testOnly": {
                "trustedRoot": str(folder / ROOT_FILE),
                "verifier": str(folder / VERIFIER_FILE),
                "configMapPatch": str(folder / PATCH_FILE),
            },
            "images": [
                {
                    "tag": one.tag,
                    "image": str(one.image),
                    "pushed": one.new,
                    "expected": "admitted" if one.admit else "denied",
                    "decision": str(one.report.decision),
                    "reason": str(one.report.reason),
                    "message": one.report.message,
                }
                for one in pushed
            ],
        }
    )
