"""``audit``: what would be admitted, denied or undecided, of everything that runs, at every level."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from click.shell_completion import CompletionItem

from slsa_verifier_plugin.checking.demands import Demands, checker_of, setup_of
from slsa_verifier_plugin.checking.status import Decision, status_of
from slsa_verifier_plugin.cli.options import demands_of, policy_options
from slsa_verifier_plugin.cli.session import Session, session_of
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.audit.audit_state import AuditState
    from slsa_verifier_plugin.audit.image_sources import Use
    from slsa_verifier_plugin.service.service import Service
    from slsa_verifier_plugin.sinks import Encoded

FORMATS = ("table", "json", "sarif", "html")
FAIL_ON = {
    "never": frozenset[Decision](),
    "denied": frozenset({Decision.DENIED}),
    "undecided": frozenset({Decision.DENIED, Decision.UNDECIDED}),
}
EPILOG = """\b
Examples:
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


class _AuditGroup(click.Command):
    """The audit itself, or ``merge`` where that is the first argument."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return a context of the command that the arguments are for."""
        if args[:1] == ["merge"]:
            return merge.make_context(f"{info_name} merge", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    is_first = not context.params.get("images")
    return [CompletionItem("merge")] if is_first and "merge".startswith(incomplete) else []


def _output_options(function: Any) -> Any:
    for option in reversed(
        (
            click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True),
            click.option("--json", "form", flag_value="json", help="Short for --format json."),
            click.option("--output", "-o", metavar="FILE", type=click.Path(), help="Write the report there."),
            click.option(
                "--fail-on",
                type=click.Choice(list(FAIL_ON)),
                default="never",
                show_default=True,
                help="What makes the exit status 1 (denied) or 3 (undecided).",
            ),
            click.option("--allow-empty", is_flag=True, help="Finding no image at all is no failure."),
        )
    ):
        function = option(function)
    return function


@click.command(cls=_AuditGroup, epilog=EPILOG)
@click.argument("images", nargs=-1, metavar="[IMAGE...|merge STATE...]", shell_complete=_completed)
@click.option(
    "--images",
    "lists",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Images, one a line; - for stdin.",
)
@click.option(
    "--pods",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Pods, as 'kubectl get pods -A -o json' prints them.",
)
@click.option(
    "--manifests",
    multiple=True,
    metavar="PATH",
    type=click.Path(),
    help="Manifests: a file, - , a folder or kustomization.",
)
@click.option("--registry", "registries", multiple=True, metavar="HOST[/REPO]", help="Every tag of it.")
@policy_options
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep what is found, and go on from there.",
)
@click.option("--restart", is_flag=True, help="Forget what --state holds.")
@click.option(
    "--shard", metavar="I/N", help="Only the I-th (from 0) of N parts; 'audit merge' joins their states."
)
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
    from slsa_verifier_plugin.service.service import Service

    session, demands = session_of(context), demands_of(options)
    sources = Sources(images, options["lists"], options["pods"], options["manifests"], options["registries"])
    sources.check(demands)
    shard = _shard(options["shard"])
    service = Service(session.environ)
    with ExitStack() as stack:
        report = Report(options["form"], options["fail_on"], stack.enter_context(Output(options["output"])))
        state, name = _audited(session, sources, shard, demands, service, options, stack)
        # Of several shards one may be empty: what counts is whether all of them together had an image.
        _refuse_empty(sources.found, sources.gaps(), options["allow_empty"])
        return report.write(session, state, name, sources.gaps())


@click.command("merge")
@click.argument("states", nargs=-1, required=True, metavar="STATE...", type=click.Path(path_type=Path))
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep what was joined there.",
)
@_output_options
@click.pass_context
def merge(context: click.Context, /, states: tuple[Path, ...], state: Path | None, **options: Any) -> int:
    """Join the states of shards, or of several clusters audited with one policy, and report on all of it.

    Shards that are absent, and images that a state has not looked at yet, count as undecided.
    """
    from slsa_verifier_plugin.audit.audit_state import AuditState

    with ExitStack() as stack:
        report = Report(options["form"], options["fail_on"], stack.enter_context(Output(options["output"])))
        joined = stack.enter_context(AuditState(state))
        for path in states:
            joined.join(path)
        _refuse_empty(joined.counts()[0], joined.gaps(), options["allow_empty"])
        return report.write(session_of(context), joined, f"policy {joined.fingerprint[:12]}", joined.gaps())


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the images come from, as the options say it."""

    images: Sequence[str] = ()
    lists: Sequence[str] = ()
    pods: Sequence[str] = ()
    manifests: Sequence[str] = ()
    registries: Sequence[str] = ()
    unread: Counter[str] = field(default_factory=Counter)
    """Objects in manifests that name images in places that are not known here, by kind; counted by ``uses``."""
    _found: Counter[str] = field(default_factory=Counter)

    @property
    def found(self) -> int:
        """How many places use an image, as far as ``uses`` has got."""
        return self._found.total()

    def gaps(self) -> tuple[str, ...]:
        """Return what was not looked at, for people."""
        return tuple(
            f"{count} {kind}: not looked at, for it names images by parameters, or in places that are not known here"
            for kind, count in sorted(self.unread.items())
        )

    def check(self, demands: Demands) -> None:
        """Raise ``UsageError`` where there is nothing to audit, or standard input would be two things."""
        files = [*self.lists, *self.pods, *self.manifests]
        if not (self.images or files or self.registries):
            raise UsageError(
                "there is nothing to audit; name images, or give --images, --pods, --manifests or --registry"
            )
        if [*files, demands.policy].count("-") > 1:
            raise UsageError("standard input can only be one of --policy, --images, --pods and --manifests")

    def uses(self, catalog: Any) -> Iterator[Use]:
        """Yield every place where an image is used.

        Raises:
            UsageError: a source cannot be read.
            VerifierError: a registry cannot be listed.
        """
        from slsa_verifier_plugin.audit import image_sources as images

        sources = (
            images.from_arguments(self.images),
            *(images.from_list(path) for path in self.lists),
            *(images.from_pods(path) for path in self.pods),
            *(images.from_manifests(path, self.unread) for path in self.manifests),
            *(images.from_registry(name, catalog) for name in self.registries),
        )
        for use in map(images.storable, chain.from_iterable(sources)):
            self._found["uses"] += 1
            yield use


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
    session: Session,
    sources: Sources,
    shard: tuple[int, int],
    demands: Demands,
    service: Service,
    options: Any,
    stack: ExitStack,
) -> tuple[AuditState, str]:
    """Return the state once every image in it has been looked at, and the policy's name."""
    from slsa_verifier_plugin.audit import auditor as auditing
    from slsa_verifier_plugin.audit.audit_state import AuditState, forget
    from slsa_verifier_plugin.cli.progress import Bar

    path: Path | None = options["state"]
    setup = setup_of(demands)
    checker = checker_of(setup, demands, service)
    auditor = auditing.Auditor(checker)
    if options["restart"] and path is not None:
        forget(path)
    state = stack.enter_context(AuditState(path, auditor.fingerprint, auditor.levels))
    found = sources.uses(checker.store)
    state.begin((use for use in found if auditing.in_shard(use.image, *shard)), shard)
    bar = Bar(session.painter(sys.stderr))
    try:
        auditing.run(auditor, state, options["jobs"], bar.show)
    except KeyboardInterrupt:
        state.commit()
        total, done = state.counts()
        hint = (
            f"run it again with --state {path} to go on"
            if path
            else "with --state FILE it could go on from there"
        )
        raise Interrupted(f"interrupted with {done} of {total} images decided; {hint}") from None
    finally:
        bar.clear()
    return state, ", ".join(verifier.shown() for verifier in setup.verifiers)


class Interrupted(KeyboardInterrupt):
    """An audit that was interrupted; its text says how to go on."""


class Output:
    """Where the report goes: standard output, or a file that appears complete or not at all.

    It is opened before the audit, which may take hours, and not after it.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._stack = ExitStack()
        self._write: Callable[[str], object] = sys.stdout.write

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        # What a link points to is replaced, not the link.
        self._target = Path(os.path.realpath(self.path))
        is_special = self._target.exists() and not self._target.is_file()
        self._fresh = self._target if is_special else Path(f"{self._target}.part")
        if not is_special:
            self._stack.callback(self._fresh.unlink, missing_ok=True)
        self._file = self._stack.enter_context(self._fresh.open("w", encoding="utf-8"))
        self._write = self._file.write
        return self

    def __exit__(self, *arguments: object) -> None:
        self._stack.close()

    def write(self, parts: Iterable[Encoded]) -> None:
        """Write the whole report, and let it appear."""
        last = ""
        for part in parts:
            self._write(part)
            last = part
        if not last.endswith("\n"):
            self._write("\n")
        if self.path is not None and self._fresh != self._target:
            self._file.close()
            self._fresh.replace(self._target)


@dataclass(frozen=True, slots=True)
class Report:
    """How the outcome is written, and what makes it a failure."""

    form: str
    fail_on: str
    output: Output

    def write(self, session: Session, state: AuditState, policy: str, gaps: tuple[str, ...] = ()) -> int:
        """Write the report on ``state`` and return the exit status; ``gaps`` say what else is not in it."""
        from slsa_verifier_plugin.audit.audit_summary import summary_of

        total, _ = state.counts()
        seen = sum(1 for _ in state.rows())
        summary = summary_of(state.rows(), policy, state.levels, datetime.now(UTC), total - seen, gaps)
        self.output.write(self._text(session, state, summary))
        decisions = {decision for decision, count in summary.decisions.items() if count}
        if summary.is_incomplete:
            decisions.add(Decision.UNDECIDED)
        return status_of(decisions & FAIL_ON[self.fail_on])

    def _text(self, session: Session, state: AuditState, summary: Any) -> Iterator[Encoded]:
        from slsa_verifier_plugin.cli.render import render_audit
        from slsa_verifier_plugin.cli.render.painter import Painter
        from slsa_verifier_plugin.sinks import line

        if self.form == "html":
            from slsa_verifier_plugin.cli.render.render_html import page_of

            yield from page_of(summary, state.rows())
        elif self.form == "json":
            yield from render_audit.json_of(summary, state.rows())
        elif self.form == "sarif":
            yield render_audit.audit_sarif(state.rows())
        else:
            painter = session.painter() if self.output.path is None else Painter(symbols=True)
            for text in render_audit.text_of(summary, state.rows(), painter):
                yield line(text, "\n")


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    index, slash, count = text.partition("/")
    are_numbers = all(part.isascii() and part.isdecimal() and len(part) < 6 for part in (index, count))
    if not (slash and are_numbers and int(index) < int(count) <= 10_000):
        raise UsageError(f"--shard {text}: expected I/N with I from 0 to N-1, such as 0/4")
    return int(index), int(count)
