"""Reads requests of Gatekeeper's external data protocol, and writes answers (``externaldata.gatekeeper.sh/v1beta1``).

Nothing here decides anything. What each path answers for an image is in ``answers``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.network.addresses import AddressRefused, Kind, check_name
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted

GROUP = "externaldata.gatekeeper.sh"
API_VERSION = f"{GROUP}/v1beta1"
API_VERSIONS = (API_VERSION, f"{GROUP}/v1alpha1")
"""Ratify v1 answers with the older one; what was asked for is what is answered."""

MAX_BODY = 512 << 10
"""Bytes of a request: twice what ``MAX_KEYS`` of the longest image references take."""
MAX_ANSWER = 2 << 20
"""Bytes of all reports of one answer, shared out among its keys. Gatekeeper reads an answer whole, whatever its size."""
MAX_KEYS = 256
"""Keys of a request. Gatekeeper sends the images of one object; no Pod has nearly as many containers."""
MAX_BRACKETS = 2 * MAX_KEYS
"""Opening brackets of a request, those in its keys among them."""

_NAMESPACED = re.compile(r"\[([^\[\]]*)\](.*)", re.DOTALL)
"""``[namespace]image`` (Ratify v1.4.4, ``pkg/utils/utils.go``, ``ParseRequestKey``)."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Everything but metadata services: a cluster's own registry may have any other address.
_REACHABLE = frozenset(Kind) - {Kind.METADATA}


class RequestRefused(Exception):  # noqa: N818 (it is answered, and no fault of this program)
    """A request that is no request: the whole of it is answered with ``systemError``.

    Args:
        status: of HTTP.
        message: what was found and what was expected.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key as it is understood: the image, and the namespace whose policies decide; empty for those of the cluster."""

    namespace: str
    image: Reference


def is_namespace(text: str) -> bool:
    """Return True where ``text`` can be the name of a namespace: a DNS label (RFC 1123)."""
    return _NAMESPACE.fullmatch(text) is not None


def read_request(body: bytes) -> tuple[str, list[str]]:
    """Return the version of the protocol that a request is written in, and its keys: each gets one item of the answer.

    Raises:
        RequestRefused: it is no ProviderRequest, or has too many keys.
    """
    # A request has three objects and lists, and a bracket in a key names a namespace. Half a megabyte of "[{" takes a quarter of
    # a second, in which nobody is answered; as many texts take some milliseconds.
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise RequestRefused(400, f"the request has more than {MAX_BRACKETS} objects and lists")
    try:
        value = strict_json.loads(body)
    # Two members of one name, say: what one reader sees another may not.
    except strict_json.JsonError as error:
        raise RequestRefused(400, f"the request is not JSON: {plain(str(error))}") from None
    if not isinstance(value, dict) or value.get("kind") != "ProviderRequest":
        raise RequestRefused(400, "the request is no object of kind ProviderRequest")
    api_version = value.get("apiVersion")
    # A later version may mean something else by the same fields.
    if api_version not in API_VERSIONS:
        raise RequestRefused(400, f"apiVersion is {quoted(api_version, 80)}, expected {API_VERSION}")
    request = value.get("request")
    keys = request.get("keys") if isinstance(request, dict) else None
    # Go writes an empty list as null.
    if keys is None and isinstance(request, dict) and "keys" in request:
        keys = []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RequestRefused(400, "request.keys is no list of texts")
    # Each key is work: refused before any is begun.
    if len(keys) > MAX_KEYS:
        raise RequestRefused(413, f"the request has {len(keys)} keys, at most {MAX_KEYS} are answered")
    return str(api_version), keys


@functools.lru_cache(maxsize=MAX_KEYS)
def read_key(text: str) -> RequestKey:
    """Return what a key asks for; what was read is kept, for the same few images are asked for all day.

    Raises:
        ArtifactError: it is no image reference, or one that no image can be at.
    """
    namespace = ""
    found = _NAMESPACED.fullmatch(text)
    # Ratify's own way to name a namespace; an image's name has no brackets in front, but for IPv6.
    if found is not None:
        namespace, text = found[1], found[2]
        # "[]image" is no way to ask for the cluster's policies: a caller whose namespace got lost must not get an answer.
        if not is_namespace(namespace):
            raise ArtifactError(
                f"the key's namespace {quoted(namespace, 80)} is no name of a namespace; expected [namespace]image"
            )
    image = Reference.parse(text)
    # An IPv6 address stands in brackets and has colons of its own.
    bracketed = image.registry.startswith("[")
    host = image.registry.partition("]" if bracketed else ":")[0] + ("]" if bracketed else "")
    try:
        # Whoever may create a Pod names the registry: it must not be a service that hands out the node's credentials.
        check_name(host, _REACHABLE)
    except AddressRefused:
        raise ArtifactError(
            f"{quoted(host, 80)} is a cloud's metadata service, where no image is; correct the image's registry"
        ) from None
    return RequestKey(namespace, image)


def response(api_version: str, items: Iterable[bytes], system_error: str = "") -> bytes:
    """Return the answer to a request as one line of JSON.

    Args:
        api_version: as it was asked with.
        items: made by ``item``, one a key.
        system_error: what keeps the whole request from being answered.
    """
    # Gatekeeper's mutation asks for "idempotent"; one image has one answer here, however often it is asked.
    head = (
        f'{{"apiVersion":"{api_version}","kind":"ProviderResponse","response":{{"idempotent":true,"items":['
    )
    tail = f'],"systemError":{_text(system_error)}}}}}\n'
    return b"".join((head.encode(), b",".join(items), tail.encode()))


def item(key: str, value: bytes | None = None, error: str = "") -> bytes:
    """Return one item: the key to the byte as it was asked, and either a value, which is JSON already, or an error."""
    if error or value is None:
        # An item with neither would be read as an answer: there is always a word.
        return f'{{"key":{_text(key)},"error":{_text(error or "no answer")}}}'.encode()
    return b'{"key":%b,"value":%b}' % (_text(key).encode(), value)


def _text(text: str) -> str:
    """Return a text as JSON in ASCII: it must come back as the very text that was asked."""
    return json.dumps(text)
