"""A headless Chromium, driven as a user would: mouse and keys go through the DevTools protocol, not through scripts."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--hide-scrollbars", "--remote-debugging-port=0")  # fmt: skip
PATIENCE_S = 60


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """One tab."""

    def __init__(self, socket: Any, session: str) -> None:
        self._socket, self._session, self._numbers = socket, session, itertools.count(100)
        self.errors: list[str] = []
        self.requests: list[str] = []

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer; what the page reports meanwhile is noted."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, "sessionId": self._session}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def tell(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (value := self.tell(expression)):
            assert time.monotonic() < end, f"{expression} never came true"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        return self.tell(f"document.querySelector({json.dumps(selector)}).textContent")

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """Where on the screen the given share of an element's width and height is, after scrolling to it."""
        box = self.tell(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def mouse(self, kind: str, place: tuple[float, float], **params: Any) -> None:
        self.ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **params)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5, *, times: int = 1) -> None:
        place = self.place(selector, x, y)
        self.mouse("mouseMoved", place)
        for count in range(1, times + 1):
            self.mouse("mousePressed", place, button="left", buttons=1, clickCount=count)
            self.mouse("mouseReleased", place, button="left", clickCount=count)

    def write(self, selector: str, text: str) -> None:
        """Puts a text in the place of what an input holds."""
        self.click(selector, x=0.1, times=3)
        self.ask("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def chromium(folder: Path, *, width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """A page in a fresh browser whose profile and downloads lie in `folder`."""
    path, profile = find_chromium(), folder / "profile"
    assert path is not None
    command = [path, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with connect(_address(profile, process), max_size=None) as socket:
                yield _first_page(socket, folder / "downloads")
                socket.send(json.dumps({"id": 9, "method": "Browser.close"}))
                process.wait(timeout=PATIENCE_S)
        finally:
            process.kill()


def _address(profile: Path, process: subprocess.Popen) -> str:
    """Where the browser listens, which it writes into its profile."""
    file, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
    while not (file.is_file() and len(lines := file.read_text().splitlines()) == 2):
        assert process.poll() is None, "the browser ended at once"
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _first_page(socket: Any, downloads: Path) -> Page:
    def ask(number: int, method: str, **params: Any) -> dict[str, Any]:
        socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(socket.recv(timeout=PATIENCE_S))).get("id") != number:
            pass
        return message["result"]

    downloads.mkdir(parents=True, exist_ok=True)
    ask(1, "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    target = next(t for t in ask(2, "Target.getTargets")["targetInfos"] if t["type"] == "page")
    return Page(socket, ask(3, "Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"])
