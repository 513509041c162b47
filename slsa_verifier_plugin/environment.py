"""Which variables of its caller's environment a verification may depend on: the one list (``docs/resident-protocol.md``).

The list decides three things at once, so that no caller's settings reach another caller's verification: what keys the
resident verifier, what a resident verifier's own environment holds, and what credential helpers and cloud SDKs see.
``launcher/src/environment.c`` repeats it; ``tests/unit/test_environment.py`` compares the two and the document.

The thin client imports this module at every call, so it imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUILD_VARIABLE = "SLSA_VERIFIER_BUILD"
RESIDENT_VARIABLE = "SLSA_VERIFIER_RESIDENT"
ELAPSED_VARIABLE = "SLSA_VERIFIER_ELAPSED_MS"
PASS_VARIABLE = "SLSA_VERIFIER_PASS_ENV"
"""Names of further variables, separated by commas, for a credential helper that reads others than those listed here."""

PER_CALL = frozenset(
    (
        "RATIFY_VERIFIER_COMMAND",
        "RATIFY_VERIFIER_SUBJECT",
        "RATIFY_VERIFIER_VERSION",
        BUILD_VARIABLE,
        RESIDENT_VARIABLE,
        ELAPSED_VARIABLE,
        "SLSA_VERIFIER_EXECUTABLE",
    )
)
"""Variables that differ from call to call, or say nothing about a verification."""

NAMES = frozenset(
    (
        # The user: where files, programs and other services of theirs are.
        *("HOME", "PATH", "TMPDIR", "USER", "LOGNAME", "KUBECONFIG"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
        # Certificates and proxies, of this package and of the helpers' languages.
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        # Credentials that are no cloud's: docker-credential-pass, -secretservice, -ghcr-login; podman's file; boto's.
        *("REGISTRY_AUTH_FILE", "GNUPGHOME", "GPG_TTY", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY"),
        *("WAYLAND_DISPLAY", "XAUTHORITY", "GITHUB_TOKEN", "GH_TOKEN", "BOTO_CONFIG", "NO_GCE_CHECK"),
        "GODEBUG",
    )
)
"""Relevant variables."""

PREFIXES = (
    *("AWS_", "ECR_", "AZURE_", "ACR_", "IDENTITY_", "MSI_", "IMDS_"),
    *("GOOGLE_", "CLOUDSDK_", "GCE_", "GCR_", "ALIBABA_CLOUD_", "OCI_", "IBMCLOUD_", "VAULT_"),
    *("DOCKER_", "PASSWORD_STORE_", "WSL", "KUBERNETES_", "SLSA_VERIFIER_", "RATIFY_"),
    # Which code runs, in the verifier and in helpers.
    *("PYTHON", "OPENSSL_"),
)
"""Beginnings of relevant variables' names."""

LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD")
"""What some installations of Python cannot start without: part of the Python package's build identity, so a resident verifier
that it starts gets them; the one-file plugin brings its own libraries and drops them. Helpers get them from neither."""


def is_relevant(name: str, further: "Iterable[str]" = ()) -> bool:
    """Return True for a variable that a verification may depend on.

    Args:
        name: the variable's.
        further: the names in ``PASS_VARIABLE``.
    """
    # What differs from call to call is never relevant, whatever its name begins with: else no two calls would share a
    # verifier.
    return (name in NAMES or name.startswith(PREFIXES) or name in further) and name not in PER_CALL


def passed_on(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return the part of an environment that keys the resident verifier; it, helpers and SDKs see nothing else."""
    # A set: there may be tens of thousands of variables.
    further = set(environ.get(PASS_VARIABLE, "").split(","))
    return {name: value for name, value in environ.items() if is_relevant(name, further)}
