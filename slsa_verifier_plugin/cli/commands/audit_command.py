"""``audit``: what would be admitted, denied or undecided, of everything that runs, at every level."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from slsa_verifier_plugin.checking.demands import decider_of, setup_of
from slsa_verifier_plugin.checking.status import PROGRAM
from slsa_verifier_plugin.cli.audit_report import FAIL_ON, FORMATS, opened
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import demands_of, flag, policy_options, valued, with_options
from slsa_verifier_plugin.cli.session import Session, pass_session
from slsa_verifier_plugin.cli.typed import Choice
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.audit.audit_sources import AuditSources
    from slsa_verifier_plugin.audit.audit_state import AuditState
    from slsa_verifier_plugin.audit.pod_images import Cluster
    from slsa_verifier_plugin.checking.demands import Demands

EPILOG = """\b
Examples:
  slsa-verifier-plugin audit --policy verifier.yaml --cluster --context staging -n shop
  kubectl get pods -A -o json | slsa-verifier-plugin audit --policy verifier.yaml --pods -
  slsa-verifier-plugin audit --policy verifier.yaml --manifests deploy/ --fail-on denied
  slsa-verifier-plugin audit --policy v.yaml --images list.txt --format html -o report.html
  slsa-verifier-plugin audit --policy v.yaml --pods pods.json --state audit.db --shard 0/4
  slsa-verifier-plugin audit merge --format html -o report.html audit-*.db

\b
Exit status: 0 the audit is complete, 1 something was denied and --fail-on says so,
2 usage, or no image was found (and no --allow-empty), 3 something was undecided or not
looked at and --fail-on undecided is given, 130 interrupted.
"""


# A key of click's context.meta, which every part of a program shares: hence the full name.
_TYPED = "slsa_verifier_plugin.audit.typed"


class _AuditGroup(StrictCommand):
    """The audit itself, or ``merge`` where that is the first argument."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return a context of the command that the arguments are for."""
        # The parser takes the arguments out of the list; the report says what was typed.
        typed = shlex.join([PROGRAM, "audit", *args])
        # Not a click group: that would take the first image's name for a subcommand.
        if args[:1] == ["merge"]:
            return merge.make_context(f"{info_name} merge", args[1:], parent, **extra)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_TYPED] = typed
        return context


def _completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    # Only where a subcommand can stand; later "merge" is an image's name.
    is_first = not context.params.get("images")
    return [CompletionItem("merge")] if is_first and "merge".startswith(incomplete) else []


_output_options = with_options(
    (
        click.option("--format", "form", type=Choice(FORMATS), default="table", show_default=True),
        click.option("--json", "form", flag_value="json", help="Short for --format json."),
        valued("--output", "FILE", "Write the report there.", "-o", type=click.Path()),
        click.option(
            "--fail-on",
            type=Choice(list(FAIL_ON)),
            default="never",
            show_default=True,
            help="What makes the exit status 1 (denied) or 3 (undecided).",
        ),
        flag("--allow-empty", "Finding no image at all is no failure."),
    )
)


@click.command(cls=_AuditGroup, epilog=EPILOG)
@click.argument("images", nargs=-1, metavar="[IMAGE...|merge STATE...]", shell_complete=_completed)
@valued("--images", "FILE", "Images, one a line; - for stdin.", "lists", multiple=True, type=click.Path())
@valued(
    "--pods", "FILE", "Pods, as 'kubectl get pods -A -o json' prints them.", multiple=True, type=click.Path()
)
@valued(
    "--manifests",
    "PATH",
    "Manifests: a file, - , a folder or kustomization.",
    multiple=True,
    type=click.Path(),
)
@valued("--registry", "HOST[/REPO]", "Every tag of it.", "registries", multiple=True)
@flag("--cluster", "The Pods that run in the cluster; kubectl is asked for them.")
@valued("--namespace", "NAME", "Of the cluster; all by default.", "-n")
@valued("--context", "NAME", "Of the kubeconfig; the current one by default.", "kubernetes")
@policy_options
@valued(
    "--state",
    "FILE",
    "Keep what is found, and go on from there.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@flag("--restart", "Forget what --state holds.")
@valued("--shard", "I/N", "Only the I-th (from 0) of N parts; 'audit merge' joins their states.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1, 64), default=8, show_default=True, help="Images at once."
)
@_output_options
@click.pass_context
def audit(context: click.Context, /, images: tuple[str, ...], **options: Any) -> int:
    """Say for many images what would be admitted, denied or undecided: by the policy as it stands, and at every level.

    Each image is looked at once, however many places use it. With --state an audit that was interrupted goes on where it
    was; what could not be decided is tried again.
    """
    from slsa_verifier_plugin.audit.audit_sources import AuditSources

    session, demands = context.ensure_object(Session), demands_of(options)
    sources = AuditSources(
        images,
        options["lists"],
        options["pods"],
        options["manifests"],
        options["registries"],
        _clusters(options, session.environ),
    )
    # Before a policy is read or the report's file is touched.
    sources.check(demands)
    # The report's file and the state are closed however the audit ends.
    with ExitStack() as stack:
        report = stack.enter_context(opened(options, session))
        state = _audited(context, demands, sources, options, stack)
        # Of several shards one may be empty: what counts is whether all of them together had an image.
        _refuse_empty(sources.found, sources.gaps(), options["allow_empty"])
        return report.write(state)


@click.command("merge", cls=StrictCommand)
@click.argument("states", nargs=-1, required=True, metavar="STATE...", type=click.Path(path_type=Path))
@valued("--state", "FILE", "Keep what was joined there.", type=click.Path(dir_okay=False, path_type=Path))
@_output_options
@pass_session
def merge(session: Session, /, states: tuple[Path, ...], state: Path | None, **options: Any) -> int:
    """Join the states of shards, or of several clusters audited with one policy, and report on all of it.

    Shards that are absent, and images that a state has not looked at yet, count as undecided.
    """
    from slsa_verifier_plugin.audit.audit_state import AuditState

    with ExitStack() as stack:
        report = stack.enter_context(opened(options, session))
        joined = stack.enter_context(AuditState(state))
        for path in states:
            # One after the other: the first says which policy it is about, and the others must have the same.
            joined.join(path)
        _refuse_empty(joined.counts()[0], joined.gaps(), options["allow_empty"])
        return report.write(joined, joined.gaps())


def _clusters(options: Any, environ: Mapping[str, str]) -> tuple[Cluster, ...]:
    from slsa_verifier_plugin.audit.pod_images import Cluster, current_context

    # The context by name: the report says which cluster was audited.
    if options["cluster"]:
        return (Cluster(options["kubernetes"] or current_context(environ), options["namespace"] or ""),)
    if options["namespace"] or options["kubernetes"]:
        # Passed over in silence, another cluster or namespace than the one that is meant would be audited.
        raise UsageError("--namespace and --context say which cluster; they need --cluster")
    return ()


def _refuse_empty(found: int, gaps: Sequence[str], allowed: bool) -> None:
    """Raise ``UsageError`` where no image was found: a wrong file or namespace would pass for a cluster without a fault."""
    if found or allowed:
        return
    unread = f" ({'; '.join(gaps)})" if gaps else ""
    raise UsageError(
        f"no image was found, so nothing was audited{unread}; check what the images come from, or give --allow-empty where "
        "finding none is right"
    )


def _audited(
    context: click.Context, demands: Demands, sources: AuditSources, options: Any, stack: ExitStack
) -> AuditState:
    """Return the state once every image in it has been looked at."""
    from slsa_verifier_plugin.audit.audit_state import AuditState, forget
    from slsa_verifier_plugin.audit.auditor import Auditor, in_shard, run
    from slsa_verifier_plugin.cli.progress import bar
    from slsa_verifier_plugin.service.service import Service

    session, path = context.ensure_object(Session), options["state"]
    # Before the policy is read: a slip in an option costs nothing yet.
    shard = _shard(options["shard"])
    setup = setup_of(demands)
    checker = decider_of(setup, demands, Service(session.environ))
    auditor = Auditor(checker)
    # After the policy was read: a misspelt policy must not cost the state of a day.
    if options["restart"] and path is not None:
        forget(path)
    state = stack.enter_context(AuditState(path, auditor.fingerprint, auditor.levels))
    # By the image's name, so that one image is in one shard, however many places use it.
    ours = (use for use in sources.uses(checker.store) if in_shard(use.image, *shard))
    state.begin(ours, shard, partial(sources.run, context.meta.get(_TYPED, ""), setup))
    try:
        with bar(session) as show:
            run(auditor, state, options["jobs"], show)
    except KeyboardInterrupt:
        # What is decided is kept: the next run with this state asks for the rest.
        state.commit()
        total, done = state.counts()
        hint = (
            f"run it again with --state {path} to go on"
            if path
            else "with --state FILE it could go on from there"
        )
        raise KeyboardInterrupt(f"interrupted with {done} of {total} images decided; {hint}") from None
    return state


def _shard(text: str | None) -> tuple[int, int]:
    # Without --shard the one shard is the whole list.
    if text is None:
        return 0, 1
    # From 0, as an Indexed Job of Kubernetes counts its Pods (JOB_COMPLETION_INDEX).
    index, slash, count = text.partition("/")
    # isdecimal alone takes other scripts' digits, and int() has an error of its own for more than 4,300 of them.
    are_numbers = all(part.isascii() and part.isdecimal() and len(part) < 6 for part in (index, count))
    if not (slash and are_numbers and int(index) < int(count) <= 10_000):
        raise UsageError(f"--shard {text}: expected I/N with I from 0 to N-1, such as 0/4")
    return int(index), int(count)
