"""Every limit of the registry room, with its unit and why it has that value."""

from __future__ import annotations

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Bytes of a manifest or index; OCI distribution 1.1 asks registries to accept manifests up to this size."""

MAX_LISTED_REFERRERS = 10_000
"""Entries of one image's referrers list, over all its pages."""

MAX_LIST_PAGES = 256
"""Pages of one list of referrers, tags or repositories; registries serve 50 to 1,000 entries a page."""

MAX_REFERRERS_BYTES = 16 * 1024 * 1024
"""Bytes of one referrers list over all its pages, which anyone who may push can fill with annotations."""

MAX_REFERRERS_VALUES = 1 << 18
"""Commas and opening brackets of one referrers list over all its pages, 26 for each of the most entries.

They bound the time and memory that parsing takes, as ``strict_json.MAX_VALUES`` does for one document.
"""

MAX_TYPE_CHARACTERS = 255
"""Characters that are kept of a media or artifact type in a list; RFC 6838 allows 127, a slash and 127."""

MAX_INSPECTED_MANIFESTS = 64
"""Manifests that one call of ``matching_referrers`` fetches to learn their artifact type."""

MAX_LISTED = 100_000
"""Repositories or tags that one listing returns."""

MAX_TOKEN_RESPONSE_BYTES = 256 * 1024
"""Bytes of a token server's answer; the largest tokens seen (ACR, many scopes) are under 16 KiB."""

MAX_CHALLENGE_CHARACTERS = 16 * 1024
"""Characters of the ``WWW-Authenticate`` headers of one response."""

MAX_CHALLENGES = 16
"""Challenges that one response may hold."""

MAX_AUTHENTICATIONS = 2
"""Answers to a 401 within one request: the first token, and one more if that had been revoked."""

GUESS_PART = 1 / 3
"""Part of the time left that is spent on a token that this repository has not asked for yet, but others of its registry have."""

MAX_ATTEMPTS = 4
"""Times one request is sent, all transient failures together, however much time is left."""

FIRST_BACKOFF_SECONDS = 0.1
"""Wait before the first repetition; doubled each time, plus up to a half of jitter."""

MAX_BACKOFF_SECONDS = 2.0
"""Longest wait between two attempts that no ``Retry-After`` asked for."""

MAX_HOSTS = 32
"""Registries whose last challenge is remembered."""

MAX_PROBED_BLOB_BYTES = 16 * 1024 * 1024
"""Bytes of the blob that ``registry check`` fetches: the default of ``maxAttestationBytes``."""

DEFAULT_TOKEN_SECONDS = 60.0
"""Life of a token whose answer has no ``expires_in`` (distribution token specification)."""

MAX_TOKEN_SECONDS = 3600.0
"""Longest time a token is used, whatever its answer says."""

CREDENTIALS_SECONDS = 60.0
"""Time for which credentials without an expiry are used again without asking the provider."""

API_SUPPORT_SECONDS = 300.0
"""Time for which it is remembered that a repository has no referrers API."""

MAX_REPOSITORIES = 1024
"""Repositories whose challenge and token one store remembers."""

MAX_CLOUD_ANSWER_BYTES = 2 * 1024 * 1024
"""Bytes of a cloud's or cluster's answer; a kubernetes Secret holds up to 1 MiB, in base64 1.4 MiB, tokens are far smaller."""

MAX_CONFIG_BYTES = 4 * 1024 * 1024
"""Bytes of a Docker configuration file."""

MAX_HELPER_BYTES = 64 * 1024
"""Bytes of a credential helper's output."""

HELPER_SECONDS = 10.0
"""Longest run of a credential helper, inside the deadline."""
