"""A headless Chromium that opens a page from disk, through its debugging protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT = 60  # seconds


def find_chromium() -> str | None:
    """Path of a Chromium; None if there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """What a page did.

    Parameters
    ----------
    problems
        Errors and warnings on the console, exceptions, and refusals of its security policy.
    requests
        Addresses asked for, but those with the data in them.
    overflow
        Pixels by which it is wider than the window.
    charts
        Of each chart's place, by its id: whether something is drawn in it.
    screenshot
        PNG of the window.
    """

    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    overflow: int = 0
    charts: dict[str, bool] = field(default_factory=dict)
    screenshot: bytes = b""


def visit(page: Path, folder: Path, width: int, height: int, *, dark: bool) -> Visit:
    """Open a page in a window of this size, and move the mouse over its charts.

    Parameters
    ----------
    page
        File to open.
    folder
        For the browser's own files.
    width, height
        Size of the window in pixels.
    dark
        Whether the screen prefers dark colours.
    """
    program = find_chromium()
    assert program is not None
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--remote-debugging-port=0", "--no-first-run", f"--user-data-dir={folder}",
               "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            return asyncio.run(asyncio.wait_for(
                _visit(page, folder, width, height, dark), TIMEOUT))
        finally:
            browser.terminate()


async def _target(folder: Path) -> str:
    """Address of the browser's tab, once it is there."""
    port = folder / "DevToolsActivePort"
    while not (port.is_file() and port.read_text().strip()):
        await asyncio.sleep(0.05)
    with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as found:
        return next(tab["webSocketDebuggerUrl"] for tab in json.load(found)
                    if tab["type"] == "page")


async def _visit(page: Path, folder: Path, width: int, height: int, dark: bool) -> Visit:
    socket = await websocket_connect(await _target(folder), max_message_size=1 << 28)
    result, count = Visit(), 0

    def note(message: dict[str, Any]) -> None:
        values = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                result.problems.append(json.dumps(values["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning", "assert"):
                result.problems.append(json.dumps(values["args"]))
            case "Log.entryAdded" if values["entry"]["level"] in ("error", "warning"):
                result.problems.append(values["entry"]["text"])
            case "Network.requestWillBeSent":
                if not values["request"]["url"].startswith(("data:", "blob:")):
                    result.requests.append(values["request"]["url"])

    async def call(method: str, **values: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        await socket.write_message(json.dumps({"id": count, "method": method, "params": values}))
        while True:
            message = json.loads(await socket.read_message())
            if message.get("id") == count:
                assert "error" not in message, message
                return message["result"]
            note(message)

    async def evaluate(expression: str) -> Any:
        found = await call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        return found["result"].get("value")

    for domain in ("Page", "Runtime", "Log", "Network"):
        await call(f"{domain}.enable")
    await call("Emulation.setDeviceMetricsOverride", width=width, height=height,
               deviceScaleFactor=1, mobile=False)
    await call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
    await call("Page.navigate", url=page.resolve().as_uri())
    await evaluate("""new Promise(done => {
        const look = () => document.readyState == "complete" && window.Bokeh &&
            Bokeh.documents.length && Bokeh.documents.every(d => d.is_idle) ? done()
            : setTimeout(look, 50);
        look();
    })""")
    for x, y in await evaluate("""[...document.querySelectorAll(".chart")].map(chart => {
            const box = chart.getBoundingClientRect();
            return [box.left + 0.4 * box.width, box.top + box.height / 3];
        })"""):
        await evaluate(f"window.scrollTo(0, {y - height / 2})")
        top = y - await evaluate("window.scrollY")
        for step in range(-60, 60, 4):  # over several bars
            await call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=top + step)
    await evaluate("window.scrollTo(0, 0)")
    result.overflow = await evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth")
    result.charts = await evaluate("""Object.fromEntries(
        [...document.querySelectorAll(".chart")].map(chart => [chart.id,
            chart.getBoundingClientRect().height > 60 && chart.childElementCount > 0]))""")
    picture = await call("Page.captureScreenshot", format="png")
    result.screenshot = base64.b64decode(picture["data"])
    socket.close()
    while await socket.read_message() is not None:
        pass
    return result
