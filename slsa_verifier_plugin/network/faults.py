"""How a failed exchange is worded, a registry's above all: operation, redacted target, code, what to do, whether to retry.

Nothing a registry sends is repeated except what cannot carry a secret back to a log: status codes, error codes
of the OCI distribution specification, sizes and host names.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.members import objects_at, text_at
from slsa_verifier_plugin.network.failures import Trouble, failure_of
from slsa_verifier_plugin.text import plain

RETRY_HELPS = "; trying again may help"

OCI_CODES = frozenset(
    [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DENIED",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "TAG_INVALID",
        "TOOMANYREQUESTS",
        "UNAUTHORIZED",
        "UNAVAILABLE",
        "UNKNOWN",
        "UNSUPPORTED",
    ]
)
"""Error codes that a message may repeat (OCI distribution 1.1, "Error Codes", and docker's own)."""


class StatusError(RegistryError):
    """An answer with another HTTP ``status`` than the one wanted.

    ``codes`` are the error codes in its body, ``retry_after`` is that header, "" without one.
    """

    status = 0
    codes: tuple[str, ...] = ()
    retry_after = ""


_ADVICE = {
    401: (
        Reason.REGISTRY_UNAUTHORIZED,
        "the registry does not accept the credentials; check the store's authProvider and what it grants",
    ),
    403: (
        Reason.REGISTRY_FORBIDDEN,
        "these credentials may not pull from the repository; grant pull, or check the repository's name",
    ),
    404: (
        Reason.REGISTRY_NOT_FOUND,
        "the registry does not have it; check the reference, and that it was pushed or replicated there",
    ),
    # As of mirrors and pull-through caches, and of the demo's registry (OCI distribution 1.1, "UNSUPPORTED").
    405: (
        Reason.REGISTRY_ERROR,
        "the registry takes no such request; for a push name one that takes uploads, which mirrors, caches and the demo's own "
        "do not ('slsa-verifier-plugin demo --push REGISTRY' puts the demo's images into one of yours)",
    ),
    407: (Reason.REGISTRY_UNREACHABLE, "the proxy asks for credentials; set them in its URL"),
    429: (Reason.REGISTRY_THROTTLED, "the registry limits the rate of requests; use credentials or a mirror"),
}


def redacted(url: str) -> str:
    """Return scheme and host of ``url``, safe to show: a path may hold a secret as a query does."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # urlsplit refuses brackets around what is no IPv6 address.
        return "(not a URL)"
    return plain(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def is_passing(status: int) -> bool:
    """Return True for a status that says that the same request may succeed later (RFC 9110, 15.5 and 15.6).

    The one rule for registries, for servers of tokens and for clouds.
    """
    # Too slow, too early, too many requests (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4).
    if status in (408, 425, 429):
        return True
    # What a server does not implement (RFC 9110, 15.6.2 and 15.6.6) it will not implement a second later. Statuses above 511
    # are those of proxies and content networks (Cloudflare's 520 to 530): they pass.
    return status >= 500 and status not in (501, 505)


def status_error(operation: str, url: str, status: int, codes: tuple[str, ...] = ()) -> StatusError:
    """Return the error for an answer with an HTTP status that is not the one wanted.

    Args:
        operation: what was being done, as "fetching the manifest sha256:...".
        url: the request's URL; it is redacted here.
        status: the HTTP status code.
        codes: error codes from the body; only those of ``OCI_CODES`` are shown.
    """
    transient = is_passing(status)
    # Told by status alone: what a registry writes beside it may hold the token that it was shown.
    reason, advice = _ADVICE.get(status, (Reason.REGISTRY_ERROR, "the registry cannot serve the request"))
    # Whatever its number, it is the server that failed (RFC 9110, 15.6).
    if status >= 500:
        advice = "the registry or something before it failed; look at its logs"
    shown = ", ".join(code for code in codes if code in OCI_CODES)
    error = StatusError(
        f"{operation} failed: {redacted(url)} answered HTTP {status}{f' ({shown})' if shown else ''}; {advice}"
        + (RETRY_HELPS if transient else ""),
        reason=reason,
        transient=transient,
    )
    error.status, error.codes = status, codes
    return error


def failure(operation: str, why: str, reason: Reason, *, transient: bool = False) -> RegistryError:
    """Return the error for an operation that failed; ``why`` says what was found, what was expected and what to do."""
    helps = RETRY_HELPS if transient else ""
    return RegistryError(f"{operation} failed: {why}{helps}", reason=reason, transient=transient)


def invalid_response(operation: str, detail: str, *, transient: bool = False) -> RegistryError:
    """Return the error for an answer that breaks the distribution specification or is not the content asked for."""
    why = f"{detail}; the server, or something between it and this verifier, is faulty"
    return failure(operation, why, Reason.REGISTRY_INVALID_RESPONSE, transient=transient)


def too_large(operation: str, size: int | None, limit: int) -> RegistryError:
    """Return the error for content over its limit; ``size`` in bytes where it is known."""
    found = "more bytes" if size is None else f"{size} bytes"
    why = f"it has {found}, the limit is {limit}; nothing beyond the limit was read"
    return failure(operation, why, Reason.LIMIT_EXCEEDED)


def too_many(operation: str, what: str, limit: int) -> RegistryError:
    """Return the error for a list with more than ``limit`` of ``what``."""
    why = f"it has more than {limit} {what}; remove what is no longer needed from the registry"
    return failure(operation, why, Reason.LIMIT_EXCEEDED)


def unreachable(operation: str, url: str, error: BaseException) -> RegistryError:
    """Return the error for a request that got no answer: name, connection, TLS or protocol.

    Args:
        operation: what was being done.
        url: the request's URL; it is redacted here.
        error: what the transport raised; only its kind and an operating system's own text are shown.
    """
    failure = failure_of(error)
    said = failure.sentence(redacted(url))
    # An answer came, so the host was reached: it is the answer that is wrong.
    if failure.trouble is Trouble.NOT_HTTP:
        return invalid_response(operation, said)
    is_tls = failure.trouble in (Trouble.TLS, Trouble.UNTRUSTED)
    # What OpenSSL makes of an answer in clear text.
    if is_tls and ("HTTP_REQUEST" in failure.detail or "WRONG_VERSION_NUMBER" in failure.detail):
        said += "; it seems to speak plain HTTP: give --plain-http at the command line, or set useHttp in the Store"
    # Of TLS nothing is promised: an end in the middle of a handshake is mostly a wrong port or proxy.
    helps = RETRY_HELPS if failure.transient and not is_tls else ""
    return RegistryError(
        f"{operation} failed: {said}{helps}",
        reason=Reason.REGISTRY_TLS if is_tls else Reason.REGISTRY_UNREACHABLE,
        transient=failure.transient,
    )


def error_codes(body: bytes) -> tuple[str, ...]:
    """Return the error codes in a registry's error body (OCI distribution 1.1, "Error Codes"); none if it has none."""
    # Proxies answer with pages for people, which have none. More than one error in an answer is rare; the limit is for whoever
    # sends thousands.
    errors = objects_at(strict_json.object_in(body), "errors")[:8]
    return tuple(code for code in (text_at(item, "code") for item in errors) if code in OCI_CODES)
