"""What is wrong on Gatekeeper's side: webhooks, providers, templates and constraints."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from slsa_verifier_plugin.resources.documents import Key
from slsa_verifier_plugin.resources.problems import ERROR, WARNING, Problem, Problems, at, listed
from slsa_verifier_plugin.resources.ratify_resources import Resource
from slsa_verifier_plugin.resources.rego import is_closed, without_comments
from slsa_verifier_plugin.text import quoted

GATEKEEPER_SECONDS = 3
"""The chart's default ``validatingWebhookTimeoutSeconds`` (Gatekeeper 3.x)."""

GATEKEEPER_KINDS = ("ValidatingWebhookConfiguration", "Provider", "ConstraintTemplate")
"""The kinds that are looked at, beside constraints, whose kinds templates name."""

_PROVIDER = re.compile(r'"provider"\s*:\s*"([^"]+)"')


def check_gatekeeper(resources: Sequence[Resource], seconds: float) -> list[Problem]:
    """Return what is wrong with Gatekeeper's resources.

    Args:
        resources: all that are meant for one cluster.
        seconds: the longest time limit of a Verifier among them.
    """
    checker = _GatekeeperChecker(resources, seconds)
    return checker.problems()


def is_constraint(resource: Resource) -> bool:
    """Return True for a Gatekeeper constraint, of whatever kind."""
    return resource.api_version.startswith("constraints.gatekeeper.sh/")


class _GatekeeperChecker:
    """Looks at one kind of resource at a time, with the others at hand."""

    def __init__(self, resources: Sequence[Resource], seconds: float) -> None:
        self._resources = resources
        self._timeout = seconds
        self._problems = Problems()

    def problems(self) -> list[Problem]:
        for resource in self._resources:
            self._webhooks(resource)
            self._provider(resource)
            self._template(resource)
            self._constraint(resource)
        return self._problems.found

    def _webhooks(self, resource: Resource) -> None:
        if resource.kind != "ValidatingWebhookConfiguration":
            return
        for index, webhook in enumerate(listed(resource.value.get("webhooks"))):
            name = webhook.get("name", "") if isinstance(webhook, dict) else ""
            if "gatekeeper" not in str(name) and "ratify" not in str(name):
                continue
            path: list[Key] = ["webhooks", index]
            if webhook.get("failurePolicy") == "Ignore":
                self._problems.add(
                    resource,
                    [*path, "failurePolicy"],
                    ERROR,
                    f"{quoted(name)} has failurePolicy: Ignore: while Gatekeeper is slow or away, everything is admitted",
                    "set failurePolicy: Fail (the chart's validatingWebhookFailurePolicy)",
                )
            seconds = webhook.get("timeoutSeconds", 10)
            if isinstance(seconds, int) and seconds <= self._timeout:
                self._problems.add(
                    resource,
                    [*path, "timeoutSeconds"],
                    ERROR,
                    f"{quoted(name)} waits {seconds} s, not more than the plugin's {self._timeout:g} s: its reasons are lost",
                    f"set the chart's validatingWebhookTimeoutSeconds (default {GATEKEEPER_SECONDS}) above it, or lower timeout",
                )

    def _provider(self, resource: Resource) -> None:
        if resource.kind != "Provider" or not resource.api_version.startswith("externaldata.gatekeeper.sh/"):
            return
        url, seconds = resource.spec.get("url"), resource.spec.get("timeout")
        if isinstance(url, str) and url.endswith("/mutate"):
            # Resolves tags to digests; no verifier is asked.
            seconds = None
        if not isinstance(url, str) or not url.startswith("https://"):
            self._problems.add(
                resource,
                ["spec", "url"],
                ERROR,
                f"the url {quoted(url)} is not HTTPS",
                "Gatekeeper takes HTTPS only",
            )
        if not resource.spec.get("caBundle"):
            self._problems.add(
                resource,
                ["spec"],
                ERROR,
                "there is no caBundle, without which Gatekeeper trusts no provider",
                "add Ratify's CA",
            )
        if isinstance(seconds, int) and seconds <= self._timeout:
            self._problems.add(
                resource,
                ["spec", "timeout"],
                ERROR,
                f"the provider is given {seconds} s, not more than the plugin's {self._timeout:g} s",
                "raise it, or lower the Verifier's timeout",
            )

    def _template(self, resource: Resource) -> None:
        if resource.kind != "ConstraintTemplate":
            return
        known = {item.name for item in self._resources if item.kind == "Provider"}
        for index, target in enumerate(listed(resource.spec.get("targets"))):
            for path, rego in _regos(target, ["spec", "targets", index]):
                self._rego(resource, path, rego, known)

    def _rego(self, resource: Resource, path: Sequence[Key], text: str, known: set[str]) -> None:
        rego = without_comments(text)
        named = set(_PROVIDER.findall(rego))
        for name in sorted(named - known) if known else ():
            near = difflib.get_close_matches(name, known, 1, 0.4)
            self._problems.add(
                resource,
                path,
                ERROR,
                f"the template asks the provider {quoted(name)}, and there is none of that name here",
                f"write {quoted(near[0])}" if near else "apply that Provider, or correct the name",
            )
        if "external_data" not in rego or is_closed(rego):
            return
        self._problems.add(
            resource,
            path,
            ERROR,
            "the template looks at errors alone: an image that the provider leaves out of its answer is admitted"
            if "responses" not in rego
            else "the template looks for failures: an image that the provider leaves out of its answer, or answers without "
            "isSuccess, is admitted",
            "deny each image that is 'not in' the set of those with isSuccess == true; deploy/gatekeeper/template has the closed "
            "form",
        )

    def _constraint(self, resource: Resource) -> None:
        if not is_constraint(resource):
            return
        kinds = {
            at(item.spec, "crd", "spec", "names", "kind")
            for item in self._resources
            if item.kind == "ConstraintTemplate"
        }
        if kinds and resource.kind not in kinds:
            self._problems.add(
                resource,
                ["kind"],
                ERROR,
                f"no ConstraintTemplate here makes the kind {quoted(resource.kind)}",
                f"write {' or '.join(sorted(str(kind) for kind in kinds))}",
            )
        action = resource.spec.get("enforcementAction", "deny")
        scoped = [at(item, "action") for item in listed(resource.spec.get("scopedEnforcementActions"))]
        if action != "deny" and not (action == "scoped" and "deny" in scoped):
            self._problems.add(
                resource,
                ["spec", "enforcementAction"],
                WARNING,
                f"enforcementAction {quoted(action)} denies nothing",
                "set deny once 'slsa-verifier-plugin audit' says what it would stop",
            )


def _regos(target: Any, path: list[Key]) -> Iterator[tuple[list[Key], str]]:
    """Yield the places and texts of Rego in one target of a template, in either form, each with its libraries."""
    if not isinstance(target, dict):
        return
    sources = [(path, target)]
    for index, code in enumerate(listed(target.get("code"))):
        sources.append(([*path, "code", index, "source"], at(code, "source")))
    for place, source in sources:
        rego = at(source, "rego")
        if isinstance(rego, str):
            libraries = [text for text in listed(at(source, "libs")) if isinstance(text, str)]
            yield [*place, "rego"], "\n".join([rego, *libraries])
