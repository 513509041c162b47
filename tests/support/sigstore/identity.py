"""Who signs: the names and Fulcio's extensions that a certificate carries.

The presets give what Fulcio (``docs/oid-info.md``) makes of a GitHub Actions token, in the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB = "https://github.com"
REPOSITORY = "example/source-demo"
"""The repository that the lab's presets and statements are about, unless told otherwise."""

COMMIT = "5f2c8d1e9a7b4c3f60d2e8b19c4a7f5e3d6b8a90"
"""The commit at level 3."""
LEVEL_1_COMMIT = "0c6a3d2f1b5e4987a6c8d0e2f4b6a8c0d1e3f507"
"""Its parent, at level 1."""
MAIN = "refs/heads/main"

_FIRST_DER = 8
"""1.3.6.1.4.1.57264.1.8 and later hold a DER UTF8String, 1.1 to 1.6 the bare characters."""


@dataclass(frozen=True)
class Identity:
    """A subject alternative name (a URI, or an email address), and Fulcio's extensions by their last number.

    A value of type bytes goes into the certificate as it is, for extensions that are encoded wrongly. Fulcio writes
    one name alone; ``more_names`` stand behind it.
    """

    san: str
    extensions: Mapping[int, str | bytes] = field(default_factory=dict)
    more_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names; one without ``://`` becomes an rfc822Name, any other a URI."""
        return (self.san, *self.more_names)

    def having(self, changes: Mapping[int, str | bytes]) -> Identity:
        """Return this identity with extensions added or replaced."""
        return replace(self, extensions={**self.extensions, **changes})

    def without(self, *numbers: int) -> Identity:
        """Return this identity without some extensions."""
        return replace(self, extensions={n: v for n, v in self.extensions.items() if n not in numbers})

    def only_old(self) -> Identity:
        """Return this identity with the extensions from before 2023 alone (1.1 to 1.6)."""
        return self.without(*(n for n in self.extensions if n >= _FIRST_DER))

    def only_new(self) -> Identity:
        """Return this identity with none but the DER encoded extensions (from 1.8)."""
        return self.without(*(n for n in self.extensions if n < _FIRST_DER))

    def encoded(self) -> dict[int, bytes]:
        """Return the extensions' values as the certificate holds them, by ascending number."""
        return {number: _encode(number, self.extensions[number]) for number in sorted(self.extensions)}


def _encode(number: int, value: str | bytes) -> bytes:
    if isinstance(value, bytes) or number < _FIRST_DER:
        return value if isinstance(value, bytes) else value.encode()
    content = value.encode()
    if len(content) < 0x80:
        return bytes([0x0C, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([0x0C, 0x80 | len(size)]) + size + content


def github_actions(
    signer: str,
    *,
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    runner: str = "github-hosted",
    trigger: str = "push",
    workflow_name: str = "SLSA Source",
    workflow_file: str = "slsa.yml",
    signer_digest: str = "eab0e5fa52ea32fae14efadaaafd5d81d9ceab06",
    visibility: str = "public",
    environment: str | None = None,
) -> Identity:
    """Return the identity of a GitHub Actions job.

    Args:
        signer: the workflow that signs, as the token's ``job_workflow_ref`` without the host:
            ``owner/name/.github/workflows/file.yml@ref``.
        repository: ``owner/name`` of the repository whose event started the run.
        commit: the commit of that event.
        ref: its full ref.
        runner: ``github-hosted`` or ``self-hosted``.
        trigger: the event's name.
        workflow_name: the name of the workflow that the event started.
        workflow_file: its file below ``.github/workflows``.
        signer_digest: the commit of the workflow that signs.
        visibility: of the repository.
        environment: the deployment environment (1.23), if the job has one.
    """
    source = f"{GITHUB}/{repository}"
    extensions: dict[int, str | bytes] = {
        1: GITHUB_ISSUER,
        2: trigger,
        3: commit,
        4: workflow_name,
        5: repository,
        6: ref,
        8: GITHUB_ISSUER,
        9: f"{GITHUB}/{signer}",
        10: signer_digest,
        11: runner,
        12: source,
        13: commit,
        14: ref,
        15: "1079000001",
        16: f"{GITHUB}/{repository.partition('/')[0]}",
        17: "1950001",
        18: f"{source}/.github/workflows/{workflow_file}@{ref}",
        19: commit,
        20: trigger,
        21: f"{source}/actions/runs/18866000001/attempts/1",
        22: visibility,
    }
    if environment is not None:
        extensions[23] = environment
    return Identity(f"{GITHUB}/{signer}", extensions)


def github_source_actions(
    repository: str = REPOSITORY, commit: str = COMMIT, ref: str = MAIN, runner: str = "github-hosted"
) -> Identity:
    """Return the signer of ``https://github.com/slsa-framework/source-actions`` for one commit."""
    return github_actions(
        "slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/main",
        repository=repository,
        commit=commit,
        ref=ref,
        runner=runner,
    )


def slsa_framework_actions(
    tag: str = "v1.0.0",
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    runner: str = "github-hosted",
) -> Identity:
    """Return the signer of ``https://github.com/slsa-framework/actions``.

    Args:
        tag: a tag such as ``v1.0.0``; a commit of 40 digits stands after the ``@`` as it is, anything
            that contains a slash as the full ref.
        repository: ``owner/name`` of the repository that is judged.
        commit: the commit that is judged.
        ref: its full ref.
        runner: ``github-hosted`` or ``self-hosted``.
    """
    at = tag if len(tag) == 40 or "/" in tag else f"refs/tags/{tag}"
    return github_actions(
        f"slsa-framework/actions/.github/workflows/compute_slsa_source.yml@{at}",
        repository=repository,
        commit=commit,
        ref=ref,
        runner=runner,
    )


def attest_build_provenance(
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    runner: str = "github-hosted",
    workflow_file: str = "release.yml",
) -> Identity:
    """Return the signer of GitHub's attest-build-provenance: the repository's own workflow."""
    return github_actions(
        f"{repository}/.github/workflows/{workflow_file}@{ref}",
        repository=repository,
        commit=commit,
        ref=ref,
        runner=runner,
        workflow_name="Release",
        workflow_file=workflow_file,
        signer_digest=commit,
    )


def generic_generator(
    tag: str = "v2.1.0",
    repository: str = REPOSITORY,
    commit: str = COMMIT,
    ref: str = MAIN,
    runner: str = "github-hosted",
) -> Identity:
    """Return the signer of slsa-github-generator's reusable container workflow."""
    return github_actions(
        f"slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/{tag}",
        repository=repository,
        commit=commit,
        ref=ref,
        runner=runner,
        workflow_name="Release",
        workflow_file="release.yml",
    )


def person(email: str = "someone@example.com", issuer: str = "https://accounts.google.com") -> Identity:
    """Return a person who signed in with an email address."""
    return Identity(email, {1: issuer, 8: issuer})
