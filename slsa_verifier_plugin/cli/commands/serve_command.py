"""``serve``: answer Gatekeeper (and Kyverno) over HTTPS, without Ratify."""

from __future__ import annotations

from typing import Any

import click

from slsa_verifier_plugin.checking.demands import seconds_of
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.options import flag, valued
from slsa_verifier_plugin.cli.session import Session, pass_session, record
from slsa_verifier_plugin.errors import UsageError

EPILOG = """\b
Examples:
  slsa-verifier-plugin serve --policy /etc/policies --listen 0.0.0.0:6001 \\
      --tls-cert tls.crt --tls-key tls.key --client-ca gatekeeper-ca.crt \\
      --health-listen 0.0.0.0:8081
  slsa-verifier-plugin serve --policy verifier.yaml --tls-cert tls.crt --tls-key tls.key

\b
Paths: POST /ratify/gatekeeper/v1/verify, v1/mutate, v2/verify, v2/mutate;
GET /healthz, /readyz, /metrics there and, without TLS, at --health-listen.
Exit status: 0 after SIGTERM or Ctrl-C, 2 usage or configuration.
"""


@click.command(cls=StrictCommand, epilog=EPILOG)
@valued(
    "--policy",
    "FILE|DIR",
    "Verifier, Policy and Store resources in YAML; may be repeated. Read again when they change.",
    "policies",
    multiple=True,
    required=True,
    type=click.Path(),
)
@valued("--listen", "ADDRESS:PORT", "HTTPS for Gatekeeper.", default="127.0.0.1:6001", show_default=True)
@valued(
    "--health-listen",
    "ADDRESS:PORT",
    "Plain HTTP for /healthz, /readyz and /metrics alone: a kubelet has no client certificate.",
    default="127.0.0.1:8081",
    show_default=True,
)
@valued("--tls-cert", "FILE", "Certificate chain in PEM.", required=True, type=click.Path())
@valued("--tls-key", "FILE", "Its key in PEM.", required=True, type=click.Path())
@valued(
    "--client-ca",
    "FILE",
    "Clients must show a certificate of this authority. Without it only loopback is listened on.",
    type=click.Path(),
)
@flag(
    "--any-client",
    "Listen elsewhere without --client-ca: for Kyverno, which shows no certificate, behind a NetworkPolicy.",
)
@valued("--timeout", "DURATION", "Time for each image.", default="4s", show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="New images that are worked on at once, beside those that wait for a registry.",
)
@flag("--namespaced", "Answer keys [namespace]image by that namespace's policies.")
@valued(
    "--drain",
    "DURATION",
    "After SIGTERM: answer for so long before connections are closed.",
    default="5s",
    show_default=True,
)
@pass_session
def serve(session: Session, /, drain: str, **options: Any) -> int:
    """Answer Gatekeeper's external data requests: the provider that Ratify is, with this verifier inside.

    Images are decided about as 'verify --policy' decides, all keys of a request at once.
    """
    try:
        from slsa_verifier_plugin.provider.provider_server import serve as run
    except ModuleNotFoundError as error:
        # Anything else that is missing is a broken installation, and not the extra that was left out.
        if error.name not in ("httptools", "uvicorn", "starlette", "prometheus_client"):
            raise
        raise UsageError(f"{error.name} is not installed; install slsa-verifier-plugin[serve]") from None
    from slsa_verifier_plugin.provider.provider_settings import LaneLimits, ProviderSettings, read_address
    from slsa_verifier_plugin.provider.tls_files import TlsFiles

    settings = ProviderSettings(
        policies=options["policies"],
        listen=read_address(options["listen"], "--listen"),
        health=read_address(options["health_listen"], "--health-listen"),
        tls=TlsFiles(options["tls_cert"], options["tls_key"], options["client_ca"] or ""),
        seconds=seconds_of(options["timeout"]) or 4.0,
        # Unlike a time limit it may be none at all.
        drain_seconds=0.0 if drain in ("0", "0s") else seconds_of(drain, "--drain") or 0.0,
        namespaced=options["namespaced"],
        any_client=options["any_client"],
        unseen=LaneLimits(workers=options["workers"]),
    )
    run(settings, session.environ, record)
    return Status.ADMITTED
