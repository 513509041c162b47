"""Makes the environment for a node's verification: a few of containerd's variables, and fixed values for the rest.

containerd is started by systemd with almost nothing set, by a shell with everything. What decides is the policy folder alone, so
of the caller's variables only those count that say how to reach a registry. Imports next to nothing.
"""

import os

from slsa_verifier_plugin.environment import BUILD_VARIABLE, RESIDENT_VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = frozenset(
    (
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        # What the resident verifier may take of the machine; none of it lets an image through.
        *(RESIDENT_VARIABLE, "SLSA_VERIFIER_WORKERS", "SLSA_VERIFIER_MEMORY_MIB"),
        *("SLSA_VERIFIER_IDLE_SECONDS", "SLSA_VERIFIER_REFRESH_HOURS"),
    )
)
"""Variables of the caller's that count: proxies, certificates, resources."""
PREFIXES = (
    *("AWS_", "ECR_", "AZURE_", "ACR_", "IDENTITY_", "MSI_", "IMDS_"),
    *("GOOGLE_", "CLOUDSDK_", "GCE_", "GCR_", "ALIBABA_CLOUD_"),
)
"""Beginnings of further names: the credentials that a cloud gives its nodes."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where credential helpers are looked for."""
RUN = "/run/slsa-verifier-plugin"
"""Root's resident verifiers: in a folder that nobody else can make first, unlike one in ``/tmp``."""
CACHE = "/var/cache/slsa-verifier-plugin/tuf"
"""Root's refreshed trusted roots."""


def surroundings(environ: "Mapping[str, str]", folder: str, is_launched: bool) -> dict[str, str]:
    """Return the environment for a call that is decided by ``folder``.

    Args:
        environ: the caller's.
        folder: of the policies; its Docker configuration has the credentials, and no other's.
        is_launched: True where the one-file plugin's launcher has set what names the build.
    """
    kept = {name: value for name, value in environ.items() if name in NAMES or name.startswith(PREFIXES)}
    # Not the caller's: credential helpers are programs, found by it and run.
    kept["PATH"] = PATH
    # Credentials of the folder alone, which is known to be nobody else's.
    kept["DOCKER_CONFIG"] = folder
    if os.geteuid() == 0:
        kept["SLSA_VERIFIER_DIR"] = RUN
        kept["SLSA_VERIFIER_TUF_DIR"] = CACHE
    else:
        # containerd without root: its user's own folders.
        kept |= {
            name: environ[name] for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME") if name in environ
        }
    # Set by whoever calls, it would name another build's runtime.
    if is_launched and BUILD_VARIABLE in environ:
        kept[BUILD_VARIABLE] = environ[BUILD_VARIABLE]
    return kept
