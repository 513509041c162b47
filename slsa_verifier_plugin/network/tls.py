"""Certificates: the roots that Ratify itself would use, and what is configured for single hosts.

Roots are found as Go's crypto/x509 finds them on Linux (``root_unix.go``): ``SSL_CERT_FILE`` replaces the list of
files, of which the first readable one counts; ``SSL_CERT_DIR`` replaces the list of directories, of which every
file counts but links to another of the same directory. A broken certificate takes none of the others away. Where the
system has none, certifi's are used; where the environment names places and they hold none, that is an error.
Verification is never switched off.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.sockets import DeadlineContext
from slsa_verifier_plugin.regular_files import Stamp, stamp_of
from slsa_verifier_plugin.text import quoted

BUNDLE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Files of Go's crypto/x509 on Linux, in its order."""

BUNDLE_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
"""Directories of Go's crypto/x509 on Linux."""

HOST_DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
"""Where container tools keep certificates by host, after ``~/.config/containers/certs.d``."""

RECHECK_SECONDS = 60.0
"""How often the files are looked at again, so that a rotated CA is noticed without a restart."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----")
"""A PEM certificate; as in Go not OpenSSL's ``TRUSTED CERTIFICATE``, which may say that it is *not* to be trusted."""


@dataclass(frozen=True, slots=True)
class TrustSources:
    """Files that make up the trust of one host, with their state when they were looked at.

    ``named`` are the places of roots that the environment names, in the words of an error, "" where it names none.
    """

    bundle: Path | None
    directories: tuple[Path, ...]
    host_directory: Path | None
    named: str
    state: Stamp


class TrustStore:
    """Makes and keeps one TLS context for each host.

    Args:
        environ: the environment that says where certificates are; ``HOME`` for the user's ``certs.d``.
        bundles: files with the system's roots; tests replace them.
        directories: the system's directories of certificates.
        host_directories: directories with a directory for each host.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        bundles: tuple[str, ...] = BUNDLE_FILES,
        directories: tuple[str, ...] = BUNDLE_DIRECTORIES,
        host_directories: tuple[str, ...] = HOST_DIRECTORIES,
    ) -> None:
        self._environ = environ
        self._bundles = bundles
        self._directories = directories
        self._host_directories = host_directories
        # The user's own directory is looked at before the machine's (containers-certs.d(5)).
        if environ.get("HOME"):
            self._host_directories = (
                str(Path(environ["HOME"]) / ".config/containers/certs.d"),
                *host_directories,
            )
        # Held while files are read: a hundred calls that begin at once would otherwise read them a hundred times.
        self._lock = threading.Lock()
        self._contexts: dict[TrustSources, ssl.SSLContext] = {}
        self._by_host: LruCache[str, tuple[float, TrustSources]] = LruCache(limits.MAX_TLS_CONTEXTS)

    @classmethod
    def of_file(cls, path: str) -> TrustStore:
        """Return what trusts the certificates in one file, and none of the system's."""
        return cls({"SSL_CERT_FILE": path}, directories=(), host_directories=())

    def context(self, host: str) -> ssl.SSLContext:
        """Return the TLS context for ``host`` (with ``:port`` where the URL has one).

        Raises:
            RegistryError: reason ``REGISTRY_TLS``, a configured certificate or key cannot be read.
        """
        with self._lock:
            known = self._by_host.get(host)
            # Looking at some hundred files takes milliseconds, which every request would pay.
            if known is not None and time.monotonic() - known[0] < RECHECK_SECONDS:
                return self._contexts[known[1]]
            # Looked at again: a file that has changed makes another key, and so another context.
            sources = self._sources(host)
            context = self._contexts.get(sources) or _make(sources)
            self._contexts[sources] = context
            self._by_host.put(host, (time.monotonic(), sources))
            # A context holds all the system's roots (megabytes): one that no host uses any more goes.
            used = {item[1] for item in self._by_host.values()}
            self._contexts = {key: value for key, value in self._contexts.items() if key in used}
            return context

    def _sources(self, host: str) -> TrustSources:
        named = {name: self._environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
        file, directory = named.values()
        # The first that can be read, and no other, as in Go: it is the distribution's list.
        bundle = next(filter(_is_readable, map(Path, (file,) if file else self._bundles)), None)
        # An empty item of the list would be the working directory.
        listed = [item for item in directory.split(":") if item] if directory else self._directories
        directories = tuple(filter(_is_directory, map(Path, listed)))
        own = self._host_directory(host)
        return TrustSources(
            bundle,
            directories,
            own,
            " and ".join(f"{name} {quoted(value)}" for name, value in named.items() if value),
            _state((bundle, *directories, own)),
        )

    def _host_directory(self, host: str) -> Path | None:
        # A host that begins with a dot, or holds a slash, would lead out of the directory.
        if not re.fullmatch(r"[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*", host):
            return None
        # People name the directory after what they write in references.
        names = [host, "docker.io"] if host == "registry-1.docker.io" else [host]
        candidates = (Path(root) / name for root in self._host_directories for name in names)
        # The first that exists counts alone: the directories do not add up.
        return next(filter(_is_directory, candidates), None)


def _state(paths: tuple[Path | None, ...]) -> Stamp:
    """Return what changes when one of the files does, or a folder gets or loses one; it is part of a context's key."""
    there = [path for path in paths if path is not None]
    # Links are followed: a ConfigMap's files change by replacing a link, and keep their names.
    listed = [item for path in there if _is_directory(path) for item in _files(path)]
    return stamp_of(map(str, (*there, *listed)))


def _is_directory(path: Path) -> bool:
    # Not ``Path.is_dir``: a directory that this user cannot reach counts as absent.
    return os.path.isdir(path)  # noqa: PTH112


def _is_readable(path: Path) -> bool:
    # A pipe would hold us. Not ``Path.is_file``, as above.
    return os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113


def _files(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        # Neither a directory nor a pipe, whose reader would wait. Not ``Path.is_file``: a file that may not be looked at does not
        # hide the others. Sorted, so that two looks at the same files make the same key.
        return sorted(item for item in directory.iterdir() if os.path.isfile(item))  # noqa: PTH113
    return []


def _is_twin(path: Path) -> bool:
    """Return True for a link to another file of the same directory (Go: ``isSameDirSymlink``)."""
    try:
        return path.is_symlink() and "/" not in str(path.readlink())
    except OSError:
        return False


def _make(sources: TrustSources) -> ssl.SSLContext:
    # This protocol verifies the certificate and the host's name without being told to.
    context = DeadlineContext(ssl.PROTOCOL_TLS_CLIENT)
    # As Go's default (RFC 8996 retires the older two).
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Any certificate listed is an anchor, as in Go: OpenSSL alone would ask for a self-signed one at the end.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Each once: the bundle and the directories repeat one another, and ``_load_roots`` compares numbers.
    _load_roots(context, list(dict.fromkeys(_certificates(sources))))
    if not context.cert_store_stats()["x509"]:
        # Certifi's roots in place of those that somebody named would trust whom he did not.
        if sources.named:
            raise RegistryError(
                f"no CA certificate was found: {sources.named} cannot be read or hold no PEM certificate, and there "
                "is none beside them; name a file with the server's CA there, or take the setting away",
                reason=Reason.REGISTRY_TLS,
            )
        # Not at the top: it is only read where the system has no roots at all, as in a distroless image.
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    # A host's own certificates add to the roots, and do not replace them.
    if sources.host_directory is not None:
        _load_host(context, sources.host_directory)
    return context


def _certificates(sources: TrustSources) -> Iterator[bytes]:
    """Yield every certificate in the files of ``sources``, in DER; other files are passed over, as Go does."""
    budget = limits.MAX_CA_BYTES
    files = [sources.bundle] if sources.bundle is not None else []
    for directory in sources.directories:
        files += [path for path in _files(directory) if not _is_twin(path)]
    for path in files:
        try:
            with path.open("rb") as file:
                content = file.read(budget + 1)
        except OSError:
            # Unreadable for this user: Go passes over it, too.
            continue
        budget -= len(content)
        if budget < 0:
            # An error, and not a cut: half of the roots would deny some hosts and not others.
            raise _unusable("the CA file", path, f"with it there are more than {limits.MAX_CA_BYTES} bytes")
        for body in _CERTIFICATE.findall(content):
            # A broken certificate takes none of the others away.
            with contextlib.suppress(binascii.Error):
                yield binascii.a2b_base64(body)


def _load_roots(context: ssl.SSLContext, roots: list[bytes]) -> None:
    """Load certificates all at once or, where that fails, one by one without the broken ones."""
    with contextlib.suppress(ssl.SSLError, ValueError):
        context.load_verify_locations(cadata=b"".join(roots))
    # OpenSSL takes some broken ones for the end of the list.
    if context.cert_store_stats()["x509"] != len(roots):
        for root in roots:
            with contextlib.suppress(ssl.SSLError, ValueError):
                context.load_verify_locations(cadata=root)


def _load_host(context: ssl.SSLContext, directory: Path) -> None:
    """Load a host's ``*.crt`` as further roots and its ``*.cert`` with ``*.key`` as client certificate."""
    files = _files(directory)
    for path in files:
        # Unlike the system's, a host's certificates are somebody's own setting: one that is broken is a mistake to be said.
        if path.suffix == ".crt":
            try:
                context.load_verify_locations(cafile=str(path))
            except (ssl.SSLError, OSError) as error:
                why = error.strerror or "it holds no PEM certificate"
                raise _unusable("a host's CA", path, why) from None
        elif path.suffix == ".cert":
            # Docker's and podman's form: "client.cert" and "client.key" (containers-certs.d(5)).
            key = path.with_suffix(".key")
            if key not in files:
                raise _unusable("a client certificate", path, f"its key {key.name} is missing")
            try:
                context.load_cert_chain(str(path), str(key), password=_no_password)
            except (ssl.SSLError, OSError, ValueError) as error:
                detail = getattr(error, "reason", None) or "it cannot be read, or the key does not fit"
                raise _unusable("a client certificate", path, str(detail)) from None


def _no_password() -> str:
    # OpenSSL would otherwise ask on the terminal, where nobody is.
    raise ValueError("the key is encrypted")


def _unusable(what: str, path: Path, detail: str) -> RegistryError:
    return RegistryError(
        f"{what} {quoted(str(path))} cannot be used: {detail}; put it right or take it away",
        reason=Reason.REGISTRY_TLS,
    )
