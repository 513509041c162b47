"""``serve``: answer Gatekeeper (and Kyverno) over HTTPS, without Ratify."""

from __future__ import annotations

import click

from slsa_verifier_plugin.checking.demands import seconds_of
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.lazy import StrictCommand
from slsa_verifier_plugin.cli.session import record, session_of
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
@click.option(
    "--policy",
    "policies",
    multiple=True,
    required=True,
    metavar="FILE|DIR",
    type=click.Path(),
    help="Verifier, Policy and Store resources in YAML; may be repeated. Read again when they change.",
)
@click.option(
    "--listen",
    default="127.0.0.1:6001",
    show_default=True,
    metavar="ADDRESS:PORT",
    help="HTTPS for Gatekeeper.",
)
@click.option(
    "--health-listen",
    default="127.0.0.1:8081",
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Plain HTTP for /healthz, /readyz and /metrics alone: a kubelet has no client certificate.",
)
@click.option(
    "--tls-cert", required=True, metavar="FILE", type=click.Path(), help="Certificate chain in PEM."
)
@click.option("--tls-key", required=True, metavar="FILE", type=click.Path(), help="Its key in PEM.")
@click.option(
    "--client-ca",
    metavar="FILE",
    type=click.Path(),
    help="Clients must show a certificate of this authority. Without it only loopback is listened on.",
)
@click.option(
    "--any-client",
    is_flag=True,
    help="Listen elsewhere without --client-ca: for Kyverno, which shows no certificate, behind a NetworkPolicy.",
)
@click.option("--timeout", metavar="DURATION", default="4s", show_default=True, help="Time for each image.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="New images that are worked on at once, beside those that wait for a registry.",
)
@click.option("--namespaced", is_flag=True, help="Answer keys [namespace]image by that namespace's policies.")
@click.option(
    "--drain",
    metavar="DURATION",
    default="5s",
    show_default=True,
    help="After SIGTERM: answer for so long before connections are closed.",
)
@click.pass_context
def serve(
    context: click.Context,
    /,
    policies: tuple[str, ...],
    listen: str,
    health_listen: str,
    tls_cert: str,
    tls_key: str,
    client_ca: str | None,
    any_client: bool,
    timeout: str,
    workers: int,
    namespaced: bool,
    drain: str,
) -> int:
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
        policies=policies,
        listen=read_address(listen, "--listen"),
        health=read_address(health_listen, "--health-listen"),
        tls=TlsFiles(tls_cert, tls_key, client_ca or ""),
        seconds=seconds_of(timeout) or 4.0,
        drain_seconds=_drain(drain),
        namespaced=namespaced,
        any_client=any_client,
        unseen=LaneLimits(workers=workers),
    )
    run(settings, session_of(context).environ, record)
    return Status.ADMITTED


def _drain(duration: str) -> float:
    """Return the seconds of ``--drain``; unlike a time limit it may be none at all."""
    return 0.0 if duration in ("0", "0s") else seconds_of(duration, "--drain") or 0.0
