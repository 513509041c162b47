"""Runs conformance cases against any Ratify v1 verifier plugin.

    tests/conformance/run.py --plugin PATH | --provider PATH [--cases DIR] [--case NAME]

Nothing here knows this project's plugin: it is called as Ratify calls it, and its one line of JSON is held against
``expected.json``. Prints a line for each failure, and the counts at the end; exits 1 if a case failed, 2 if there is none.
``DIR`` may be any folder of cases in the same format (``README.md`` here says how a case looks).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.model import REPOSITORY, Content, build, read_case
from tests.conformance.registry import CaseRegistry

CASES = Path(__file__).resolve().parent / "cases"
MAX_LINE = 60 * 1024
SECONDS = 6.0
"""That an answer may take, where a case does not say."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the plugin printed, its exit status, and the seconds it took."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float


Ask = Callable[[bytes, Mapping[str, str]], Answer]


@dataclass(frozen=True)
class Outcome:
    """A case's name and what was wrong with the answer; nothing for a pass."""

    name: str
    problems: tuple[str, ...]
    answer: Answer


def case_names(cases: Path = CASES) -> list[str]:
    """Return the names of all cases in a folder: paths below it."""
    return sorted(found.parent.relative_to(cases).as_posix() for found in cases.rglob("expected.json"))


def run_case(name: str, ask: Ask, cases: Path = CASES) -> Outcome:
    """Run one case and return what was wrong.

    Args:
        name: the case's folder.
        ask: answers a call with this standard input and these variables of the contract.
        cases: the folder that the case is in, by its absolute path.
    """
    folder = cases / name
    spec, blobs = read_case(folder)
    content = build(spec, blobs)
    with CaseRegistry(content, spec.get("faults", [])) as registry, tempfile.TemporaryDirectory() as cache:
        places = places_of(content, registry.address, cache, cases)
        stdin = _stdin(folder, places)
        answer = ask(stdin, environment_of(folder, places))
    expected = json.loads((folder / "expected.json").read_bytes())
    return Outcome(name, tuple(problems(answer, expected)), answer)


def tried_case(name: str, ask: Ask, cases: Path) -> Outcome:
    """Run one case as ``run_case`` does; one that cannot be read, or that is answered with no JSON, has failed."""
    try:
        return run_case(name, ask, cases)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return Outcome(name, (f"no case, or no answer: {error!r}",), Answer(-1, b"", b"", 0.0))


def places_of(content: Content, address: str, cache: str, cases: Path) -> dict[str, str]:
    told = content.artifact_descriptor
    return {
        "@REGISTRY@": address,
        "@CASES@": str(cases),
        "@CACHE@": cache,
        "@IMAGE@": content.image,
        "@ARTIFACT@": content.artifact,
        "@MEDIA_TYPE@": told["mediaType"],
        '"@SIZE@"': str(told["size"]),
    }


def filled(text: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def _stdin(folder: Path, places: Mapping[str, str]) -> bytes:
    raw = folder / "stdin.raw"
    if raw.exists():
        return raw.read_bytes()
    value = json.loads(filled((folder / "stdin.json").read_text(), places))
    return json.dumps(value, separators=(",", ":")).encode()


def environment_of(folder: Path, places: Mapping[str, str]) -> dict[str, str]:
    changes: Json = {}
    if (folder / "environment.json").exists():
        changes = json.loads((folder / "environment.json").read_bytes())
    environment = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": f"@REGISTRY@/{REPOSITORY}@@IMAGE@",
        "RATIFY_VERIFIER_VERSION": "1.0.0",
        **changes,
    }
    return {name: filled(value, places) for name, value in environment.items() if value is not None}


def called(plugin: Sequence[str], environ: Mapping[str, str]) -> Ask:
    """Return what asks a plugin as Ratify does, in a process of its own.

    Args:
        plugin: its command line.
        environ: the environment it gets beside the contract's variables.
    """

    def ask(stdin: bytes, variables: Mapping[str, str]) -> Answer:
        started = time.monotonic()
        try:
            done = subprocess.run(
                plugin,
                input=stdin,
                env={**environ, **variables},
                capture_output=True,
                timeout=60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(-1, b"", b"", time.monotonic() - started)
        return Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    return ask


def problems(answer: Answer, expected: Json) -> Iterator[str]:
    """Yield what is wrong with an answer: first the contract's demands on any answer, then the case's own."""
    if answer.status == -1:
        yield "no answer within 60 s"
        return
    found = [line for line in (answer.stderr + b"\n" + answer.stdout).split(b"\n") if b"{" in line]
    if len(found) != 1 or not answer.stdout.startswith(b"{") or len(found[0]) > MAX_LINE:
        yield f"{len(found)} lines with a brace, expected exactly one, on standard output, of at most {MAX_LINE} bytes"
        return
    if b"Traceback" in answer.stdout + answer.stderr:
        yield "a traceback"
    if answer.seconds > expected.get("seconds", SECONDS):
        yield f"took {answer.seconds:.1f} s, expected at most {expected.get('seconds', SECONDS)} s"
    if answer.status != expected["status"]:
        yield f"exit status {answer.status}, expected {expected['status']}"
    result: Json = json.loads(found[0])
    yield from differences(result, expected)
    shown = result.get("message") or f"{result.get('msg')} {result.get('details', '')}"
    for text in expected.get("says", ()):
        if text not in shown:
            yield f"the message does not say {text!r}: {shown}"
    for text in expected.get("silent", ()):
        if text.encode() in answer.stdout + answer.stderr:
            yield f"something printed holds {text!r}"


def differences(result: Json, expected: Json) -> Iterator[str]:
    if "code" in expected:
        if result.get("code") != expected["code"]:
            yield f"code {result.get('code')}, expected {expected['code']}: {result}"
        return
    if result.get("isSuccess") is not expected["isSuccess"]:
        yield f"isSuccess is {result.get('isSuccess')}, expected {expected['isSuccess']}: {result.get('message')}"
    if result.get("name") != "slsla":
        yield f"the name is {result.get('name')!r}"
    extensions = result.get("extensions", {})
    if extensions.get("reason") not in expected["reason"].split("|"):
        yield f"reason {extensions.get('reason')}, expected {expected['reason']}: {result.get('message')}"
    failed = [step["number"] for step in extensions.get("steps", []) if step["outcome"] == "failed"]
    if "failedStep" in expected and failed != [expected["failedStep"]]:
        yield f"failed steps {failed}, expected {expected['failedStep']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--plugin", type=Path, help="the plugin's executable file")
    which.add_argument(
        "--provider",
        type=Path,
        help="slsa-verifier-plugin's executable file: the cases are asked through its 'serve'",
    )
    parser.add_argument(
        "--cases",
        type=Path,
        default=CASES,
        metavar="DIR",
        help="a folder of cases (default: those beside this file)",
    )
    parser.add_argument("--case", action="append", help="run this case only; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default 2)")
    parser.add_argument("--verbose", action="store_true", help="print what each case answered")
    options = parser.parse_args(arguments)
    program, cases = [str((options.plugin or options.provider).resolve())], options.cases.resolve()
    known = case_names(cases)
    names = options.case or known
    if not known or not set(names) <= set(known):
        missing = sorted(set(names) - set(known))
        print(
            f"no case {', '.join(missing)} in {cases}"
            if known
            else f"no case (a folder with expected.json) in {cases}"
        )
        return 2
    if options.provider is not None:
        # Imported here: what asks other plugins needs none of this project's tests' certificates.
        from tests.conformance.door import not_for_the_door, run_cases

        left_out = [(name, why) for name in names if (why := not_for_the_door(cases / name))]
        status = _report(run_cases(program, names, cases), options.verbose)
        print(f"{len(left_out)} more are not for the provider")
        if options.verbose:
            print("".join(f"{name}: {why}\n" for name, why in left_out), end="")
        return status
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(lambda name: tried_case(name, called(program, os.environ), cases), names)
        return _report(outcomes, options.verbose)


def _report(outcomes: Iterable[Outcome], verbose: bool) -> int:
    """Print what came of cases; return the exit status."""
    total = failures = 0
    for outcome in outcomes:
        total += 1
        if outcome.problems:
            failures += 1
            print(f"FAILED {outcome.name}: {'; '.join(outcome.problems)}")
        if verbose:
            print(f"{outcome.name}: {outcome.answer.stdout.decode('utf-8', 'replace').strip()}")
    print(f"{total} cases, {total - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
