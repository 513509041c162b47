"""What importing sigstore brings along, and that nobody else gets a stand-in for it. Each case is an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEFT_OUT = (
    "boto3",
    "botocore",
    "azure",
    "azure.identity",
    "hvac",
    "jwt",
    "id",
    "sigstore.oidc",
    "webbrowser",
)
VERIFIES = """
from slsa_verifier_plugin.signatures.verifier import RootVerifier
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.signatures import certificate
from tests.support.sigstore import Lab, github_source_actions, vsa
from tests.support.sigstore.envelope import payload_bytes
lab = Lab()
verifier = RootVerifier(load_root(lab.trusted_root(), "lab"))
(candidate,) = read_blob(lab.sign(payload_bytes(vsa()), github_source_actions()), 1).candidates
verified = verifier.verify(candidate, certificate.load(candidate.certificate))
assert verified.claim.payload == candidate.payload
"""


def run(program: str) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_only_signers_need_is_not_imported() -> None:
    out = run(
        "import sys\nbefore = set(sys.modules)\n"
        "import slsa_verifier_plugin.signatures.verifier, slsa_verifier_plugin.signatures.refresh\n"
        f"print([name for name in {LEFT_OUT} if name in set(sys.modules) - before])\n"
        "import slsa_verifier_plugin.signatures.lean as lean\n"
        "print([finder for finder in sys.meta_path if type(finder).__module__ == lean.__name__])\n"
        "print([name for name, module in sys.modules.items() if type(module).__module__ == lean.__name__])\n"
    )
    assert out.split("\n")[:3] == ["[]"] * 3


def test_it_verifies_and_whoever_imports_them_afterwards_gets_the_real_ones() -> None:
    run(
        VERIFIES + "import botocore.session, sigstore.oidc, sigstore.sign\n"
        "made = botocore.session.Session()\n"
        "assert made.create_client('sts', 'eu-north-1', aws_access_key_id='a', aws_secret_access_key='b')\n"
        "assert sigstore.oidc.IdentityToken is not object and sigstore.sign.IdentityToken is sigstore.oidc.IdentityToken\n"
    )


def test_whoever_has_imported_them_before_keeps_them() -> None:
    run(
        "import botocore.exceptions, sigstore.oidc\nbefore = botocore, sigstore.oidc\n"
        + VERIFIES
        + "import sys\nassert before == (sys.modules['botocore'], sys.modules['sigstore.oidc'])\n"
        "assert sys.modules['sigstore'].oidc is before[1]\n"
    )


def test_sigstore_that_was_imported_before_is_left_as_it_is() -> None:
    run("import sigstore.verify, sigstore.models\nbefore = sigstore.models\n" + VERIFIES)


@pytest.mark.parametrize("wanted", ["botocore.session", "sigstore.oidc"])
def test_another_thread_that_imports_them_meanwhile_gets_the_real_ones(wanted: str) -> None:
    run(
        "import importlib, sys, threading\nsys.setswitchinterval(1e-5)\n"
        "barrier, failed = threading.Barrier(3), []\n"
        "def get(name):\n"
        "    barrier.wait()\n"
        "    try:\n"
        "        assert importlib.import_module(name).__file__\n"
        "    except BaseException as error:\n"
        "        failed.append(repr(error))\n"
        f"names = ['slsa_verifier_plugin.signatures.verifier', {wanted!r}, 'botocore.session']\n"
        "threads = [threading.Thread(target=get, args=(name,)) for name in names]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
        "assert not failed, failed\n" + VERIFIES
    )


def test_two_threads_load_at_once() -> None:
    run(
        "import importlib, sys, threading\nsys.setswitchinterval(1e-5)\nfailed = []\n"
        "def get(name):\n"
        "    try:\n"
        "        importlib.import_module('slsa_verifier_plugin.signatures.' + name)\n"
        "    except BaseException as error:\n"
        "        failed.append(repr(error))\n"
        "threads = [threading.Thread(target=get, args=(name,)) for name in ('verifier', 'sources', 'refresh', 'trust')]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\n"
        "assert not failed, failed\n" + VERIFIES
    )


def test_entries_of_kinds_that_are_not_read_are_refused_and_the_others_read() -> None:
    run(
        "import slsa_verifier_plugin.signatures.verifier\n"
        "import rekor_types, pydantic\n"
        "assert rekor_types.dsse.__file__ and rekor_types.hashedrekord.__file__\n"
        "adapter = pydantic.TypeAdapter(rekor_types.ProposedEntry)\n"
        "digest = {'algorithm': 'sha256', 'value': 'ab'}\n"
        "signatures = [{'signature': 'YQ==', 'verifier': 'YQ=='}]\n"
        "spec = {'signatures': signatures, 'payloadHash': digest, 'envelopeHash': digest}\n"
        "assert isinstance(adapter.validate_python({'kind': 'dsse', 'apiVersion': '0.0.1', 'spec': spec}), rekor_types.Dsse)\n"
        "for kind in ('alpine', 'cose', 'helm', 'intoto', 'jar', 'rekord', 'rfc3161', 'rpm', 'tuf'):\n"
        "    for value in ({}, spec, None, 'x'):\n"
        "        try:\n"
        "            adapter.validate_python({'kind': kind, 'apiVersion': '0.0.1', 'spec': value})\n"
        "        except pydantic.ValidationError:\n"
        "            continue\n"
        "        raise SystemExit(kind)\n"
    )


def test_another_version_of_the_log_entries_is_imported_whole() -> None:
    run(
        "from slsa_verifier_plugin.signatures import lean\nlean._KINDS_VERSION = '0.1'\n"
        + VERIFIES
        + "import rekor_types._internal.alpine as alpine\nassert alpine.__file__\n"
    )


@pytest.mark.parametrize(
    "change",
    [
        "lean._StandIn.__getattr__ = lambda self, name: (_ for _ in ()).throw(AttributeError(name))",
        "lean._Finder.exec_module = lambda self, module: 1 / 0",
        "lean._Finder.find_spec = lambda *_: (_ for _ in ()).throw(RuntimeError())",
    ],
)
def test_a_version_that_needs_what_is_left_out_is_imported_as_usual(change: str) -> None:
    run(
        f"from slsa_verifier_plugin.signatures import lean\n{change}\n"
        + VERIFIES
        + "import sigstore.oidc, rekor_types._internal.alpine\n"
        "assert sigstore.oidc.__file__ and rekor_types._internal.alpine.__file__\n"
    )


def test_a_library_that_is_broken_says_so() -> None:
    out = run(
        "import sys\nsys.modules['rfc3161_client'] = None\n"
        "try:\n    import slsa_verifier_plugin.signatures.verifier\n"
        "except ImportError as error:\n    print(error.name)\n"
    )
    assert out.strip() == "rfc3161_client"
