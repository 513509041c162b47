"""What is read out of manifests and lists before anybody trusts them."""

from __future__ import annotations

from typing import Any

import oras.defaults

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.network import faults

MANIFEST_TYPES: tuple[str, ...] = (
    *oras.defaults.default_manifest_accepted_media_types,
    "application/vnd.oci.artifact.manifest.v1+json",
)
"""Media types of manifests that are asked for when a reference is resolved."""

MANIFEST_TYPE: str = oras.defaults.default_manifest_media_type
INDEX_TYPE: str = oras.defaults.default_index_media_type
_INDEX_TYPES = (INDEX_TYPE, oras.defaults.docker_manifest_list_media_type)


def json_object(content: bytes, operation: str) -> dict[str, Any]:
    """Return the JSON object in ``content``.

    Raises:
        RegistryError: reason ``REGISTRY_INVALID_RESPONSE``, it is none.
    """
    try:
        # Strict: two readers that take a repeated member in two ways would see two manifests.
        value = strict_json.loads(content)
    except strict_json.JsonError as error:
        raise faults.invalid_response(operation, f"the answer is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise faults.invalid_response(operation, "the answer is not a JSON object")
    return value


def media_type_in(content: bytes, told: str, operation: str) -> str:
    """Return a manifest's media type: its own word, which must agree with the header's, or what its form says.

    Content that two readers could take for two kinds of manifest is refused (CVE-2021-41190).

    Args:
        content: the manifest.
        told: the media type of the answer's ``Content-Type``, "" where it is not known.
        operation: what is being done, for messages.

    Raises:
        RegistryError: reason ``REGISTRY_INVALID_RESPONSE``.
    """
    value = json_object(content, operation)
    # CVE-2021-41190: two readers could take it for two images.
    if "manifests" in value and ("layers" in value or "config" in value):
        raise faults.invalid_response(operation, "it can be read both as an index and as an image manifest")
    own = value.get("mediaType")
    if isinstance(own, str) and own:
        # The header is what another client goes by.
        if told in MANIFEST_TYPES and told != own:
            raise faults.invalid_response(
                operation, f"it is sent as {told} and says of itself that it is another type"
            )
        kind = own
    else:
        # Neither says it, which OCI allows (image specification 1.1, "mediaType" is optional): the form decides.
        kind = told if told in MANIFEST_TYPES else INDEX_TYPE if "manifests" in value else MANIFEST_TYPE
    # The same attack, by the type instead of the fields.
    if (kind in _INDEX_TYPES) != ("manifests" in value):
        raise faults.invalid_response(operation, "its media type and its content are of different kinds")
    return kind
