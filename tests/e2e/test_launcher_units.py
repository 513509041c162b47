"""The launcher's unit tests in C, under sanitizers, and the build's own small readers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from launcher.tests.harness import ROOT, launcher, tar
from tools.dist import archive, elf, trim, zipped
from tools.dist.errors import BuildError
from tools.dist.libraries import Finder


@pytest.mark.parametrize(
    "program",
    [
        "units-gcc",
        "units-portable",
        pytest.param(
            "units-clang", marks=pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
        ),
    ],
)
def test_the_units_pass_under_sanitizers(program: str) -> None:
    done = subprocess.run([launcher(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    passed, failed = (int(part.split()[0]) for part in done.stdout.split(", "))
    assert (passed > 10_000, failed) == (True, 0)


@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
def test_the_analyzers_find_nothing() -> None:
    done = subprocess.run(
        ["make", "--silent", "-C", ROOT / "launcher", "analyze"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_builds_of_the_launcher_have_the_same_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "launcher", copy, ignore=shutil.ignore_patterns("build"))
    subprocess.run(["make", "--silent", "-C", copy], check=True, capture_output=True)
    for name in ("launcher", "python3"):
        assert launcher(name).read_bytes() == (copy / "build" / name).read_bytes()


def test_a_tree_is_packed_by_names_content_and_executable_bits_alone(tmp_path: Path) -> None:
    for name, order in (("one", ["b", "a/x"]), ("other", ["a/x", "b"])):
        for file in order:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
        (tmp_path / name / "b").chmod(0o700 if name == "one" else 0o775)
    one, other = archive.pack_tree(tmp_path / "one"), archive.pack_tree(tmp_path / "other")
    assert one == other
    with tarfile.open(fileobj=BytesIO(one)) as opened:
        members = [(member.name, member.mode, member.mtime, member.uid) for member in opened]
    assert members == [("a", 0o755, 0, 0), ("a/x", 0o644, 0, 0), ("b", 0o755, 0, 0)]


def test_what_cannot_be_packed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BuildError, match="neither a file nor a directory"):
        archive.pack_tree(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / ("n" * 120)).touch()
    with pytest.raises(BuildError, match="does not fit"):
        archive.pack_tree(tmp_path)


def test_compression_is_one_frame_that_zstd_reads() -> None:
    content = tar({"a/b": b"x" * 100_000})
    payload = archive.compress(content, 3)
    assert payload == archive.compress(content, 3)
    done = subprocess.run(["zstd", "-dc"], input=payload, capture_output=True, check=True)
    assert done.stdout == content


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A shared library with a name, a need and a run path, as a compiler makes it."""
    source, made = tmp_path / "a.c", tmp_path / "liba.so"
    source.write_text("double cos(double); double a(double x) { return cos(x) + 1; }\n")
    options = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,liba.so.1",
        "-Wl,-rpath,/some/where:$ORIGIN/x",
        "-Wl,--no-as-needed",
    ]
    subprocess.run(["gcc", *options, "-o", made, source, "-lm"], check=True)
    return made


def test_an_elf_file_says_what_it_needs(library: Path) -> None:
    dynamic = elf.read_dynamic(library)
    assert dynamic.soname == "liba.so.1"
    assert {"libm.so.6", "libc.so.6"} <= set(dynamic.needed)
    assert dynamic.run_paths == ("/some/where", "$ORIGIN/x")


def test_run_paths_are_dropped_and_nothing_else(library: Path) -> None:
    before = elf.read_dynamic(library)
    size = library.stat().st_size
    elf.drop_run_paths(library)
    after = elf.read_dynamic(library)
    assert (after.soname, after.needed, after.run_paths) == (before.soname, before.needed, ())
    assert library.stat().st_size == size
    listing = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
    assert "RUNPATH" not in listing.stdout
    assert listing.stderr == ""
    function = ctypes.CDLL(str(library)).a
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
    assert function(0.0) == 2.0
    elf.drop_run_paths(library)  # nothing left to do


@pytest.mark.parametrize("content", [b"", b"MZ", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(100)])
def test_what_is_no_elf_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(BuildError):
        elf.read_dynamic(path)


def test_an_elf_file_that_was_cut_is_an_error(library: Path) -> None:
    library.write_bytes(library.read_bytes()[:5000])
    with pytest.raises(BuildError):
        elf.read_dynamic(library)


def test_libraries_are_found_as_the_loader_finds_them(library: Path) -> None:
    found = Finder(extra=()).collect([library])
    assert {"libm.so.6", "libc.so.6"} <= found.keys()
    assert all(path.is_file() for path in found.values())
    shutil.copy(library, library.with_name("libm.so.6"))
    nearer = Finder(extra=(library.parent,))
    assert nearer.locate("libm.so.6") == library.with_name("libm.so.6")
    with pytest.raises(BuildError, match=r"libnone\.so"):
        nearer.locate("libnone.so")


def test_patterns_leave_out_what_they_name() -> None:
    patterns = ("test", "*/tests", "*.pyi", "rich-*.dist-info")
    for path in ("test", "test/a.py", "a/tests/b.py", "a/b.pyi", "rich-1.dist-info/METADATA"):
        assert trim.is_left_out(path, patterns), path
    for path in ("tests.py", "a/test.py", "tests/a.py", "a/richer.py", "attest/a.py"):
        assert not trim.is_left_out(path, patterns), path


def test_what_can_be_read_in_place_goes_into_the_archive(tmp_path: Path) -> None:
    files = (
        *("os.pyc", "json/__init__.pyc", "json/decoder.pyc", "lib-dynload/_x.so"),
        *("site-packages/plain/__init__.pyc", "site-packages/plain/README.md", "site-packages/one.pyc"),
        *("site-packages/azure/core/__init__.pyc", "site-packages/plain-1.dist-info/METADATA"),
        *("site-packages/fast/__init__.pyc", "site-packages/fast/_x.so", "site-packages/fast/sub/a.pyc"),
        *("site-packages/data/__init__.pyc", "site-packages/data/x.json"),
        *("site-packages/certifi/__init__.pyc", "site-packages/slsa_verifier_plugin/policy/p.json"),
    )
    made = []
    for number in range(2):
        library = tmp_path / str(number) / "lib" / "python"
        for name in files if number else reversed(files):
            (library / name).parent.mkdir(parents=True, exist_ok=True)
            (library / name).write_bytes(name.encode())
        zipped.zip_modules(library)
        made.append((library.parent / zipped.NAME).read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(library.parent / zipped.NAME) as archive:
        assert archive.namelist() == [
            *("azure/", "azure/core/__init__.pyc", "json/__init__.pyc", "json/decoder.pyc", "one.pyc"),
            *("plain-1.dist-info/", "plain-1.dist-info/METADATA", "plain/README.md", "plain/__init__.pyc"),
            *("slsa_verifier_plugin/", "slsa_verifier_plugin/policy/", "slsa_verifier_plugin/policy/p.json"),
        ]
    left = sorted(path.relative_to(library).as_posix() for path in library.rglob("*") if path.is_file())
    assert left == [
        *(
            "lib-dynload/_x.so",
            "os.pyc",
            "site-packages/certifi/__init__.pyc",
            "site-packages/data/__init__.pyc",
        ),
        *("site-packages/data/x.json", "site-packages/fast/__init__.pyc", "site-packages/fast/_x.so"),
        "site-packages/fast/sub/a.pyc",
    ]
    assert not (library / "json").exists()
