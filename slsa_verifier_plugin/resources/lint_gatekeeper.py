"""What is wrong on Gatekeeper's side: webhooks, providers, templates and constraints; and on Kyverno's."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.members import at, list_at, text_at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import (
    AT_ADMISSION,
    CONSTRAINT,
    MUTATOR_KINDS,
    WEBHOOK_KINDS,
    kind_of,
)
from slsa_verifier_plugin.resources.lint_kyverno import (
    NOT_CHECKED,
    PATHS,
    asks_verifier,
    lint_kyverno,
    path_of,
)
from slsa_verifier_plugin.resources.lint_match import lint_match
from slsa_verifier_plugin.resources.lint_mutators import MUTATING, lint_mutator, lint_provider_name
from slsa_verifier_plugin.resources.problems import Remark, error, warning
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.resources.rego import is_closed, without_comments
from slsa_verifier_plugin.text import nearest, plain, quoted

GATEKEEPER_SECONDS = 3
"""The chart's default ``validatingWebhookTimeoutSeconds`` (Gatekeeper 3.x)."""

MOST_SECONDS = 30
"""What the API server takes for a webhook (admissionregistration.k8s.io/v1), within which a provider has to answer, too."""

# How a template names the provider that ``external_data`` asks.
_PROVIDER = re.compile(r'"provider"\s*:\s*"([^"]+)"')


@dataclass(frozen=True, slots=True)
class GatekeeperSide:
    """What a look at one of Gatekeeper's resources needs to know of the others.

    ``seconds`` is the longest time limit of a Verifier among them; ``filled`` has, by file, the paths of fields that a
    kustomization beside it fills in; ``constraints`` are the kinds that the templates make.
    """

    seconds: float
    filled: Mapping[str, frozenset[str]]
    providers: Mapping[str, Resource]
    constraints: frozenset[str]

    @classmethod
    def of(
        cls, resources: Sequence[Resource], seconds: float, filled: Mapping[str, frozenset[str]]
    ) -> GatekeeperSide:
        """Return it for all resources that are meant for one cluster."""
        providers = {item.name: item for item in resources if kind_of(item) == "Provider"}
        templates = [item.spec for item in resources if kind_of(item) == "ConstraintTemplate"]
        names = (text_at(spec, "crd", "spec", "names", "kind") for spec in templates)
        # A template that names no kind makes none.
        return cls(seconds, filled, providers, frozenset(filter(None, names)))

    def remarks(self, resource: Resource) -> Iterator[Remark]:
        """Yield what is wrong with a resource of whatever kind."""
        kind = kind_of(resource)
        if kind in WEBHOOK_KINDS:
            yield from self._webhooks(resource)
        elif kind == "Provider":
            yield from self._provider(resource)
        elif kind == "ConstraintTemplate":
            yield from self._template(resource)
        elif kind == CONSTRAINT:
            yield from self._constraint(resource)
        elif asks_verifier(resource):
            yield from self._kyverno(resource)
        yield from lint_mutator(resource, self.providers)
        yield from lint_match(resource)

    def not_checked(self, resource: Resource) -> Iterator[str]:
        """Yield what of a resource could not be checked, for people."""
        kind = kind_of(resource)
        if kind == "Provider" and self._is_filled(resource):
            yield "the caBundle that a kustomization puts into a Provider"
        regos = _regos(resource) if kind == "ConstraintTemplate" else iter(())
        asks = kind in MUTATOR_KINDS[:2] or any(_named_in(rego) for _, rego in regos)
        if asks and not self.providers:
            yield "whether the Providers that are named exist (none is here)"
        if asks_verifier(resource):
            yield NOT_CHECKED
        if kind == CONSTRAINT and not self.constraints:
            yield "whether templates make the kinds of constraints (no ConstraintTemplate is here)"

    def _is_filled(self, resource: Resource) -> bool:
        return "spec.caBundle" in self.filled.get(resource.document.source, ())

    def _webhooks(self, resource: Resource) -> Iterator[Remark]:
        for index, webhook in enumerate(list_at(resource.value, "webhooks")):
            name = webhook.get("name", "") if isinstance(webhook, dict) else ""
            # Webhooks of other projects decide other things; how they fail is no matter of ours.
            if "gatekeeper" not in str(name) and "ratify" not in str(name):
                continue
            path: list[Key] = ["webhooks", index]
            mutates = resource.kind == WEBHOOK_KINDS[1]
            if webhook.get("failurePolicy") == "Ignore":
                then = "tags stay tags, and are denied" if mutates else "everything is admitted"
                what = f"{quoted(name)} has failurePolicy: Ignore: while Gatekeeper is slow or away {then}"
                chart = f"the chart's {'mutating' if mutates else 'validating'}WebhookFailurePolicy"
                remark = warning if mutates else error
                yield remark([*path, "failurePolicy"], what, f"set failurePolicy: Fail ({chart})")
            # Resolves tags to digests; no verifier is asked.
            if mutates:
                continue
            yield from _whole_seconds([*path, "timeoutSeconds"], webhook.get("timeoutSeconds"))
            # 10 s is Kubernetes' default (admissionregistration.k8s.io/v1).
            seconds = webhook.get("timeoutSeconds", 10)
            chart = f"set the chart's validatingWebhookTimeoutSeconds (default {GATEKEEPER_SECONDS}) above it"
            yield from self._waits([*path, "timeoutSeconds"], seconds, quoted(name), chart)

    def _kyverno(self, resource: Resource) -> Iterator[Remark]:
        yield from lint_kyverno(resource)
        path: list[Key] = ["spec", "webhookConfiguration", "timeoutSeconds"]
        yield from _whole_seconds(path, at(resource.value, *path))
        # 10 s is Kyverno's default as it is Kubernetes'.
        yield from self._waits(path, at(resource.value, *path) or 10, "the policy")

    def _waits(self, path: list[Key], seconds: object, who: str, more: str = "raise it") -> Iterator[Remark]:
        # A number that the API server refuses has been told of (``_whole_seconds``).
        if type(seconds) is int and 0 < seconds <= self.seconds:
            what = f"{who} waits {seconds} s, not more than the plugin's {self.seconds:g} s: its reasons are lost"
            yield error(path, what, f"{more}, or lower the Verifier's timeout")

    def _provider(self, resource: Resource) -> Iterator[Remark]:
        url, seconds = resource.spec.get("url"), resource.spec.get("timeout")
        yield from _whole_seconds(["spec", "timeout"], seconds)
        if isinstance(url, str) and url.endswith(MUTATING):
            # Resolves tags to digests; no verifier is asked.
            seconds = None
        # Gatekeeper refuses others at run time, and then every image is denied or admitted by failurePolicy.
        if not isinstance(url, str) or not url.startswith("https://"):
            what = f"the url {quoted(url)} is not HTTPS"
            yield error(["spec", "url"], what, "Gatekeeper takes HTTPS only")
        bundle = resource.spec.get("caBundle")
        if not bundle and not self._is_filled(resource):
            what = "there is no caBundle, without which Gatekeeper trusts no provider"
            yield error(["spec"], what, "add Ratify's CA")
        elif not self._is_filled(resource) and not _holds_certificate(bundle):
            what = "the caBundle holds no certificate, expected PEM in base64: Gatekeeper trusts no provider by it"
            yield error(["spec", "caBundle"], what, "write what 'base64 -w0 ca.crt' prints")
        yield from self._waits(["spec", "timeout"], seconds, "Gatekeeper")
        path = path_of(str(url))
        near = nearest(path, PATHS, 0.8)
        # Another path may be a proxy's, before whoever answers.
        if near and path not in PATHS:
            what = f"nothing answers at {quoted(url)}"
            yield error(["spec", "url"], what, f"is {near} meant?")

    def _template(self, resource: Resource) -> Iterator[Remark]:
        kind = text_at(resource.spec, "crd", "spec", "names", "kind")
        # Gatekeeper refuses the template, and so makes no kind of it.
        if not kind:
            yield error(["spec"], "the template names no kind", "write it at spec.crd.spec.names.kind")
        elif resource.name != kind.lower():
            what = (
                f"the name {quoted(resource.name)} is not its kind's in lower case, which is {quoted(kind)}"
            )
            yield error(["metadata", "name"], what, f"write {plain(kind.lower(), 80)}")
        for path, rego in _regos(resource):
            for name in sorted(_named_in(rego)) if self.providers else ():
                yield from lint_provider_name(path, name, self.providers)
            # A template that asks no provider decides something else.
            if "external_data" not in rego or is_closed(rego):
                continue
            if "responses" in rego:
                looks = "for failures: an image that the provider leaves out of its answer, or answers without isSuccess,"
            else:
                looks = "at errors alone: an image that the provider leaves out of its answer"
            positive = "deny each image that is 'not in' the set of those with isSuccess == true"
            remedy = f"{positive}; deploy/gatekeeper/template has the closed form"
            yield error(path, f"the template looks {looks} is admitted", remedy)

    def _constraint(self, resource: Resource) -> Iterator[Remark]:
        # The API server has no such kind and refuses the constraint, so nothing is enforced.
        if self.constraints and resource.kind not in self.constraints:
            what = f"no ConstraintTemplate here makes the kind {quoted(resource.kind)}"
            yield error(["kind"], what, f"write {' or '.join(sorted(self.constraints))}")
        # deny is Gatekeeper's own default.
        action = resource.spec.get("enforcementAction", "deny")
        # One that denies in Gatekeeper's own audit alone reports what runs already, and keeps nothing out.
        scoped = [
            at(item, "action")
            for item in list_at(resource.spec, "scopedEnforcementActions")
            if not (points := list_at(item, "enforcementPoints"))
            or any(at(point, "name") in AT_ADMISSION for point in points)
        ]
        # A misspelt one is an error already: ``lint_fields`` knows the fixed values.
        if action in ("dryrun", "warn", "scoped") and not (action == "scoped" and "deny" in scoped):
            what = f"enforcementAction {quoted(action)} denies nothing"
            remedy = "set deny once 'slsa-verifier-plugin audit' says what it would stop"
            yield warning(["spec", "enforcementAction"], what, remedy)


def _whole_seconds(path: list[Key], seconds: object) -> Iterator[Remark]:
    """Yield a remark on a time that the API server refuses: it takes whole seconds."""
    # Python's True is an int, and no number of seconds.
    is_whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if seconds is not None and not (is_whole and 1 <= int(str(seconds)) <= MOST_SECONDS):
        what = f"{path[-1]} is {plain(str(seconds), 80)}, expected whole seconds from 1 to {MOST_SECONDS}"
        yield error(path, what, "write a number such as 5")


def _holds_certificate(bundle: object) -> bool:
    try:
        # Line ends are passed over, as in Go: base64 wraps its output.
        return b"-----BEGIN CERTIFICATE-----" in b64decode("".join(str(bundle).split()), validate=True)
    except ValueError:
        return False


def _named_in(rego: str) -> set[str]:
    """Return the providers that Rego without comments asks."""
    return set(_PROVIDER.findall(rego))


def _regos(template: Resource) -> Iterator[tuple[list[Key], str]]:
    """Yield the places and texts of Rego in a template, in either form, each with its libraries and without comments."""
    for number, target in enumerate(list_at(template.spec, "targets")):
        path: list[Key] = ["spec", "targets", number]
        # Rego stands in the target itself, or below ``code``, where each engine has its own source.
        sources: list[tuple[list[Key], Any]] = [(path, target)]
        for index, code in enumerate(list_at(target, "code")):
            sources.append(([*path, "code", index, "source"], at(code, "source")))
        for place, source in sources:
            rego = at(source, "rego")
            if isinstance(rego, str):
                libraries = [text for text in list_at(source, "libs") if isinstance(text, str)]
                yield [*place, "rego"], without_comments("\n".join([rego, *libraries]))
