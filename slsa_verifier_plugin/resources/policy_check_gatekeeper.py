"""What is wrong on Gatekeeper's side: webhooks, providers, templates and constraints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin.members import at, list_at
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import CONSTRAINT, MUTATOR_KINDS, SERVED, WEBHOOK_KINDS, kind_of
from slsa_verifier_plugin.resources.policy_check_match import check_match
from slsa_verifier_plugin.resources.policy_check_mutators import check_mutator, check_provider_name
from slsa_verifier_plugin.resources.problems import Problems
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.resources.rego import is_closed, without_comments
from slsa_verifier_plugin.text import plain, quoted

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
            self._problems.error(
                resource,
                ["apiVersion"],
                f"{quoted(resource.api_version)} is served by nobody, expected {group}/{' or '.join(served)}",
                f"write {group}/{served[0]}",
            )

    def _seconds(self, resource: Resource, path: list[Key], seconds: object, most: int) -> None:
        """Note a time that the API server refuses: it takes whole seconds."""
        # Python's True is an int, and no number of seconds.
        is_whole = isinstance(seconds, int) and not isinstance(seconds, bool)
        if seconds is not None and not (is_whole and 1 <= int(str(seconds)) <= most):
            expected = f"whole seconds from 1 to {most}"
            self._problems.error(
                resource,
                path,
                f"{path[-1]} is {plain(str(seconds), 80)}, expected {expected}",
                "write a number such as 5",
            )

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
            if webhook.get("failurePolicy") == "Ignore" and resource.kind == WEBHOOK_KINDS[1]:
                self._problems.warn(
                    resource,
                    [*path, "failurePolicy"],
                    f"{quoted(name)} has failurePolicy: Ignore: while Gatekeeper is slow or away tags stay tags, and are denied",
                    "set failurePolicy: Fail (the chart's mutatingWebhookFailurePolicy)",
                )
            elif webhook.get("failurePolicy") == "Ignore":
                self._problems.error(
                    resource,
                    [*path, "failurePolicy"],
                    f"{quoted(name)} has failurePolicy: Ignore: while Gatekeeper is slow or away, everything is admitted",
                    "set failurePolicy: Fail (the chart's validatingWebhookFailurePolicy)",
                )
            if resource.kind == WEBHOOK_KINDS[1]:
                # Resolves tags to digests; no verifier is asked.
                continue
            self._seconds(resource, [*path, "timeoutSeconds"], webhook.get("timeoutSeconds"), MOST_SECONDS)
            # 10 s is Kubernetes' default (admissionregistration.k8s.io/v1).
            seconds = webhook.get("timeoutSeconds", 10)
            if isinstance(seconds, int) and seconds <= self._timeout:
                self._problems.error(
                    resource,
                    [*path, "timeoutSeconds"],
                    f"{quoted(name)} waits {seconds} s, not more than the plugin's {self._timeout:g} s: its reasons are lost",
                    f"set the chart's validatingWebhookTimeoutSeconds (default {GATEKEEPER_SECONDS}) above it, or lower timeout",
                )

    def _provider(self, resource: Resource) -> None:
        if kind_of(resource) != "Provider":
            return
        url, seconds = resource.spec.get("url"), resource.spec.get("timeout")
        self._seconds(resource, ["spec", "timeout"], seconds, MOST_SECONDS)
        if isinstance(url, str) and url.endswith("/mutate"):
            # Resolves tags to digests; no verifier is asked.
            seconds = None
        # Gatekeeper refuses others at run time, and then every image is denied or admitted by failurePolicy.
        if not isinstance(url, str) or not url.startswith("https://"):
            self._problems.error(
                resource,
                ["spec", "url"],
                f"the url {quoted(url)} is not HTTPS",
                "Gatekeeper takes HTTPS only",
            )
        is_filled = "spec.caBundle" in self._filled.get(resource.document.source, ())
        if is_filled:
            self._not_checked["the caBundle that a kustomization puts into a Provider"] = None
        elif not resource.spec.get("caBundle"):
            self._problems.error(
                resource,
                ["spec"],
                "there is no caBundle, without which Gatekeeper trusts no provider",
                "add Ratify's CA",
            )
        if isinstance(seconds, int) and seconds <= self._timeout:
            self._problems.error(
                resource,
                ["spec", "timeout"],
                f"the provider is given {seconds} s, not more than the plugin's {self._timeout:g} s",
                "raise it, or lower the Verifier's timeout",
            )

    def _template(self, resource: Resource) -> None:
        if kind_of(resource) != "ConstraintTemplate":
            return
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
        self._problems.error(
            resource,
            path,
            "the template looks at errors alone: an image that the provider leaves out of its answer is admitted"
            if "responses" not in rego
            else "the template looks for failures: an image that the provider leaves out of its answer, or answers without "
            "isSuccess, is admitted",
            "deny each image that is 'not in' the set of those with isSuccess == true; deploy/gatekeeper/template has the closed "
            "form",
        )

    def _constraint(self, resource: Resource) -> None:
        if kind_of(resource) != CONSTRAINT:
            return
        if not self._constraint_kinds:
            self._not_checked[
                "whether templates make the kinds of constraints (no ConstraintTemplate is here)"
            ] = None
        # The API server has no such kind and refuses the constraint, so nothing is enforced.
        elif resource.kind not in self._constraint_kinds:
            self._problems.error(
                resource,
                ["kind"],
                f"no ConstraintTemplate here makes the kind {quoted(resource.kind)}",
                f"write {' or '.join(sorted(self._constraint_kinds))}",
            )
        # deny is Gatekeeper's own default.
        action = resource.spec.get("enforcementAction", "deny")
        scoped = [at(item, "action") for item in list_at(resource.spec, "scopedEnforcementActions")]
        # A misspelt one is an error already: ``check_fields`` knows the fixed values.
        if action in ("dryrun", "warn", "scoped") and not (action == "scoped" and "deny" in scoped):
            self._problems.warn(
                resource,
                ["spec", "enforcementAction"],
                f"enforcementAction {quoted(action)} denies nothing",
                "set deny once 'slsa-verifier-plugin audit' says what it would stop",
            )


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
