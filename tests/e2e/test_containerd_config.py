"""Random configurations: whatever ``containerd config dump`` shows to be open is found by ``doctor --containerd``."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slsa_verifier_plugin.node.containerd_config import BINDIR, IMAGES, OLD_CRI, TRANSFER, read_config
from slsa_verifier_plugin.node.fail_open import LOCAL_PULL, gaps
from slsa_verifier_plugin.problem import DoctorFinding
from tests.e2e.peers import peer

REGISTRY = ("mirrors", "configs", "auths")
VALUES = {
    "use_local_image_pull": ("true", "false"),
    "disable_snapshot_annotations": ("true", "false"),
    "discard_unpacked_layers": ("true", "false"),
    "max_concurrent_downloads": ("0", "3", "7"),
    "image_pull_with_sync_fs": ("true", "false"),
}
BINDIR_VALUES = {"bin_dir": ('""', '"relative"', '"/nonexistent/bin"'), "max_verifiers": ("0", "-1", "5")}
OLD_VALUES = {name: VALUES[name] for name in ("max_concurrent_downloads", "image_pull_with_sync_fs")}
RUNTIME_VALUES = {name: VALUES[name] for name in ("disable_snapshot_annotations", "discard_unpacked_layers")}


class Writer:
    """Writes files of a configuration by chance: versions, keys in any case, older sections."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)

    def folder(self, home: Path) -> Path:
        """Write a configuration below ``home``, and return its main file."""
        (home / "conf.d").mkdir()
        main = home / "config.toml"
        imports = self._chance.choice(["conf.d/*.toml", "conf.d/*", "none/../conf.d/[0-9]*.toml"])
        main.write_text(self._file(f'imports = ["{imports}"]\n'))
        names = ("10.toml", "20.toml", ".hidden.toml", "a.toml")
        for name in self._chance.sample(names, self._chance.randint(0, 3)):
            (home / "conf.d" / name).write_text(self._file(""))
        return main

    def _file(self, text: str) -> str:
        version = self._chance.choice([None, 1, 2, 3, 3, 4])
        text = (f"version = {version}\n" if version else "") + text
        if self._chance.random() < 0.2:
            text += (
                f'{self._case("disabled_plugins")} = ["{self._chance.choice([BINDIR, TRANSFER, "a.b"])}"]\n'
            )
        text += self._table(f'"{BINDIR}"', BINDIR_VALUES, 0.5) + self._table(f'"{IMAGES}"', VALUES, 0.6)
        if self._chance.random() < 0.3:
            section = f"{self._case('registry')}.{self._case(self._chance.choice(REGISTRY))}"
            host = self._chance.choice(["", '."r.example"'])
            text += f'[plugins."{IMAGES}".{section}{host}]\n'
        old = self._chance.choice(["cri", f'"{OLD_CRI}"'])
        text += self._table(old, OLD_VALUES, 0.3)
        if self._chance.random() < 0.2:
            text += f'[plugins.{old}.registry.{self._chance.choice(REGISTRY)}."r.example"]\n'
        if runtime := self._table(f"{old}.containerd", RUNTIME_VALUES, 0.2):
            text += f'{runtime}[plugins.{old}.containerd.runtimes.runc]\nruntime_type = "x"\n'
        return text

    def _table(self, name: str, values: Mapping[str, tuple[str, ...]], share: float) -> str:
        if self._chance.random() > share:
            return ""
        keys = self._chance.sample(sorted(values), self._chance.randint(0, 2))
        lines = [f"{self._case(key)} = {self._chance.choice(values[key])}\n" for key in keys]
        return f"[plugins.{name}]\n{''.join(lines)}"

    def _case(self, key: str) -> str:
        return self._chance.choice([key] * 6 + [key.upper(), key.title()])


def expected(dump: dict[str, Any]) -> set[str]:
    """Return what is open in the configuration that containerd has made of its files."""
    disabled = {name for name in (BINDIR, TRANSFER) if name in dump.get("disabled_plugins", ())}
    images = dump["plugins"].get(IMAGES) or {}
    found = {
        reason.key
        for reason in LOCAL_PULL
        if reason.key in images and not reason.is_harmless(images[reason.key])
    }
    return (
        disabled | found | {f"registry.{name}" for name in REGISTRY if images.get("registry", {}).get(name)}
    )


def said(found: list[DoctorFinding]) -> set[str]:
    names = {
        BINDIR,
        TRANSFER,
        *(reason.key for reason in LOCAL_PULL),
        *(f"registry.{name}" for name in REGISTRY),
    }
    messages = [gap.message for gap in found if gap.outcome == "failed"]
    return {
        name
        for name in names
        if any(f"sets {name} to" in message or f"disables {name}," in message for message in messages)
    }


@pytest.mark.parametrize("seed", range(12))
def test_what_is_open_is_what_containerd_makes_of_its_files(tmp_path: Path, seed: int) -> None:
    writer = Writer(seed)
    for number in range(10):
        home = tmp_path / str(number)
        home.mkdir()
        main = writer.folder(home)
        done = subprocess.run(
            [peer("containerd"), "--config", main, "config", "dump"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        dump = tomllib.loads(done.stdout)
        config = read_config(main)
        # What the older form says of these without a runtime beside it counts here, and not in containerd: the safe side.
        extra = said(list(gaps(config, "/nonexistent"))) - expected(dump)
        assert extra <= set(RUNTIME_VALUES), main
        assert expected(dump) <= said(list(gaps(config, "/nonexistent"))), main
        for key in BINDIR_VALUES:
            own = config.setting(BINDIR, key)
            if own is not None and BINDIR not in dump["disabled_plugins"]:
                assert own.value == dump["plugins"][BINDIR][key], main


@pytest.mark.parametrize("arguments", [("config", "default"), ("--config", "/dev/null", "config", "dump")])
def test_the_defaults_leave_nothing_open(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [peer("containerd"), *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    main = tmp_path / "config.toml"
    main.write_text(done.stdout)
    found = list(gaps(read_config(main), "/nonexistent"))
    # This machine has no verifiers.
    assert {gap.name for gap in found if gap.outcome == "failed"} <= {"verifier directory"}
    assert len(found) > 3
