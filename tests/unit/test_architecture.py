"""The rooms of ``docs/design.md``: who imports whom, who touches what, and who ends the process."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "slsa_verifier_plugin"
NAME = PACKAGE.name
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
MAX_PARAMETERS = 6

OWNERS = {
    "sigstore": "signatures",
    "sigstore_models": "signatures",
    "tuf": "signatures",
    "securesystemslib": "signatures",
    "rfc3161_client": "signatures",
    "cryptography": "signatures",
    "oras": "registry",
    "urllib3": "network registry",
    "botocore": "registry",
    "in_toto_attestation": "model",
    "google": "model",
    "jsonschema": "policy",
    "re2": "policy",
    "jinja2": "sinks",
    "rich": "cli",
    "click": "cli",
    "yaml": "resources",
    "uvicorn": "provider",
    "starlette": "provider",
    "prometheus_client": "provider",
}
"""The one room that may import each dependency."""

IMPURE = {
    "os",
    "io",
    "time",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "random",
    "secrets",
    "tempfile",
    "shutil",
}
"""Modules of the standard library that ``model`` and ``policy`` do without: no I/O, no clock."""

ENDS_A_FORK = {"resident/server/fork.py", "resident/isolate.py", "resident/spawn.py"}
"""Where ``os._exit`` ends a fork that the same function made, never the caller's process."""


def room_of(path: Path) -> str:
    """Return the room of a file: its folder below the package, or its own name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            if node.module == NAME:
                yield from (f"{NAME}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def calls(path: Path) -> Iterator[str]:
    """Yield the names that a file calls, as they are written."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func)


def table() -> dict[str, int]:
    """Return the rooms' rows, from the table of ``docs/design.md``."""
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    return {name: int(number) for number, names in rows for name in re.findall(r"`([a-z_]+)/?`", names)}


ROWS = table()


@cache
def edges() -> frozenset[tuple[str, str]]:
    """Return which room imports which."""
    return frozenset(
        (room_of(path), target.split(".")[1])
        for path in MODULES
        for target in imports(path)
        if target.startswith(f"{NAME}.") and target != f"{NAME}.__version__"
    )


def test_the_table_names_every_room_and_no_other() -> None:
    assert sorted(ROWS) == sorted({room_of(path) for path in MODULES} - {"__init__", "__main__"})


def test_the_table_is_not_read_wrongly() -> None:
    assert ROWS["errors"] == 1 < ROWS["model"] < ROWS["policy"] < ROWS["signatures"] == ROWS["registry"]
    assert ROWS["registry"] < ROWS["verification"] < ROWS["ratify"] < ROWS["cli"] < ROWS["entry"]
    assert ("verification", "policy") in edges()
    assert ("entry", "plugin") in edges()


def test_imports_only_go_up_the_table() -> None:
    # The package's public names, which it imports when they are asked for, and what runs it are of no row.
    between = {
        (room, target) for room, target in edges() if room != target and room not in ("__main__", "__init__")
    }
    assert len(between) > 100
    up = {(room, target) for room, target in between if not ROWS[target] < ROWS[room]}
    assert {edge for edge in up if not ROWS[edge[0]] == ROWS[edge[1]] == 1} == set()


def test_the_modules_of_the_first_row_do_not_go_in_circles() -> None:
    first = {name for name, row in ROWS.items() if row == 1}
    left = {(room, target) for room, target in edges() if {room, target} <= first and room != target}
    while True:
        leaves = {room for room, _ in left} - {target for _, target in left}
        if not leaves:
            break
        left = {edge for edge in left if edge[0] not in leaves}
    assert not left


def test_each_dependency_has_one_importer() -> None:
    owned = [(path, name) for path in MODULES for name in imports(path) if name.split(".")[0] in OWNERS]
    assert len(owned) > 30
    strangers = [
        (str(path), name) for path, name in owned if room_of(path) not in OWNERS[name.split(".")[0]].split()
    ]
    assert strangers == []


@pytest.mark.parametrize("room", ["model", "policy"])
def test_the_pure_rooms_have_no_input_output_and_no_clock(room: str) -> None:
    paths = sorted((PACKAGE / room).rglob("*.py"))
    assert len(paths) > 10
    methods = (".now", ".today", ".utcnow", ".read_bytes", ".write_text", ".open")
    impure = [
        (path.name, name)
        for path in paths
        for name in (*imports(path), *calls(path))
        if name.split(".")[0] in IMPURE or name in ("open", "print", "input") or name.endswith(methods)
    ]
    assert impure == []


def test_only_the_ways_in_print_and_end_the_process() -> None:
    never = {"print", "input", "breakpoint", "exit", "quit", "os.abort"}
    wrong = []
    for path in MODULES:
        room, where = room_of(path), path.relative_to(PACKAGE).as_posix()
        may_exit = room in ("cli", "plugin") or where in (*ENDS_A_FORK, "node/call.py")
        wrong += [
            (where, name)
            for name in calls(path)
            if name in never
            or (name.startswith(("sys.stdout", "sys.stderr", "sys.exit")) and room != "cli")
            or (name == "os._exit" and not may_exit)
        ]
    assert wrong == []


def test_no_module_is_longer_than_can_be_read() -> None:
    lines = {str(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {where: count for where, count in lines.items() if count > MAX_LINES} == {}


def test_nothing_is_evaluated_from_text() -> None:
    for path in MODULES:
        for name in calls(path):
            assert name not in (
                "eval",
                "exec",
                "compile",
                "__import__",
                "pickle.loads",
                "marshal.loads",
                "yaml.load",
            ), path
        assert not {"pickle", "marshal", "shelve"} & {name.split(".")[0] for name in imports(path)}, path


def test_asserts_are_no_checks_of_what_comes_from_outside() -> None:
    """``python -O`` drops asserts, so none may guard a verification; they only narrow types."""
    rooms = ("verification", "policy", "signatures", "model")
    found = [
        (f"{path.name}:{node.lineno}", ast.unparse(node.test))
        for path in MODULES
        if room_of(path) in rooms
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert len(found) > 5
    assert [place for place, text in found if "is not None" not in text and "isinstance" not in text] == []


# Names, parameters and circles


def classes() -> Iterator[tuple[str, Path]]:
    for path in MODULES:
        yield from ((node.name, path) for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def twice(found: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for name, path in found:
        places.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_no_class_name_stands_twice() -> None:
    """A name in a traceback, a log or somebody's question is of one class."""
    assert twice(classes()) == {}


def test_no_file_name_stands_twice() -> None:
    files = [(path.name, path) for path in MODULES if path.name != "__init__.py"]
    assert twice(files) == {}


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [item.arg for item in every if item.arg not in ("self", "cls")]


def test_no_function_has_more_parameters_than_can_be_kept_in_mind() -> None:
    """Options of a command are its parameters by click's way of handing them over; any other function takes a value."""
    long = [
        f"{path}:{node.lineno}: {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(parameters(node)) > MAX_PARAMETERS
        and not any("option" in ast.unparse(item) for item in node.decorator_list)
    ]
    assert long == []


def test_a_question_is_answered_with_yes_or_no() -> None:
    """``is_*`` and ``has_*`` return a bool and raise nothing, so that they can stand in any condition."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.lstrip("_").startswith(("is_", "has_"))
        and (
            node.returns is None
            or ast.unparse(node.returns) != "bool"
            or any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            or "Raises:" in (ast.get_docstring(node) or "")
        )
    ]
    assert wrong == []


FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}


def imported_files(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the modules of the package that statements import, wherever they stand, but for what only a type checker reads."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from imported_files(statement.orelse)
            continue
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name in FILES)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                # A name of a package is a module of it or something in it.
                whole = f"{statement.module}.{alias.name}"
                yield from (name for name in (whole, statement.module or "") if name in FILES)
        for child in ast.iter_child_nodes(statement):
            inner = getattr(child, "body", None)
            if isinstance(child, ast.stmt):
                yield from imported_files([child])
            elif isinstance(inner, list):
                yield from imported_files(inner)


def circles(edges: dict[str, set[str]]) -> set[str]:
    """Return the files that are left once whatever imports nothing, and whatever nothing imports, is taken away."""
    left = {name: set(targets) for name, targets in edges.items()}
    while True:
        ends = {name for name, targets in left.items() if not targets & left.keys()}
        imported = {target for targets in left.values() for target in targets}
        ends |= left.keys() - imported
        if not ends:
            return set(left)
        left = {name: targets for name, targets in left.items() if name not in ends}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Neither at the top of a file nor in a function: of two files that need each other, neither can be read alone."""
    edges = {name: set(imported_files(tree(path).body)) - {name} for name, path in FILES.items()}
    assert sum(map(len, edges.values())) > len(FILES)
    assert circles(edges) == set()


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"b", "c"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert set(imported_files(ast.parse(f"def f():\n    from {NAME} import text").body)) == {f"{NAME}.text"}
    assert not set(imported_files(ast.parse(f"if TYPE_CHECKING:\n    import {NAME}.text").body))
