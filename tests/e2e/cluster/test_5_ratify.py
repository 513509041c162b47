"""Other ways to set Ratify up: hardened, with Notary Project signatures; and the image that carries the plugin."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.cluster import builds
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.pki import SIGNER, Authority

_NOTATION = "application/vnd.cncf.notary.signature"


def _parameters(**changes: object) -> Callable[[Object], None]:
    """Return what changes parameters of our Verifier; None takes one away."""

    def change(thing: Object) -> None:
        if thing["kind"] == "Verifier" and thing["spec"]["artifactTypes"] == "slsla/attestation":
            parameters = thing["spec"]["parameters"]
            for key, value in changes.items():
                parameters[key] = value
                if value is None:
                    del parameters[key]

    return change


def test_hardened_asks_for_provenance(lab: Lab, level_3: bytes, say: Say) -> None:
    """the hardened Verifier denies an image that no build provenance binds to its source"""
    lab.apply("ratify/hardened", change=_parameters(maxAge=None))  # the demo's attestations age
    denied = lab.run(lab.image("unbound", level_3))
    assert not denied.admitted
    assert "provenance" in denied.text
    said = denied.text.partition("is not admitted: ")[2]
    lab.check_words("no provenance", said)
    say(said)


def test_hardened_asks_for_freshness(lab: Lab, level_3: bytes, say: Say) -> None:
    """the hardened Verifier's maxAge denies an attestation that is older"""
    # unbound, so that nothing but its age can deny it
    lab.apply("ratify/hardened", change=_parameters(maxAge="1h", sourceBinding="none", trustedBuilders=None))
    denied = lab.run(lab.image("old", level_3))
    assert not denied.admitted
    assert "days ago, expected at most 60 min (maxAge)" in denied.text
    say(denied.text.partition("is not admitted: ")[2])


def test_annotation_binds_an_image_to_its_commit(lab: Lab, level_3: bytes, say: Say) -> None:
    """with sourceBinding annotation, the image built from the commit is admitted, one of another is not"""
    binding = _parameters(sourceBinding="annotation", trustedBuilders=None, maxAge=None)
    lab.apply("ratify/hardened", change=binding)
    key = "org.opencontainers.image.revision"
    own = "fcf594db68d6bb950b04e5eb2221ac0eda200b5c"
    admitted = lab.run(lab.image("own", level_3, annotations={key: own}))
    assert admitted.admitted, admitted.text
    denied = lab.run(lab.image("other", level_3, annotations={key: "9" * 40}))
    assert not denied.admitted
    say(denied.text.partition("is not admitted: ")[2])


@pytest.mark.through("ratify")
def test_a_misspelt_parameter_denies(lab: Lab, level_3: bytes, say: Say) -> None:
    """a misspelt parameter denies everything and names the right one"""
    change = _parameters(expectedVerifiedLevel=["SLSA_SOURCE_LEVEL_2"], expectedVerifiedLevels=None)
    lab.apply("ratify/demo", change=change)
    denied = lab.run(lab.image("level-3", level_3))
    assert not denied.admitted
    assert "expectedVerifiedLevels" in denied.text
    say(denied.text.partition("is not admitted: ")[2])


class _Signer:
    """Signs images with notation-go, under an authority."""

    def __init__(self, program: Path, folder: Path, authority: Authority) -> None:
        pair = authority.issue("signer", SIGNER)
        self._files = [folder / "signer.key", folder / "signer.crt"]
        self._files[0].write_text(pair.key)
        self._files[1].write_text(pair.certificate + authority.certificate)
        self._program = program

    def sign(self, image: str) -> None:
        """Sign the image; the signature is pushed beside it."""
        command = [str(self._program), *map(str, self._files), image]
        subprocess.run(command, check=True, capture_output=True, env={"HOME": str(self._files[0].parent)})


@pytest.fixture(scope="module")
def signers(bare_lab: Lab) -> dict[str, _Signer]:
    """A signer whose authority Ratify trusts, and one whose authority it does not."""
    program = builds.program("notationsign")
    found = {}
    for name in ("trusted", "foreign"):
        folder = bare_lab.work / f"signer-{name}"
        folder.mkdir()
        authority = Authority(f"{name} signers")
        found[name] = _Signer(program, folder, authority)
        if name == "trusted":
            (bare_lab.manifests / "ratify" / "notation" / "ca.crt").write_text(authority.certificate)
    return found


@pytest.mark.through("ratify")
def test_signature_and_attestation(
    lab: Lab, signers: dict[str, _Signer], level_1: bytes, level_3: bytes, say: Say
) -> None:
    """with a Notary Project signature and our attestation an image is admitted; denied where either is missing or wrong"""
    lab.apply("ratify/notation")

    def image(signer: str | None, *attestations: bytes) -> str:
        made = lab.image("signed", *attestations)
        if signer is not None:
            signers[signer].sign(made)
        return made

    admitted = lab.run(image("trusted", level_3))
    assert admitted.admitted, admitted.text
    wrong = {
        "no attestation": (image("trusted"), _NOTATION),
        "attestation of level 1": (image("trusted", level_1), "SLSA_SOURCE_LEVEL_1"),
        "no signature": (image(None, level_3), "slsla/attestation"),
        "signature of a stranger": (image("foreign", level_3), "signature"),
        "neither": (image(None), "No verification results"),
    }
    for what, (made, word) in wrong.items():
        denied = lab.run(made)
        assert not denied.admitted, what
        assert word in denied.text, f"{what}: {denied.text}"
    lab.apply("ratify/demo")
    lab.kubectl.run("delete", "verifier.config.ratify.deislabs.io", "verifier-notation")
    say(f"both: admitted; denied: {', '.join(wrong)}")


@pytest.mark.through("ratify")
def test_the_image_is_ratifys_and_the_plugin(lab: Lab, say: Say) -> None:
    """the image is Ratify's own plus one layer with the plugin, under both names, for its user, reproducibly"""
    base, ours = (
        json.loads(lab.crane.run("manifest", image)) for image in (lab.base_image, lab.ratify_image)
    )
    assert ours["layers"][:-1] == base["layers"]
    assert lab.crane.config(lab.ratify_image) == lab.crane.config(lab.base_image)
    folder = lab.ratify.rootfs / ".ratify" / "plugins"
    slsa, slsla = folder / "slsa", folder / "slsla"
    assert slsa.samefile(slsla)
    assert slsa.stat().st_uid == 65532
    assert slsa.stat().st_mode & 0o777 == 0o755
    headers = ["readelf", "--program-headers", "--wide", str(slsa)]
    segments = subprocess.run(headers, check=True, capture_output=True, text=True).stdout
    assert "LOAD" in segments
    assert "INTERP" not in segments, "it needs no loader"
    size = ours["layers"][-1]["size"]
    say(f"{lab.ratify_image.partition('@')[2][:19]}, one static file, layer of {size / 2**20:.1f} MiB")


@pytest.mark.through("ratify")
def test_no_secret_is_in_the_provider(lab: Lab) -> None:
    """what deploy/ applies holds certificates, and no private key"""
    for folder in ("gatekeeper/provider", "provider", "ratify/notation"):
        things = lab.kustomize(folder)
        assert things
        for thing in things:
            text = json.dumps(thing)
            encoded = thing.get("spec", {}).get("caBundle", "")
            assert "PRIVATE" not in text
            assert b"PRIVATE" not in base64.b64decode(encoded)
