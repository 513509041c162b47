"""What is wrong on Gatekeeper's side: webhooks, providers, templates and constraints; and on Kyverno's."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin.members import at, list_at, text_at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import (
    AT_ADMISSION,
    CONSTRAINT,
    MUTATOR_KINDS,
    SERVED,
    WEBHOOK_KINDS,
    kind_of,
)
from slsa_verifier_plugin.resources.policy_check_kyverno import (
    NOT_CHECKED,
    PATHS,
    asks_verifier,
    check_kyverno,
    path_of,
)
from slsa_verifier_plugin.resources.policy_check_match import check_match
from slsa_verifier_plugin.resources.policy_check_mutators import check_mutator, check_provider_name
from slsa_verifier_plugin.resources.problems import ERROR, WARNING, Problems
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.resources.rego import is_closed, without_comments
from slsa_verifier_plugin.text import nearest, plain, quoted

GATEKEEPER_SECONDS = 3
"""The chart's default ``validatingWebhookTimeoutSeconds`` (Gatekeeper 3.x)."""

MOST_SECONDS = 30
"""What the API server takes for a webhook (admissionregistration.k8s.io/v1), within which a provider has to answer, too."""

# How a template names the provider that ``external_data`` asks.
_PROVIDER = re.compile(r'"provider"\s*:\s*"([^"]+)"')


def check_gatekeeper(
    resources: Sequence[Resource], seconds: float, filled: Mapping[str, frozenset[str]], problems: Problems
) -> list[str]:
    """Note what is wrong with Gatekeeper's resources, and return what could not be checked, for people.

    Args:
        resources: all that are meant for one cluster.
        seconds: the longest time limit of a Verifier among them.
        filled: by file, the paths of fields that a kustomization beside it fills in.
        problems: where to note it.
    """
    return _GatekeeperReview(resources, seconds, filled, problems).check()


class _GatekeeperReview:
    """Looks at one kind of resource at a time, with the others at hand."""

    def __init__(
        self,
        resources: Sequence[Resource],
        seconds: float,
        filled: Mapping[str, frozenset[str]],
        problems: Problems,
    ) -> None:
        self._resources = resources
        self._timeout = seconds
        self._filled = filled
        self._problems = problems
        # A set that keeps its order: each sentence is told once.
        self._not_checked: dict[str, None] = {}
        self._providers = {item.name: item for item in resources if kind_of(item) == "Provider"}
        self._constraint_kinds = {
            str(at(item.spec, "crd", "spec", "names", "kind"))
            for item in resources
            if kind_of(item) == "ConstraintTemplate"
        }

    def check(self) -> list[str]:
        for resource in self._resources:
            self._webhooks(resource)
            self._provider(resource)
            self._template(resource)
            self._constraint(resource)
            self._kyverno(resource)
            check_mutator(resource, self._providers, self._problems)
            check_match(resource, self._problems)
            self._version(resource)
            if kind_of(resource) in MUTATOR_KINDS[:2] and not self._providers:
                self._no_providers()
        return list(self._not_checked)

    def _version(self, resource: Resource) -> None:
        group, _, version = resource.api_version.partition("/")
        served = SERVED.get(group, ())
        # The API server refuses an object of a version that is not served.
        if served and kind_of(resource) and version not in served:
            what = (
                f"{quoted(resource.api_version)} is served by nobody, expected {group}/{' or '.join(served)}"
            )
            self._problems.error(resource, ["apiVersion"], what, f"write {group}/{served[0]}")

    def _seconds(self, resource: Resource, path: list[Key], seconds: object) -> None:
        """Note a time that the API server refuses: it takes whole seconds."""
        # Python's True is an int, and no number of seconds.
        is_whole = isinstance(seconds, int) and not isinstance(seconds, bool)
        if seconds is not None and not (is_whole and 1 <= int(str(seconds)) <= MOST_SECONDS):
            what = f"{path[-1]} is {plain(str(seconds), 80)}, expected whole seconds from 1 to {MOST_SECONDS}"
            self._problems.error(resource, path, what, "write a number such as 5")

    def _no_providers(self) -> None:
        self._not_checked["whether the Providers that are named exist (none is here)"] = None

    def _webhooks(self, resource: Resource) -> None:
        if kind_of(resource) not in WEBHOOK_KINDS:
            return
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
                where, remedy = [*path, "failurePolicy"], f"set failurePolicy: Fail ({chart})"
                self._problems.add(resource, where, WARNING if mutates else ERROR, what, remedy)
            # Resolves tags to digests; no verifier is asked.
            if mutates:
                continue
            self._seconds(resource, [*path, "timeoutSeconds"], webhook.get("timeoutSeconds"))
            # 10 s is Kubernetes' default (admissionregistration.k8s.io/v1).
            seconds = webhook.get("timeoutSeconds", 10)
            chart = f"set the chart's validatingWebhookTimeoutSeconds (default {GATEKEEPER_SECONDS}) above it"
            self._waits(resource, [*path, "timeoutSeconds"], seconds, quoted(name), chart)

    def _kyverno(self, resource: Resource) -> None:
        if not asks_verifier(resource):
            return
        check_kyverno(resource, self._problems)
        self._not_checked[NOT_CHECKED] = None
        path: list[Key] = ["spec", "webhookConfiguration", "timeoutSeconds"]
        self._seconds(resource, path, at(resource.value, *path))
        # 10 s is Kyverno's default as it is Kubernetes'.
        self._waits(resource, path, at(resource.value, *path) or 10, "the policy")

    def _waits(
        self, resource: Resource, path: list[Key], seconds: object, who: str, more: str = "raise it"
    ) -> None:
        # A number that the API server refuses has been told of (``_seconds``).
        if type(seconds) is int and 0 < seconds <= self._timeout:
            what = f"{who} waits {seconds} s, not more than the plugin's {self._timeout:g} s: its reasons are lost"
            self._problems.error(resource, path, what, f"{more}, or lower the Verifier's timeout")

    def _provider(self, resource: Resource) -> None:
        if kind_of(resource) != "Provider":
            return
        url, seconds = resource.spec.get("url"), resource.spec.get("timeout")
        self._seconds(resource, ["spec", "timeout"], seconds)
        if isinstance(url, str) and url.endswith("/mutate"):
            # Resolves tags to digests; no verifier is asked.
            seconds = None
        # Gatekeeper refuses others at run time, and then every image is denied or admitted by failurePolicy.
        if not isinstance(url, str) or not url.startswith("https://"):
            what = f"the url {quoted(url)} is not HTTPS"
            self._problems.error(resource, ["spec", "url"], what, "Gatekeeper takes HTTPS only")
        if "spec.caBundle" in self._filled.get(resource.document.source, ()):
            self._not_checked["the caBundle that a kustomization puts into a Provider"] = None
        elif not (bundle := resource.spec.get("caBundle")):
            what = "there is no caBundle, without which Gatekeeper trusts no provider"
            self._problems.error(resource, ["spec"], what, "add Ratify's CA")
        elif not _holds_certificate(bundle):
            what = "the caBundle holds no certificate, expected PEM in base64: Gatekeeper trusts no provider by it"
            self._problems.error(
                resource, ["spec", "caBundle"], what, "write what 'base64 -w0 ca.crt' prints"
            )
        self._waits(resource, ["spec", "timeout"], seconds, "Gatekeeper")
        path = path_of(str(url))
        near = nearest(path, PATHS, 0.8)
        # Another path may be a proxy's, before whoever answers.
        if near and path not in PATHS:
            what = f"nothing answers at {quoted(url)}"
            self._problems.error(resource, ["spec", "url"], what, f"is {near} meant?")

    def _template(self, resource: Resource) -> None:
        if kind_of(resource) != "ConstraintTemplate":
            return
        kind = text_at(resource.spec, "crd", "spec", "names", "kind")
        # Gatekeeper refuses the template, and so makes no kind of it.
        if resource.name != kind.lower():
            what = f"the name {quoted(resource.name)} is not its kind's in lower case, which is {quoted(kind or None)}"
            remedy = f"write {plain(kind.lower(), 80) or 'spec.crd.spec.names.kind'}"
            self._problems.error(resource, ["metadata", "name"], what, remedy)
        for index, target in enumerate(list_at(resource.spec, "targets")):
            for path, rego in _regos(target, ["spec", "targets", index]):
                self._rego(resource, path, rego)

    def _rego(self, resource: Resource, path: list[Key], text: str) -> None:
        rego = without_comments(text)
        named = set(_PROVIDER.findall(rego))
        if named and not self._providers:
            self._no_providers()
        for name in sorted(named) if self._providers else ():
            check_provider_name(resource, path, name, self._providers, self._problems)
        # A template that asks no provider decides something else.
        if "external_data" not in rego or is_closed(rego):
            return
        if "responses" in rego:
            looks = "for failures: an image that the provider leaves out of its answer, or answers without isSuccess,"
        else:
            looks = "at errors alone: an image that the provider leaves out of its answer"
        positive = "deny each image that is 'not in' the set of those with isSuccess == true"
        remedy = f"{positive}; deploy/gatekeeper/template has the closed form"
        self._problems.error(resource, path, f"the template looks {looks} is admitted", remedy)

    def _constraint(self, resource: Resource) -> None:
        if kind_of(resource) != CONSTRAINT:
            return
        if not self._constraint_kinds:
            self._not_checked[
                "whether templates make the kinds of constraints (no ConstraintTemplate is here)"
            ] = None
        # The API server has no such kind and refuses the constraint, so nothing is enforced.
        elif resource.kind not in self._constraint_kinds:
            what = f"no ConstraintTemplate here makes the kind {quoted(resource.kind)}"
            self._problems.error(
                resource, ["kind"], what, f"write {' or '.join(sorted(self._constraint_kinds))}"
            )
        # deny is Gatekeeper's own default.
        action = resource.spec.get("enforcementAction", "deny")
        # One that denies in Gatekeeper's own audit alone reports what runs already, and keeps nothing out.
        scoped = [
            at(item, "action")
            for item in list_at(resource.spec, "scopedEnforcementActions")
            if not (points := list_at(item, "enforcementPoints"))
            or any(at(point, "name") in AT_ADMISSION for point in points)
        ]
        # A misspelt one is an error already: ``check_fields`` knows the fixed values.
        if action in ("dryrun", "warn", "scoped") and not (action == "scoped" and "deny" in scoped):
            what = f"enforcementAction {quoted(action)} denies nothing"
            remedy = "set deny once 'slsa-verifier-plugin audit' says what it would stop"
            self._problems.warn(resource, ["spec", "enforcementAction"], what, remedy)


def _holds_certificate(bundle: object) -> bool:
    try:
        # Line ends are passed over, as in Go: base64 wraps its output.
        return b"-----BEGIN CERTIFICATE-----" in b64decode("".join(str(bundle).split()), validate=True)
    except ValueError:
        return False


def _regos(target: Any, path: list[Key]) -> Iterator[tuple[list[Key], str]]:
    """Yield the places and texts of Rego in one target of a template, in either form, each with its libraries."""
    if not isinstance(target, dict):
        return
    # Rego stands in the target itself, or below ``code``, where each engine has its own source.
    sources = [(path, target)]
    for index, code in enumerate(list_at(target, "code")):
        sources.append(([*path, "code", index, "source"], at(code, "source")))
    for place, source in sources:
        rego = at(source, "rego")
        if isinstance(rego, str):
            libraries = [text for text in list_at(source, "libs") if isinstance(text, str)]
            yield [*place, "rego"], "\n".join([rego, *libraries])
