"""The rows of the table: what is measured, against what, and the target (``docs/performance.md``)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from slsa_verifier_plugin.resident import protocol
from tests.e2e.peers import peer
from tools.bench.measure import MemoryWatch, Run, Spread, at_once, call, cpu_seconds, pss_of_all
from tools.bench.scene import Artifact, Scene

MIB = 1 << 20


class Bench:
    """One run of the benchmark: the scene, the programs, and how often.

    Args:
        scene: registry and attestations.
        thin: the thin client as pip installs it.
        plugin: the one-file plugin, or the thin client where that was not built.
        pairs: calls of each program a row.
        long: measure the memory row over as many calls as its target says.
    """

    def __init__(self, scene: Scene, thin: Path, plugin: Path, pairs: int, long: bool) -> None:
        self.scene, self.thin, self.plugin, self.pairs, self.long = scene, thin, plugin, pairs, long
        self._number = 0
        self._directories: list[Path] = []

    @cached_property
    def known(self) -> Artifact:
        """An artifact that every program has seen."""
        return self.fresh()

    def fresh(self) -> Artifact:
        """Return an artifact that nobody has seen."""
        self._number += 1
        return self.scene.attach(self.scene.note(self._number), f"image {self._number}")

    def environment(self, artifact: Artifact, place: str = "main", **more: str) -> dict[str, str]:
        """Return the environment of a call whose resident verifier lives at ``place``."""
        directory = self.scene.folder / f"resident-{place}"
        if directory not in self._directories:
            self._directories.append(directory)
        return self.scene.environment(
            artifact,
            SLSA_VERIFIER_DIR=str(directory),
            SLSA_VERIFIER_CACHE=str(self.scene.folder / f"cache-{place}"),
            SLSA_VERIFIER_IDLE_SECONDS="600",
            **more,
        )

    def ours(self, artifact: Artifact, program: Path | None = None, **more: str) -> Run:
        """Make one call of ours."""
        run = call(
            [str(program or self.plugin)], self.scene.stdin(artifact), self.environment(artifact, **more)
        )
        return _checked(run, b'"isSuccess":true')

    def schema(self, artifact: Artifact) -> Run:
        """Make one call of S, Ratify's schemavalidator, on the same artifact."""
        run = call(
            [str(peer("schemavalidator"))],
            self.scene.schema_stdin(artifact),
            self.scene.environment(artifact),
        )
        return _checked(run, b'"isSuccess":true')

    def cosign(self) -> Run:
        """Make one call of C, cosign, on one bundle of a note."""
        bundle = self.scene.folder / "bundle.json"
        bundle.write_bytes(self.scene.note(1).splitlines()[1])
        command = [
            str(peer("cosign")),
            "verify-blob-attestation",
            f"--bundle={bundle}",
            f"--trusted-root={self.scene.trusted_root}",
            "--certificate-identity-regexp=.*",
            "--certificate-oidc-issuer-regexp=.*",
            "--check-claims=false",
            "--type=https://slsa.dev/verification_summary/v1",
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scene.folder)}
        return _checked(call(command, b"", environment), b"")

    def residents(self, place: str = "main") -> list[int]:
        """Return the process ids of the resident verifiers at ``place``, without those of their forks."""
        found = []
        mark = f"SLSA_VERIFIER_DIR={self.scene.folder / f'resident-{place}'}\0".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    environ, line = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if mark in environ and b"resident" in line:
                    found.append(int(folder.name))
        return [pid for pid in found if psutil.Process(pid).ppid() not in found]

    def stop(self, place: str = "main") -> None:
        """End the resident verifiers at ``place``."""
        for pid in self.residents(place):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)

    def close(self) -> None:
        """End every resident verifier that this run started."""
        for directory in self._directories:
            self.stop(directory.name.removeprefix("resident-"))


def _checked(run: Run, mark: bytes) -> Run:
    if run.status != 0 or mark not in run.stdout:
        raise SystemExit(f"a program did not answer as it should: {run.stdout[:400]!r}")
    return run


def cold(bench: Bench) -> str:
    """One call in a process of its own, split into its parts (medians of 20)."""
    script = Path(__file__).with_name("parts.py")
    series: dict[str, list[float]] = {}
    bare = []
    for _ in range(20):
        bare.append(call([sys.executable, "-I", "-c", ""], b"", {}).wall)
        artifact = bench.fresh()
        environment = bench.environment(artifact, PYTHONPATH=str(Path.cwd()))
        run = call([sys.executable, str(script)], bench.scene.stdin(artifact), environment)
        for name, seconds in json.loads(run.stdout).items():
            series.setdefault(name, []).append(seconds)
    parts = {
        "interpreter": statistics.median(bare),
        **{key: statistics.median(item) for key, item in series.items()},
    }
    return ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in parts.items())


def warm_bundle(bench: Bench) -> str:
    """One bundle verified in a warm process, by the verifier alone."""
    from slsa_verifier_plugin.model.envelope import read_blob
    from slsa_verifier_plugin.signatures.trust import load_root
    from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier

    verifier = AttestationVerifier([RootVerifier(load_root(bench.scene.lab.trusted_root(), "lab"))], {})
    times = []
    for number in range(100):
        (candidate, _) = read_blob(bench.scene.note(number), 9).candidates
        started = time.perf_counter()
        verifier.verify(candidate)
        times.append(time.perf_counter() - started)
    return f"{Spread.of(times).shown(1000)} ms"


def seen(bench: Bench) -> str:
    """A digest seen before, against S and C."""
    return _against(bench, lambda: bench.ours(bench.known))


def thin(bench: Bench) -> str:
    """The thin client as pip installs it, a digest seen before, against S."""
    return _against(bench, lambda: bench.ours(bench.known, bench.thin, place="thin"), with_cosign=False)


def _against(bench: Bench, ours: Callable[[], Run], *, with_cosign: bool = True) -> str:
    for _ in range(3):
        ours()
        bench.schema(bench.known)
    ratios_s, ratios_c, walls = [], [], []
    for _ in range(bench.pairs):
        mine = ours().wall
        walls.append(mine)
        ratios_s.append(mine / bench.schema(bench.known).wall)
        if with_cosign:
            ratios_c.append(mine / bench.cosign().wall)
    text = f"{Spread.of(ratios_s).shown()} of S"
    if with_cosign:
        text += f", {Spread.of(ratios_c).shown(digits=3)} of C"
    return f"{text}; {Spread.of(walls).shown(1000)} ms"


def unseen(bench: Bench) -> str:
    """A digest not seen before: fetched and verified; wall and CPU against S on the same artifact."""
    bench.ours(bench.known)
    walls, cpus, times = [], [], []
    (resident,) = bench.residents()
    for _ in range(bench.pairs):
        artifact = bench.fresh()
        before = cpu_seconds(resident)
        mine = bench.ours(artifact)
        used = mine.cpu + cpu_seconds(resident) - before
        theirs = bench.schema(artifact)
        times.append(mine.wall)
        walls.append(mine.wall / theirs.wall)
        cpus.append((used, theirs.cpu))
    # The kernel counts a process's time in hundredths of a second: single calls are summed.
    ratio = sum(used for used, _ in cpus) / sum(theirs for _, theirs in cpus)
    return f"wall {Spread.of(walls).shown()} of S, CPU {ratio:.2f} of S; {Spread.of(times).shown(1000)} ms"


def crowd(bench: Bench) -> str:
    """32 attestations at once, none seen before."""
    bench.ours(bench.known)
    ratios, peaks = [], []
    for _ in range(max(3, bench.pairs // 6)):
        artifacts = [bench.fresh() for _ in range(32)]
        with MemoryWatch([str(bench.plugin), "slsa_verifier_plugin"]) as watch:
            mine, runs = at_once([lambda a=item: bench.ours(a) for item in artifacts])  # type: ignore[misc]
        assert len(runs) == 32
        theirs, _ = at_once([lambda a=item: bench.schema(a) for item in artifacts])  # type: ignore[misc]
        ratios.append(mine / theirs)
        peaks.append(watch.peak / MIB)
    return f"wall {Spread.of(ratios).shown()} of S, peak {max(peaks):.0f} MiB PSS"


def first_ever(bench: Bench) -> str:
    """The first call in a fresh container: unpack, start, verify, on one CPU."""
    return _first(bench, unpacked=False)


def first_unpacked(bench: Bench) -> str:
    """The first call with the payload unpacked already, on one CPU."""
    return _first(bench, unpacked=True)


def _first(bench: Bench, *, unpacked: bool) -> str:
    times = []
    for number in range(max(3, bench.pairs // 6)):
        place = "first" if unpacked else f"first-{number}"
        artifact = bench.fresh()
        if unpacked:
            call(
                _on_one_cpu(bench.plugin),
                bench.scene.stdin(artifact),
                bench.environment(artifact, place=place),
            )
            bench.stop(place)
        artifact = bench.fresh()
        environment = bench.environment(artifact, place=place)
        run = call(_on_one_cpu(bench.plugin), bench.scene.stdin(artifact), environment)
        times.append(_checked(run, b'"isSuccess":true').wall)
        bench.stop(place)
        if not unpacked:
            shutil.rmtree(bench.scene.folder / f"cache-{place}", ignore_errors=True)
    return f"{Spread.of(times).shown()} s"


def _on_one_cpu(program: Path) -> list[str]:
    return ["taskset", "-c", "0", str(program)]


def thousand(bench: Bench) -> str:
    """1,000 bundles in one artifact, of which only the last one matches."""
    many = 1000
    low = [bench.scene.note(500_000 + number, level=1).splitlines()[1] for number in range(many - 1)]
    high = bench.scene.note(1).splitlines()[1]
    artifact = bench.scene.attach(b"\n".join([*low, high]), "a thousand")
    broken = b"\n".join([*(_broken(bench, 600_000 + n) for n in range(many - 1)), high])
    hard = bench.scene.attach(broken, "a thousand, broken")
    bench.ours(bench.known)
    (resident,) = bench.residents()
    texts = []
    for name, item in (("of lower levels", artifact), ("with broken signatures", hard)):
        before = pss_of_all(resident)
        times = []
        for number in range(3):
            # Another expectation each time, so that nothing but content by digest can be known already.
            stdin = bench.scene.stdin(item, maxBundles=many + number)
            run = call([str(bench.plugin)], stdin, bench.environment(item))
            times.append(_checked(run, b'"isSuccess":true').wall / many)
        grown = (pss_of_all(resident) - before) / MIB
        texts.append(f"{name} {Spread.of(times).shown(1000)} ms a bundle, memory {grown:+.0f} MiB")
    return "; ".join(texts)


def _broken(bench: Bench, number: int) -> bytes:
    """Return a bundle that claims enough, and whose signature is wrong."""
    value: dict[str, Any] = json.loads(bench.scene.note(number).splitlines()[1])
    signature = value["dsseEnvelope"]["signatures"][0]
    signature["sig"] = (
        signature["sig"][:20] + ("A" if signature["sig"][20] != "A" else "B") + signature["sig"][21:]
    )
    return json.dumps(value, separators=(",", ":")).encode()


def memory(bench: Bench) -> str:
    """Resident memory over many calls on many digests, once the first tenth has been served."""
    calls, digests = (100_000, 10_000) if bench.long else (10_000, 1_000)
    bench.stop()
    bench.ours(bench.known)
    (resident,) = bench.residents()
    artifacts = [bench.fresh() for _ in range(digests)]
    samples = []
    for number in range(calls):
        artifact = artifacts[number % digests]
        _speak(bench, artifact)
        if number >= digests and number % (calls // 20) == 0:
            samples.append(pss_of_all(resident) / MIB)
    low, high = min(samples), max(samples)
    share = (high - low) / low * 100
    return f"{low:.0f} to {high:.0f} MiB ({share:.1f} %) after the first {digests} of {calls} calls"


def far_registry(bench: Bench) -> str:
    """500 images of a registry that is 20 ms away, none seen before, by 32 callers at once, against what latency allows."""
    images, callers, delay = 500, 32, 0.02
    artifacts = [bench.fresh() for _ in range(images)]
    command = [sys.executable, "-m", "tools.bench.delay", bench.scene.address, str(delay * 1000)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().strip()
        settings = {"place": "far", "SLSA_VERIFIER_WORKERS": str(callers)}
        first = bench.environment(bench.known, **settings)
        call([str(bench.plugin)], bench.scene.stdin(bench.known), first)
        (resident,) = bench.residents("far")
        before = cpu_seconds(resident)
        started = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(lambda artifact: _speak(bench, artifact, address, **settings), artifacts))
        wall = time.perf_counter() - started
        cpu = cpu_seconds(resident) - before
        proxy.kill()
    # A manifest and a blob each, one after the other.
    ideal = images * 2 * delay / callers
    return f"{images / wall:.0f} images/s, {wall / ideal:.2f} of the ideal's time ({ideal:.2f} s); its own CPU {cpu:.2f} s"


def _speak(bench: Bench, artifact: Artifact, address: str = "", **more: str) -> None:
    """Make one call over the socket, without a client process: the resident verifier is what is measured."""
    environment = bench.environment(artifact, **more)
    if address:
        reference = environment["RATIFY_VERIFIER_SUBJECT"]
        environment["RATIFY_VERIFIER_SUBJECT"] = reference.replace(bench.scene.address, address)
    (path,) = Path(environment["SLSA_VERIFIER_DIR"]).glob("*/socket")
    subject = environment["RATIFY_VERIFIER_SUBJECT"].encode()
    fields = (b"VERIFY", subject, b"1.0.0", bench.scene.stdin(artifact))
    body = struct.pack(">I", 0) + b"".join(struct.pack(">I", len(field)) + field for field in fields)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(protocol.frame(1, body))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    if b'"isSuccess":true' not in answer:
        raise SystemExit(f"the resident verifier did not admit: {answer[:400]!r}")


ROWS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "cold call": ("(for information)", cold),
    "bundle, warm process": ("at most 2 ms", warm_bundle),
    "warm, seen": ("0.09 of S, 0.06 of C", seen),
    "warm, not seen": ("wall 0.35, CPU 0.5 of S", unseen),
    "32 at once": ("0.28 of S, 96 MiB", crowd),
    "first call ever": ("2.5 s", first_ever),
    "first call, unpacked": ("1.2 s", first_unpacked),
    "thin client, seen": ("1.0 of S", thin),
    "1,000 bundles": ("1.2 ms a bundle, flat", thousand),
    "500 images, 20 ms away": ("1.3 of the ideal", far_registry),
    "memory, many calls": ("flat within 10 %", memory),
}
"""The rows by name: target and measurement."""
