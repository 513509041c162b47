"""A headless Chromium, spoken to over its DevTools protocol through a pair of pipes, and packages of JavaScript for it.

``--remote-debugging-pipe``: commands and answers are JSON, each ended by a zero byte, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 90
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
AXE_CORE = (
    "axe-core",
    "4.14.1",
    "axe.min.js",
)
SARIF_SCHEMA = ("@microsoft/jest-sarif", "1.0.0-beta.0", "lib/schemas/sarif-2.1.0-rtm.5.json")


def chromium() -> str | None:
    """Return Debian's Chromium, None where it is not installed."""
    return shutil.which("chromium")


def npm_file(package: tuple[str, str, str]) -> bytes | None:
    """Return a file of an npm package of one exact version, kept in the user's cache; None where npm is missing.

    npm itself checks the package against the registry's digest.
    """
    name, version, path = package
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slsa-verifier-plugin" / "npm"
    folder = base / f"{name.replace('/', '-')}-{version}"
    if not folder.exists():
        if shutil.which("npm") is None:
            return None
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base) as work:
            subprocess.run(
                [
                    "npm",
                    "install",
                    "--silent",
                    "--ignore-scripts",
                    "--no-save",
                    "--prefix",
                    work,
                    f"{name}@{version}",
                ],
                check=True,
                timeout=300,
                capture_output=True,
            )
            with contextlib.suppress(OSError):
                (Path(work) / "node_modules" / name).rename(folder)
    return (folder / path).read_bytes()


class Browser:
    """One page of a browser.

    Attributes:
        console: what scripts wrote to the console, and what went wrong in them.
        requests: every URL that the page asked for.
    """

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process = process
        self._to = to
        self._back = back
        self._buffer = b""
        self._number = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")

    def open(
        self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True
    ) -> None:
        """Open a file and wait until it is loaded."""
        self.console.clear()
        self.requests.clear()
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", media="", features=[scheme])
        self._send("Emulation.setScriptExecutionDisabled", value=not script)
        loaded = self._events("Page.loadEventFired")
        self._send("Page.navigate", url=path.absolute().as_uri())
        while self._events("Page.loadEventFired") == loaded:
            self._read()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        found = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click where the first element of a selector is, with the mouse."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._send("Input.insertText", text=text)

    def screenshot(self) -> bytes:
        """Return the visible part as PNG."""
        return base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"])

    def as_paper(self) -> None:
        """Show the page as it prints, until another is opened."""
        self._send("Emulation.setEmulatedMedia", media="print")
        self.evaluate("window.dispatchEvent(new Event('beforeprint')) || true")

    def pdf(self) -> bytes:
        """Return the page as it prints."""
        return base64.b64decode(self._send("Page.printToPDF", printBackground=False)["data"])

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError):
            self._session = None
            self._number += 1
            os.write(self._to, json.dumps({"id": self._number, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._back)

    def _events(self, name: str) -> int:
        return self._seen.count(name)

    _seen: list[str]

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            with selectors.DefaultSelector() as waiter:
                waiter.register(self._back, selectors.EVENT_READ)
                if not waiter.select(end - time.monotonic()):
                    raise TimeoutError("Chromium does not answer")
            chunk = os.read(self._back, 1 << 16)
            if not chunk:
                raise EOFError("Chromium has ended")
            self._buffer += chunk
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method", ""), message.get("params", {})
        self.__dict__.setdefault("_seen", []).append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(parameters)[:1000])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run Chromium with a page, as long as a ``with`` block."""
    program = chromium()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        read_end, to = os.pipe()
        back, write_end = os.pipe()
        # The shell puts the pipes where Chromium expects them.
        script = f'exec "$0" "$@" 3<&{read_end} 4>&{write_end}'
        process = subprocess.Popen(
            ["bash", "-c", script, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(read_end, write_end),
        )
        os.close(read_end)
        os.close(write_end)
        for descriptor in (to, back):
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        try:
            opened = Browser(process, to, back)
        except BaseException:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)
            raise
        try:
            yield opened
        finally:
            opened.close()
