"""Fuzzes for a time: ``tests/fuzz/run.py --seconds 60 [--target NAME]``; ``--input FILE`` repeats one input of one target.

Each target runs in a process of its own, by atheris (coverage-guided, on libFuzzer) where it is installed, else by plain mutation
of the seeds. Prints a line a target, and for a finding the input's file and how to repeat it; exits 1 if there was one.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 65536
INPUT_SECONDS = 10
"""After this long an input counts as one that never ends."""
MEMORY_MIB = 2048
WEIGHTS = {"verification": 4, "bundle": 2, "statement": 2}
"""Shares of the time; 1 for all others."""
_RUNS = re.compile(rb"(?:#|Done |stat::number_of_executed_units: *)(\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came of one target: how many inputs it ran, and the file of the one that broke it, if any."""

    target: str
    runs: int
    finding: Path | None
    output: str


def fuzz_in_process(target: str, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, which ends with another status than 0 once something is found."""
    if importlib.util.find_spec("atheris") is None:
        _mutate(target, seconds, folder)
        return
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["slsa_verifier_plugin"]):
        from tests.fuzz import seeds, targets
    targets.warm_up(target)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds.seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={MAX_BYTES}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: targets.run(target, data))
    atheris.Fuzz()


def _mutate(target: str, seconds: int, folder: Path) -> None:
    from tests.fuzz import seeds, targets

    choose = random.Random(target)
    end = time.monotonic() + seconds
    runs = 0
    targets.warm_up(target)
    found = seeds.seeds(target)
    while time.monotonic() < end:
        data = found[runs] if runs < len(found) else _mutated(choose, choose.choice(found))
        runs += 1
        try:
            targets.run(target, data)
        except BaseException:
            (folder / "crash-by-mutation").write_bytes(data)
            raise
    print(f"Done {runs} runs")


def _mutated(choose: random.Random, seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(data) + 1)
        how = choose.randrange(4)
        if how == 0 and at < len(data):
            data[at] ^= 1 << choose.randrange(8)
        elif how == 1:
            del data[at : at + choose.randint(1, 16)]
        elif how == 2:
            data[at:at] = choose.randbytes(choose.randint(1, 8))
        else:
            data[at:at] = data[: choose.randint(1, 64)]
    return bytes(data[:MAX_BYTES])


def fuzz(target: str, seconds: int, keep: Path, child: str = "tests.fuzz.run") -> Outcome:
    """Fuzz one target in a process of its own.

    Args:
        target: its name.
        seconds: how long; making the seeds takes some seconds more.
        keep: the folder for the input of a finding.
        child: the module that runs as the process.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", child, "--child", str(folder), "--target", target]
        command += ["--seconds", str(seconds)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                output = process.communicate(timeout=seconds + INPUT_SECONDS + 60)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0] + b"\nthe process did not end"
        runs = max(map(int, _RUNS.findall(output)), default=0)
        if process.returncode == 0 and runs > 0:
            return Outcome(target, runs, None, "")
        found = [path for path in sorted(folder.iterdir()) if path.is_file()]
        kept = keep / f"{target}.input"
        kept.write_bytes(found[0].read_bytes() if found else b"")
        return Outcome(target, runs, kept, output.decode("utf-8", "replace"))


def fuzz_all(targets: list[str], seconds: int, jobs: int) -> int:
    """Fuzz targets, ``jobs`` at a time, in about ``seconds`` in all; print what came of it and return the exit status."""
    share = seconds * jobs / sum(WEIGHTS.get(target, 1) for target in targets)
    times = [max(1, round(share * WEIGHTS.get(target, 1))) for target in targets]
    engine = "atheris" if importlib.util.find_spec("atheris") else "plain mutation (atheris is not installed)"
    print(f"fuzzing {len(targets)} targets for {min(times)} to {max(times)} s each by {engine}", flush=True)
    keep = Path(tempfile.mkdtemp(prefix="fuzz-findings-"))
    findings = runs = 0
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(lambda target, time: fuzz(target, time, keep), targets, times):
            runs += outcome.runs
            if outcome.finding is None:
                print(f"{outcome.target}: {outcome.runs} inputs, nothing found", flush=True)
                continue
            findings += 1
            print(f"{outcome.target}: FOUND after {outcome.runs} inputs\n{outcome.output[-4000:]}")
            print(
                f"repeat: tests/fuzz/run.py --target {outcome.target} --input {outcome.finding}", flush=True
            )
    if not findings:
        keep.rmdir()
    print(f"{len(targets)} targets, {runs} inputs, {findings} findings")
    return 1 if findings else 0


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=int, default=60, help="the time for all targets together (default 60)"
    )
    parser.add_argument("--target", action="append", help="fuzz this target only; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    parser.add_argument("--input", type=Path, help="run one target on this file, once")
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fuzz_in_process(options.target[0], options.seconds, options.child)
        return 0
    from tests.fuzz import targets

    unknown = set(options.target or ()) - set(targets.TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; known are {', '.join(targets.TARGETS)}")
    if options.list:
        for name, target in targets.TARGETS.items():
            print(f"{name}: {target.__doc__}")
        return 0
    if options.input:
        warnings.simplefilter("ignore")
        for name in options.target or parser.error("--input needs --target"):
            targets.warm_up(name)  # as when it was found: what is imported once is no part of its time
            targets.run(name, options.input.read_bytes())
        return 0
    return fuzz_all(options.target or list(targets.TARGETS), options.seconds, max(1, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
