"""``demo``: one image denied, one admitted, without a cluster, a network or an account."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import flag, json_option, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, say, say_all, tell
from slsa_verifier_plugin.errors import UsageError

if TYPE_CHECKING:
    from slsa_verifier_plugin.cli.render.render_demo import Show
    from slsa_verifier_plugin.demo.scene import Scene

EPILOG = """\b
Exit status: 0 if the one image was denied and the other admitted, as it must be; else 1.
With --push: 0 if the registry gives back what makes the right verdicts; else 1, or 3 if it does not answer.
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@valued("--ratify", "PATH", "The ratify to go through; by default the one on the PATH, if any.")
@flag("--without-ratify", "Run the plugin alone, though there is a ratify on the PATH.")
@valued(
    "--serve",
    "DIR",
    "Keep the registry until Ctrl-C, to try commands on; DIR gets the policy and its trusted root.",
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where the registry of --serve listens; by default on a free port.",
)
@flag(
    "--provider",
    "Ask 'serve', as Gatekeeper does without Ratify; on a terminal or with --serve DIR it stays until Ctrl-C.",
)
@valued(
    "--push",
    "REGISTRY[/PREFIX]",
    "Push three images and their attestations there, as slsa-demo, to try a cluster on: level-1, level-3 and unattested.",
)
@valued(
    "--output",
    "DIR",
    "With --push: for the policy and its trusted root, which is for tests alone; by default slsa-demo.",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
)
@flag("--plain-http", "With --push: talk HTTP; to a registry on loopback needs no word.")
@json_option
@pass_session
def demo(session: Session, /, **options: Any) -> int:
    """See what the plugin does: one image is denied and one admitted.

    A registry in memory, on loopback, gets two images with signed attestations of their source: one at source level 1,
    one at level 3. The plugin, asked for level 2, is run on each exactly as Ratify runs it, or by Ratify itself.
    """
    from slsa_verifier_plugin.cli.render import render_demo

    ratify, without_ratify, provider = options["ratify"], options["without_ratify"], options["provider"]
    serve, port, as_json = options["serve"], options["port"], options["as_json"]
    # Neither wins by its place on the line: one of them was not meant.
    if ratify and without_ratify:
        raise click.UsageError("--ratify and --without-ratify exclude each other")
    # A run of seconds has no use for a port of its own, and must not fail for one.
    if port is not None and (serve is None or provider):
        raise click.UsageError("--port is for the registry of --serve")
    if provider and (ratify or without_ratify):
        raise click.UsageError("--provider needs no Ratify; leave --ratify and --without-ratify out")
    if options["push"] is None and (options["output"] or options["plain_http"]):
        raise click.UsageError("--output and --plain-http are for --push")
    if options["push"] is not None and (ratify or without_ratify or provider or serve):
        raise click.UsageError("--push judges nothing with Ratify or a provider; leave the others out")
    if options["push"] is not None:
        return push(session, options)
    if provider:
        return ask_provider(session, serve, as_json)
    if serve is not None:
        return keep(serve, port or 0)
    shown = perform(session, None if without_ratify else find_ratify(ratify))
    tell(as_json, lambda: render_demo.json_of(shown), render_demo.text_of(shown, session.painter()))
    return Status.ADMITTED if shown.as_expected else Status.DENIED


def push(session: Session, options: dict[str, Any]) -> int:
    """Push the images to a registry, and say how to try a cluster on them."""
    from slsa_verifier_plugin.checking.status import status_of
    from slsa_verifier_plugin.cli.render import render_pushed
    from slsa_verifier_plugin.demo import pushing

    repository = pushing.repository_of(options["push"])
    folder = options["output"] or Path(pushing.NAME)
    pushed = pushing.push(repository, folder, options["plain_http"], session.environ)
    lines = render_pushed.text_of(pushed, folder, session.painter())
    tell(options["as_json"], lambda: render_pushed.json_of(pushed, folder), lines)
    wrong = [one.report.decision for one in pushed if not one.as_expected]
    # An image that is admitted and must not be is as wrong as one that is denied.
    return (status_of(wrong) or Status.DENIED) if wrong else Status.ADMITTED


def find_ratify(named: str | None) -> Path | None:
    """Return the ``ratify`` to go through, None where there is none.

    Raises:
        UsageError: the one named cannot be run.
    """
    found = shutil.which(named or "ratify")
    # Named and not there is a mistake; not named and not there is most machines.
    if found is None and named is not None:
        raise UsageError(f"{named} is no program that can be run; name Ratify's executable")
    return Path(found).absolute() if found else None


def keep(folder: Path, port: int) -> int:
    """Keep the demonstration's registry until it is interrupted; ``port`` 0 is a free one."""
    from slsa_verifier_plugin.cli.render.render_demo import kept_lines
    from slsa_verifier_plugin.demo import scene
    from slsa_verifier_plugin.demo.demo_registry import DemoRegistry
    from slsa_verifier_plugin.sinks import yaml_scalar

    folder.mkdir(parents=True, exist_ok=True)
    with DemoRegistry(scene.REPOSITORY, port) as registry:
        prepared = scene.prepare(registry, folder)
        policy = folder / "verifier.yaml"
        # Whole, so that "policy check" has nothing against it: Ratify knows no folder of a policy.
        root = yaml_scalar((folder / scene.ROOT_FILE).absolute())
        policy.write_text(scene.verifier_resource(root=root), "utf-8")
        say_all(kept_lines(registry.host, prepared, policy))
        _stay()
    return Status.ADMITTED


def _stay() -> None:
    """Wait until Ctrl-C."""
    # Into a pipe as well: what was shown says where things are, and it may be hours until the end.
    sys.stdout.flush()
    try:
        # Nothing sets this event: only Ctrl-C ends the wait.
        threading.Event().wait()
    except KeyboardInterrupt:
        say("ended")


@contextmanager
def _staged(session: Session, folder: Path | None = None) -> Iterator[tuple[Path, dict[str, str], Scene]]:
    """Serve the images, install the plugin in a home of the demonstration's own, and leave nothing behind.

    Args:
        session: of the program.
        folder: gets the trusted root; None for the home.

    Yields:
        the plugin, the environment for whatever runs it, whose ``HOME`` is that home, and what is to be shown.
    """
    from slsa_verifier_plugin.cli.plugin_file import NAMES, install
    from slsa_verifier_plugin.demo import calls, scene
    from slsa_verifier_plugin.demo.demo_registry import DemoRegistry

    with (
        tempfile.TemporaryDirectory(prefix="slsa-demo-") as temporary,
        DemoRegistry(scene.REPOSITORY) as registry,
    ):
        home = Path(temporary)
        # Where Ratify looks below HOME, which environment_of sets to this folder.
        plugins = home / ".ratify" / "plugins"
        install(plugins, session.environ)
        prepared = scene.prepare(registry, folder or home)
        yield plugins / NAMES[1], calls.environment_of(session.environ, home), prepared


def ask_provider(session: Session, folder: Path | None, as_json: bool) -> int:
    """Start the provider on loopback, ask it about each image, and show how to ask again.

    Args:
        session: of the program.
        folder: keeps certificate and policies, and the provider stays; None for a folder that goes with it.
        as_json: whether the exchanges are shown as JSON.
    """
    from slsa_verifier_plugin.cli.render import render_provider_demo
    from slsa_verifier_plugin.demo import provider_calls
    from slsa_verifier_plugin.signatures.self_signed import loopback_certificate

    # Lines to repeat are of use only as long as there is somebody to ask.
    stays = folder is not None or (not as_json and sys.stdin is not None and sys.stdin.isatty())
    if folder is not None:
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
    with _staged(session, folder) as (plugin, environment, prepared):
        place = folder or Path(environment["HOME"])
        # The provider runs as an installed program, in a process of its own, and not inside of this one.
        with provider_calls.running(plugin, place, loopback_certificate(), environment) as running:
            exchanges = tuple(running.ask(exhibit) for exhibit in prepared.exhibits)
            lines = render_provider_demo.text_of(running, exchanges, session.painter(), stays)
            tell(as_json, lambda: render_provider_demo.json_of(exchanges), lines)
            if stays:
                _stay()
    return Status.ADMITTED if all(exchange.as_expected for exchange in exchanges) else Status.DENIED


def perform(session: Session, ratify: Path | None) -> Show:
    """Set the scene, have each image judged, and leave nothing behind."""
    from slsa_verifier_plugin.cli.render.render_demo import Show
    from slsa_verifier_plugin.demo.calls import ask_plugin, ask_ratify
    from slsa_verifier_plugin.resident.client import manage

    with _staged(session) as (plugin, environment, prepared):
        # The plugin alone is what Ratify would run, call for call; Ratify itself shows that it takes the answer.
        ask = partial(ask_ratify, ratify) if ratify else partial(ask_plugin, plugin)
        try:
            outcomes = tuple(ask(environment, prepared, exhibit) for exhibit in prepared.exhibits)
        finally:
            # The calls have started a resident verifier, unless the folder's path is too long for a socket.
            if manage.status(environment).listens:
                manage.stop(environment)
    return Show(outcomes, prepared, str(ratify) if ratify else "")
