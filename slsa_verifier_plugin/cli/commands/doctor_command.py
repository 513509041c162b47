"""``doctor``: one screen on whether all of it can work."""

from __future__ import annotations

from pathlib import Path

import click

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import flag, json_option, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, say_all, show
from slsa_verifier_plugin.problem import FAILED, DoctorFinding

EPILOG = """\b
Exit status: 0 nothing failed, 1 something did, 2 usage.
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@click.argument("image", required=False)
@valued("--plugins-dir", "DIR", "Ratify's; ~/.ratify/plugins by default.", type=click.Path(path_type=Path))
@valued(
    "--containerd",
    "CONFIG",
    "Look at a node instead: containerd's configuration file, and the door that it leaves open.",
    "containerd",
    type=click.Path(path_type=Path),
)
@flag("--plain-http", "Talk HTTP to the registry; one on loopback needs no word.")
@json_option
@pass_session
def doctor(
    session: Session, /, image: str | None, plugins_dir: Path | None, containerd: Path | None, **options: bool
) -> int:
    """Look at the installation, Ratify's plugin directory, the resident verifier, the trusted root, a registry (if an IMAGE
    is named) and the cluster (if there is a kubeconfig); with --containerd, at what lets a node pull images unverified. Each
    line says ok, warning or failure, and the remedy.
    """
    from slsa_verifier_plugin.checking.image_names import parse_image
    from slsa_verifier_plugin.cli import diagnosis
    from slsa_verifier_plugin.cli.render import render_doctor

    # Before the first line is printed: a slip in the name is told alone.
    if image is not None:
        parse_image(image)
    painter = session.painter()
    # Without a home directory: a folder that exists nowhere, so that the finding says that there is none.
    folder = plugins_dir or session.ratify_plugins() or Path("/nonexistent/.ratify/plugins")
    found: list[DoctorFinding] = []
    if containerd is not None:
        findings = diagnosis.node_findings(session.environ, containerd)
    else:
        findings = diagnosis.findings(session.environ, folder, image, options["plain_http"])
    for finding in findings:
        # Each is shown as soon as it is known: the registry and the cluster may take half a minute.
        found.append(finding)
        if not options["as_json"]:
            say_all(render_doctor.lines_of(finding, painter))
    if options["as_json"]:
        show(render_doctor.json_of(found))
    # Warnings leave the status 0: only what cannot work counts.
    return Status.DENIED if any(item.outcome == FAILED for item in found) else Status.ADMITTED
