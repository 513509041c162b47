"""``policy``: check, write and describe Verifier resources, and what is known without one."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.demands import decider_of, root_parameter, seconds_of, store_for
from slsa_verifier_plugin.checking.status import Decision, Status
from slsa_verifier_plugin.cli.lazy import StrictGroup
from slsa_verifier_plugin.cli.options import (
    flag,
    json_option,
    layout_option,
    registry_options,
    require_folder,
    valued,
)
from slsa_verifier_plugin.cli.session import Session, pass_session, say, show, tell
from slsa_verifier_plugin.cli.typed import TrustedRootFile
from slsa_verifier_plugin.sinks import json_text

if TYPE_CHECKING:
    from slsa_verifier_plugin.checking.decider import Decider
    from slsa_verifier_plugin.checking.proposal import Proposal
    from slsa_verifier_plugin.checking.stores import Store
    from slsa_verifier_plugin.service.service import Service

SECONDS = 60.0
MAX_TRIED = 16
"""Proposals of ``policy init`` that are tried out."""
CHECK_EPILOG = """\b
Examples:
  slsa-verifier-plugin policy check verifier.yaml
  slsa-verifier-plugin policy check deploy/
  kubectl kustomize deploy | slsa-verifier-plugin policy check -
  kubectl get verifiers,stores,policies,providers,constrainttemplates,constraints \\
      -o yaml | slsa-verifier-plugin policy check -

\b
Exit status: 0 nothing is wrong (or warnings alone), 1 something is, 2 usage.
"""


@click.group(cls=StrictGroup)
def policy() -> None:
    """Check, write and describe Verifier resources."""


@policy.command(short_help="Find what is wrong with Verifiers and what surrounds them.", epilog=CHECK_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@valued("--plugins-dir", "DIR", "Ratify's plugin directory, to look into.", type=click.Path(path_type=Path))
@flag("--strict", "Warnings count, too.")
@flag("--allow-empty", "Files without anything to check are no failure.")
@json_option
@pass_session
def check(session: Session, /, files: tuple[str, ...], plugins_dir: Path | None, **options: bool) -> int:
    """Find what is wrong with Verifiers, Stores and Policies, and with Gatekeeper's side of it, before a cluster does.

    FILE is a file, a folder with all below it, a pattern such as 'deploy/**/*.yaml', or -. Files that are meant for one cluster
    are checked together. Each problem comes with file, line, column and remedy, and the end says what was not looked at.
    """
    from slsa_verifier_plugin.cli.render import render_policy
    from slsa_verifier_plugin.resources import policy_lint
    from slsa_verifier_plugin.resources.policy_files import read_policy_files
    from slsa_verifier_plugin.resources.problems import ERROR

    read = read_policy_files(files, options["allow_empty"])
    found = policy_lint.lint(read.resources, plugins_dir, read.filled, options["allow_empty"])
    # A document that is no resource is wrong wherever it stands.
    found = replace(found, problems=[*read.problems, *found.problems])
    lines = render_policy.text_of(found, read.passed_over, session.painter())
    tell(options["as_json"], lambda: render_policy.json_of(found, read.passed_over), lines)
    # Warnings alone leave the status 0, unless --strict says otherwise.
    counted = [problem for problem in found.problems if options["strict"] or problem.severity == ERROR]
    return Status.DENIED if counted else Status.ADMITTED


@policy.command(short_help="Write a Verifier from what an image's attestations show.")
@click.argument("image")
@registry_options
@layout_option
@valued(
    "--trusted-root", "FILE|NAME", "public-good by default.", type=TrustedRootFile(), default="public-good"
)
@click.option("--name", default="verifier-slsa", show_default=True, help="Of the Verifier.")
@valued(
    "--output", "FILE", "Write it, and a schema for editors beside it.", "-o", type=click.Path(path_type=Path)
)
@flag("--force", "Replace what is there.")
@pass_session
def init(session: Session, /, image: str, **options: Any) -> int:
    """Write a Verifier resource from what an image's attestations show, as strict as they allow, with comments.

    Only what verifies counts, known signers first, and what is written is tried out: it admits the image. Notes on it are on
    standard error.
    """
    from slsa_verifier_plugin.checking import proposal as policy_init
    from slsa_verifier_plugin.resources.named_files import write_new

    # Before the registry is asked: a slip in the file's name costs nothing yet.
    require_folder(options["output"])
    proposal = _propose(session, image, options)
    # No proposal: the text says why, and there is nothing to write.
    if isinstance(proposal, str):
        say(proposal, error=True)
        return Status.DENIED
    # On standard error: standard output is the resource alone, and may be piped into kubectl.
    for remark in proposal.remarks:
        say(f"note: {remark}", error=True)
    text = policy_init.resource_of(proposal, options["name"])
    output: Path | None = options["output"]
    # With a file the schema goes beside it, for the first line names it.
    if output is None:
        show(text)
    else:
        write_new(output, text.encode(), options["force"])
        schema_file = output.parent / policy_init.SCHEMA_FILE
        # Replaced without --force: a schema of another version would tell an editor wrong things.
        schema_file.write_text(f"{json_text(resource_schema())}\n", "utf-8")
        say(f"wrote {output}, and {schema_file} for editors")
    return Status.ADMITTED


@policy.command(short_help="Show who may sign without configuration, and which releases are known.")
@json_option
@pass_session
def producers(session: Session, /, as_json: bool) -> int:
    """Show who may sign for which verifier.id without configuration, since when, and at which releases' commits."""
    from slsa_verifier_plugin.cli.render import render_producers

    tell(as_json, render_producers.json_of, render_producers.lines_of(session.painter()))
    return Status.ADMITTED


@policy.command(short_help="Print the JSON schema of the parameters, for editors.")
@flag("--resource", "Of the whole Verifier resource.")
def schema(resource: bool) -> int:
    """Print the JSON schema (draft 2020-12) of a Verifier's parameters, or of the whole resource.

    Editors use it through a first line '# yaml-language-server: $schema=FILE'.
    """
    from slsa_verifier_plugin.policy.parameters import schema as parameters_schema

    show(json_text(resource_schema() if resource else parameters_schema()))
    return Status.ADMITTED


def resource_schema() -> dict[str, Any]:
    """Return the JSON schema of a Verifier resource, its parameters included."""
    from slsa_verifier_plugin.policy.carried import carried
    from slsa_verifier_plugin.policy.parameters import schema as parameters_schema

    whole: dict[str, Any] = json.loads(carried("slsa_verifier_plugin.resources", "verifier.schema.json"))
    parameters = parameters_schema()
    # Both are of a document's root: a part with an $id would look for $defs in itself (JSON Schema, "$id").
    for key in ("$schema", "$id"):
        parameters.pop(key, None)
    # A Verifier's parameters stand inside of spec, so their definitions move to the top.
    definitions = parameters.pop("$defs")
    # An editor is to underline a misspelt field: spec has no others than these.
    whole["properties"]["spec"]["properties"]["parameters"] = parameters
    return {**whole, "$defs": definitions}


def _propose(session: Session, image: str, options: Any) -> Proposal | str:
    """Return the best proposal for an image that admits it when tried out, or else why there is none.

    Raises:
        VerifierError: the image, or what is attached to it, cannot be had.
    """
    from slsa_verifier_plugin.checking import proposal as policy_init
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.checking.inspecting import look_at_image
    from slsa_verifier_plugin.cli.commands.inspect_command import signature_check
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.errors import RegistryError
    from slsa_verifier_plugin.service.service import Service
    from slsa_verifier_plugin.text import plain
    from slsa_verifier_plugin.verification.evidence import image_labels

    reference, service = parse_image(image), Service(session.environ)
    deadline = Deadline(seconds_of(options["timeout"]) or SECONDS)
    root = options["trusted_root"]
    store = store_for(service, options["layout"], options["plain_http"])
    # With signatures checked: only what verifies may be demanded.
    view = look_at_image(reference, store, deadline, signature_check(service, root))
    # By digest from here on: a tag that moves meanwhile would mix two images.
    pinned = reference.with_digest(view.descriptor.digest)
    # The default one is left out: the policy then follows whatever later becomes the default.
    trusted = None if root == "public-good" else root_parameter(root)
    found = policy_init.proposals(view, image_labels(store, pinned, view.descriptor, deadline), trusted)
    refused = ""
    for proposal in found[:MAX_TRIED]:
        # Attested text may be longer than a parameter allows, or end with a line break.
        if problem := proposal.problem():
            refused = refused or f"no policy can say what its attestation says: {plain(problem, 1024)}"
            continue
        # Under both rules: a remark tells where "any" alone admits the image.
        reports = {
            rule: _checker(proposal, rule, options, service, store).image(str(pinned))
            for rule in ("any", "all")
        }
        report = reports["any"]
        if report.decision is Decision.UNDECIDED:
            # Another may be worse, and be taken only because this one could not be tried.
            raise RegistryError(report.message.rstrip("."), reason=report.reason, transient=report.transient)
        if report.decision is Decision.ADMITTED:
            every = reports["all"].decision is Decision.ADMITTED
            return replace(proposal, remarks=tuple(policy_init.remarks_on(proposal, found, every)))
        refused = refused or f"{report.reason}: {report.message}"
    # Ready to be pasted: with the root and place that were asked here.
    shown = ["slsa-verifier-plugin", "inspect", image, "--verify", "--trusted-root", root]
    shown += ["--layout", options["layout"]] if options["layout"] else []
    # Something verified, and no policy of it admits the image: the best one's reason is the one to know.
    if refused:
        return f"no policy made from what is attached to {image} admits it; the most likely one: {refused}"
    return (
        f"nothing attached to {image} is a verification summary whose signature verifies by the trusted root {root}; "
        f"'{shlex.join(shown)}' shows what is there"
    )


def _checker(proposal: Proposal, rule: str, options: Any, service: Service, store: Store) -> Decider:
    """Return what tries a proposal out, under ``any`` or ``all``."""
    from slsa_verifier_plugin.checking.demands import Demands
    from slsa_verifier_plugin.checking.proposal import resource_of
    from slsa_verifier_plugin.resources.documents import parse_documents
    from slsa_verifier_plugin.resources.ratify_resources import Setup, flattened, verifier_of

    # What the written resource will hand to the plugin, to the letter.
    written = resource_of(proposal, options["name"]).encode()
    (resource,) = flattened(parse_documents(written, "the proposal"))
    verifier = verifier_of(resource, None)
    demands = Demands(plain_http=options["plain_http"], seconds=SECONDS)
    return decider_of(Setup((verifier,), rules={"default": rule}), demands, service, store)
