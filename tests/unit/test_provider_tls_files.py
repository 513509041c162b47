"""What the provider makes of certificates in files: whom it lets in, and which files it refuses."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.tls_files import TlsFiles, load_tls
from tests.support.certificates import Authority, Pair


def lets_in(clients: Path, own: Authority, client: Pair) -> bool:
    """Return True if a server that has ``clients`` as its authority ends a handshake with ``client`` well."""
    pair = own.server("server", "127.0.0.1")
    server = load_tls(TlsFiles(str(pair.certificate), str(pair.key), str(clients))).context
    visitor = ssl.create_default_context(cafile=str(own.root))
    visitor.load_cert_chain(client.certificate, client.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        visitor.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return not sides


def test_an_authority_below_another_lets_in_its_own_clients_and_no_others(tmp_path: Path) -> None:
    """As Go has it: a company's root need not be in the file, and whoever it has signed is not thereby let in."""
    root = Authority(tmp_path / "root", "company root")
    below = Authority(tmp_path / "below", "team", above=root)
    beside = Authority(tmp_path / "beside", "another team", above=root)
    assert lets_in(below.root, root, below.client("gatekeeper"))
    assert not lets_in(below.root, root, root.client("of-the-root"))
    assert not lets_in(below.root, root, beside.client("of-another"))
    assert not lets_in(below.root, root, below.client("ended", days=-1))
    assert not lets_in(below.root, root, below.client("not-begun", begins=1))
    assert not lets_in(below.root, root, below.server("a-server", "127.0.0.1"))


def test_a_root_lets_in_its_own_clients(tmp_path: Path) -> None:
    root = Authority(tmp_path / "root")
    assert lets_in(root.root, root, root.client("gatekeeper"))
    # Gatekeeper's own may have no key identifiers; Python's default context refuses that from 3.13 on, Go's does not.
    plain = Authority(tmp_path / "plain", has_key_identifiers=False)
    assert lets_in(plain.root, root, plain.client("gatekeeper"))
    assert not lets_in(root.root, root, Authority(tmp_path / "namesake").client("gatekeeper"))


@pytest.mark.parametrize(("days", "begins", "says"), [(-1, -60, "ended on"), (60, 2, "begins on")])
def test_a_certificate_of_another_time_is_refused(tmp_path: Path, days: int, begins: int, says: str) -> None:
    """Where one is renewed too early, the one before it goes on."""
    authority = Authority(tmp_path)
    pair = authority.server("server", "127.0.0.1", days=days, begins=begins)
    with pytest.raises(UsageError, match=says):
        load_tls(TlsFiles(str(pair.certificate), str(pair.key)))


def test_of_several_client_authorities_one_must_count_now(tmp_path: Path) -> None:
    now, ended = Authority(tmp_path / "now"), Authority(tmp_path / "ended", "ended", days=-1)
    own = now.server("server", "127.0.0.1")
    both = tmp_path / "both.crt"
    both.write_bytes(ended.root.read_bytes() + now.root.read_bytes())
    assert load_tls(TlsFiles(str(own.certificate), str(own.key), str(both))).clients == both.read_bytes()
    with pytest.raises(UsageError, match=r"\(--client-ca\) ended on"):
        load_tls(TlsFiles(str(own.certificate), str(own.key), str(ended.root)))


@pytest.mark.parametrize("which", ["--tls-cert", "--tls-key", "--client-ca"])
def test_a_pipe_holds_up_nobody(tmp_path: Path, which: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.server("server", "127.0.0.1")
    files = {"--tls-cert": pair.certificate, "--tls-key": pair.key, "--client-ca": authority.root}
    # The link that a mounted Secret has in its place is followed.
    link = tmp_path / "link"
    link.symlink_to(files[which])
    load_tls(TlsFiles(*(str(path) for path in {**files, which: link}.values())))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match=rf"\({which}\) cannot be read: not a regular file"):
        load_tls(TlsFiles(*(str(path) for path in {**files, which: pipe}.values())))
