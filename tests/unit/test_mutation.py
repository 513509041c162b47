"""The mutants and their runner: complete, in step with the source, and able to see both a survivor and a death."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.mutation import mutants as making
from tests.mutation import named as naming
from tests.mutation import run as running
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import PACKAGE, SCOPE, Mutant, systematic
from tests.mutation.named import named
from tests.mutation.run import (
    FAILED,
    HUNG,
    LEAST,
    LONGEST,
    PASSED,
    TIMES,
    Campaign,
    Task,
    main,
)
from tests.mutation.tested import CORE, TESTS

ROOT = Path(__file__).parents[2]


@cache
def every() -> list[Mutant]:
    """Return all mutants, which takes a second to make."""
    return [*named(ROOT), *systematic(ROOT)]


def source(path: str) -> str:
    return (ROOT / PACKAGE / path).read_text("utf-8")


def test_mutants_are_code_and_no_two_are_the_same() -> None:
    # The runner finds out about each; here every eighth of those that operators make must do.
    for mutant in [*named(ROOT), *every()[::8]]:
        changed = mutant.applied(source(mutant.path))
        assert changed != source(mutant.path), mutant.name
        if mutant.path.endswith(".json"):
            json.loads(changed)
        else:
            ast.parse(changed)
    assert len({(mutant.path, mutant.start, mutant.end, mutant.new) for mutant in every()}) == len(every())


def test_a_modules_own_tests_are_among_those_that_its_mutants_run() -> None:
    """A file of tests that was split off and is not named here lets mutants survive."""
    files = [path.name for path in (ROOT / "tests" / "unit").glob("test_*.py")]
    for path, chosen in TESTS.items():
        own = f"test_{Path(path).with_suffix('').as_posix().replace('/', '_')}"
        missing = [name for name in files if name.startswith((f"{own}.", f"{own}_")) and name not in chosen]
        assert not missing, f"{path}: name {', '.join(missing)} in tests/mutation/tested.py"


def test_the_whole_core_is_in_scope() -> None:
    """Whatever is added to these rooms is mutated, or left out here by name."""
    rooms = [*(ROOT / PACKAGE / "policy").glob("*.py"), *(ROOT / PACKAGE / "signatures").glob("*.py")]
    rooms += [*(ROOT / PACKAGE / "model").glob("*.py"), *(ROOT / PACKAGE / "verification").glob("*.py")]
    paths = {path.relative_to(ROOT / PACKAGE).as_posix() for path in rooms if path.name != "__init__.py"}
    only_shown = {"policy/verdict.py", "policy/steps.py", "model/signer.py", "model/forms.py"}
    # What people read, and how libraries are imported.
    only_shown |= {
        "policy/carried.py",
        "verification/capacity.py",
        "verification/ports.py",
        "policy/hints.py",
        "policy/schema_words.py",
        "signatures/wording.py",
        "signatures/expiry.py",
        "signatures/self_signed.py",
        "signatures/libraries.py",
        "signatures/lean.py",
    }
    assert paths - set(SCOPE) == only_shown
    assert set(SCOPE) - paths == {"strict_json.py", "regular_files.py"}


@pytest.mark.parametrize("path", SCOPE)
def test_every_raise_of_a_file_is_a_mutant(path: str) -> None:
    raises = 0
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.FunctionDef) and node.name not in making.WORDING.get(path, ()):
            raises += sum(isinstance(child, ast.Raise) for child in ast.walk(node))
    assert sum(mutant.path == path and mutant.operator == "no raise" for mutant in every()) == raises


def test_every_step_of_the_policy_has_a_mutant_that_leaves_it_out() -> None:
    what = {one["what"] for one in tomllib.loads(naming.LIST.read_text("utf-8"))["mutant"]}
    assert {f"step {number} is left out" for number in range(7, 14)} <= what
    for step in (1, 2, 3, 4, 5, 6, 14):
        assert any(text.startswith(f"step {step}:") for text in what), step


def test_tests_of_every_file_are_there() -> None:
    assert {mutant.path for mutant in every()} == set(TESTS)
    for name in {*CORE, *(name for names in TESTS.values() for name in names)}:
        assert (ROOT / "tests" / "unit" / name).is_file(), name


def test_every_explanation_is_of_a_mutant_and_explains() -> None:
    assert set(EQUIVALENT) <= {mutant.name for mutant in every()}
    assert all(len(text) > 20 for text in EQUIVALENT.values())


def test_a_mutant_of_another_source_is_an_error() -> None:
    mutant = every()[-1]
    with pytest.raises(ValueError, match="the source has changed"):
        mutant.applied("x" + source(mutant.path))


@pytest.mark.parametrize("old", ["no such text", "import"])
def test_a_named_mutant_whose_text_is_not_there_once_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    (tmp_path / "list.toml").write_text(
        f"[[mutant]]\npath = 'verification/verify.py'\nwhat = 'x'\nold = '{old}'\nnew = ''\n"
    )
    monkeypatch.setattr(naming, "LIST", tmp_path / "list.toml")
    with pytest.raises(ValueError, match=r"occurs \d+ times, expected once"):
        list(named(ROOT))


def found(code: str) -> list[tuple[str, str, str]]:
    finder = making._Finder("x.py", code)
    finder.visit(ast.parse(code))
    return [(mutant.operator, mutant.old, mutant.new) for mutant in finder.found]


def test_the_operators() -> None:
    assert found("def f():\n    raise ValueError('\u00e4') from None\n") == [
        ("no raise", "raise ValueError('\u00e4') from None", "pass")
    ]
    assert found("def f(a, b):\n    if a and not b:\n        return 1\n") == [
        ("without a", "a and not b", "((not b))"),
        ("without not b", "a and not b", "((a))"),
        ("never", "a and not b", "False"),
        ("always", "a and not b", "True"),
    ]
    assert found("def f(a) -> bool:\n    return a < 1\n") == [
        ("true", "a < 1", "True"),
        ("false", "a < 1", "False"),
        ("boundary", "a < 1", "a <= 1"),
    ]
    assert found("def f(a):\n    return [b for b in a if b]\n") == [("no filter", "b", "True")]
    assert found("def f(a):\n    return a or ''\n") == []


TWO = """
import sys
sys.path.insert(0, {root!r})
from tests.mutation import run
from tests.mutation.mutants import Mutant
text = (run.ROOT / run.PACKAGE / "model/levels.py").read_text("utf-8")
def mutant(operator, old, new):
    start = text.index(old)
    return Mutant("model/levels.py", "module", operator, 1, start, start + len(old), old, new)
harmless = mutant("harmless", "every other name stands for itself alone", "other words")
deadly = mutant("deadly", "_NOTHING.fullmatch(name) is not None", "False")
run.named, run.systematic, run.EQUIVALENT = lambda root: [deadly], lambda root: [harmless], {{}}
run.CORE[:] = ["test_policy_trusted.py"]
sys.exit(run.main(["--jobs", "1", "--verbose"]))
"""
"""Runs a mutant that the tests of its module notice, and one that not even those of the core can."""


def test_the_runner_sees_a_death_and_a_survivor() -> None:
    command = [sys.executable, "-c", TWO.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    ends = [line.split(": ")[:3] for line in done.stdout.splitlines() if "levels.py" in line]
    assert [(end, name) for end, name, _ in ends] == [
        ("failed", "model/levels.py:module"),
        ("SURVIVED", "model/levels.py:module"),
    ]
    assert [what.split()[0] for _, _, what in ends] == ["deadly", "harmless"]
    assert PASSED not in done.stdout
    assert done.stdout.endswith("2 mutants, 1 survivors\n")


def test_a_run_without_survivors_is_a_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mutant = every()[0]
    monkeypatch.setattr(running, "named", lambda _: [mutant])
    monkeypatch.setattr(running, "systematic", lambda _: [])
    monkeypatch.setattr(running, "EQUIVALENT", {})
    monkeypatch.setattr(running, "run", lambda mutants, jobs, verbose: [])
    assert main(["--jobs", "1"]) == 0
    assert capsys.readouterr().out.endswith("1 mutants, 0 survivors\n")
    monkeypatch.setattr(running, "EQUIVALENT", {mutant.name: "it changes nothing"})
    assert main(["--jobs", "1"]) == 1
    assert f"explained as equivalent, but a test fails: {mutant.name}" in capsys.readouterr().out
    monkeypatch.setattr(running, "run", lambda mutants, jobs, verbose: [mutant])
    assert main(["--jobs", "1"]) == 0


def test_a_mutant_hangs_only_beside_what_its_tests_take_without_it(tmp_path: Path) -> None:
    """A busy machine slows both, so no mutant counts as one that hangs because of what else runs there."""
    mutant = next(one for one in every() if one.path == "policy/certified.py")
    campaign = Campaign([mutant], verbose=False)
    first, second = (Task(None, (test,)) for test in TESTS["policy/certified.py"])
    mutated, core = Task(mutant, first.tests + second.tests), Task(mutant, tuple(CORE))
    assert campaign.limit(first) == campaign.limit(mutated) == LONGEST
    campaign.note(first, PASSED, tmp_path, 20.0)
    assert campaign.limit(mutated) == LONGEST, "half of its tests were not measured yet"
    campaign.note(second, PASSED, tmp_path, 3.0)
    assert campaign.limit(mutated) == LEAST + TIMES * 23.0
    campaign.note(Task(None, tuple(CORE)), PASSED, tmp_path, 40.0)
    assert campaign.limit(core) == LEAST + TIMES * 40.0


@pytest.mark.parametrize(
    ("outcome", "said"), [(FAILED, " fail without"), (HUNG, f"more than {LONGEST} s without")]
)
def test_tests_that_fail_without_a_mutant_end_the_run(tmp_path: Path, outcome: str, said: str) -> None:
    (tmp_path / "log").write_text("what pytest printed")
    with pytest.raises(RuntimeError, match=said):
        Campaign([], verbose=False).note(Task(None, ("test_x.py",)), outcome, tmp_path / "log", 1.0)


def test_the_program_lists_the_mutants() -> None:
    program = [sys.executable, str(ROOT / "tests" / "mutation" / "run.py")]
    done = subprocess.run(
        [*program, "--list", "--match", "policy/trusted.py"],
        capture_output=True,
        timeout=300,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        mutant.name for mutant in every() if "policy/trusted.py" in mutant.name
    ]
