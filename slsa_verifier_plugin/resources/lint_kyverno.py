"""Looks at Kyverno's policies that ask this verifier, or Ratify: the address, the question, and what comes of no answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slsa_verifier_plugin.members import at, list_at, texts_below
from slsa_verifier_plugin.resources.kinds import KYVERNO_GROUP, KYVERNO_KINDS
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.text import nearest, plain, quoted

NOT_CHECKED = "whether a Kyverno policy denies what the answer leaves out (deploy/kyverno/policy does)"
_OURS = re.compile(r"/ratify/|externaldata\.gatekeeper\.sh")
# CEL's library of Kyverno: http.Post(URL, body).
_CALL = re.compile(r"""http\.(Get|Post)\(\s*["']([^"']*)["']""")
PATHS = tuple(f"/ratify/gatekeeper/{way}" for way in ("v1/verify", "v2/verify", "v1/mutate", "v2/mutate"))
"""Where Ratify and ``serve`` answer: the first two verify, the others resolve tags."""
_REFUSED = "without it the question is refused, and every image denied"
_WORDS = {
    '"externaldata.gatekeeper.sh/v1beta1"': _REFUSED,
    '"ProviderRequest"': _REFUSED,
    '"keys"': _REFUSED,
    "isSuccess": "nothing else in the answer tells whether an image was verified",
}
"""What the question and the reading of its answer cannot do without (Gatekeeper's external data, v1beta1)."""


def asks_verifier(resource: Resource) -> bool:
    """Return True for a policy of Kyverno's that asks this verifier, or Ratify."""
    group = resource.api_version.partition("/")[0]
    is_kind = group == KYVERNO_GROUP and resource.kind in KYVERNO_KINDS
    return is_kind and any(_OURS.search(text) for _, text in texts_below(resource.spec))


def path_of(url: str) -> str:
    """Return the path of a URL; of any text, for urlsplit raises for some."""
    return f"/{url.partition('://')[2].partition('/')[2]}"


def lint_kyverno(resource: Resource) -> Iterator[Remark]:
    """Yield what keeps such a policy from asking, or from denying.

    Args:
        resource: one that ``asks_verifier``.
    """
    whole = []
    for where, text in texts_below(resource.spec):
        whole.append(text)
        for method, url in _CALL.findall(text):
            if said := _address(method, url):
                yield error(["spec", *where], *said)
    # CEL has both quotation marks.
    expressions = "\n".join(whole).replace("'", '"')
    for word, why in _WORDS.items():
        if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", expressions):
            near = nearest(word.strip('"'), set(re.findall(r"[\w/]{4,64}", expressions)), 0.8)
            remedy = f"is it meant by {near}?" if near else "take the expressions of deploy/kyverno/policy"
            yield error(["spec"], f"no expression here has {word}: {why}", remedy)
    if resource.spec.get("failurePolicy") == "Ignore":
        what = "failurePolicy: Ignore: while Kyverno or what it asks is away, everything is admitted"
        yield error(["spec", "failurePolicy"], what, "set failurePolicy: Fail")
    actions = list_at(resource.spec, "validationActions")
    if "Deny" not in actions:
        what = f"validationActions {plain(', '.join(map(str, actions)) or 'is empty', 80)}: denies nothing"
        yield warning(["spec", "validationActions"], what, 'write validationActions: ["Deny"]')
    if at(resource.spec, "evaluation", "admission", "enabled") is False:
        what = "evaluation.admission is off: nothing is asked before a Pod is created"
        yield error(["spec", "evaluation", "admission", "enabled"], what, "leave it out")


def _address(method: str, url: str) -> tuple[str, str] | None:
    """Return what is wrong with a call and what to do, None for nothing."""
    if not url.startswith("https://"):
        return f"the url {quoted(url)} is not HTTPS", f"write https://HOST{PATHS[0]}"
    path = path_of(url)
    near = nearest(path, PATHS[:2], 0.7)
    # Another path may be a proxy's, before whoever answers.
    if near and path not in PATHS[:2]:
        return f"nothing verifies images at {quoted(path)}", f"is {near} meant?"
    return ("http.Get asks with GET, expected POST", "write http.Post") if method == "Get" else None
