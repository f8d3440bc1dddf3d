"""A tab of headless Chromium that a test drives: the DevTools protocol over two pipes."""

import base64
import fcntl
import io
import json
import os
import select
import subprocess
import sys
import time

import numpy as np
from browser import browser
from PIL import Image

# The browser reads commands from descriptor 3 and writes to 4.
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--remote-debugging-pipe", "--no-first-run", "--force-device-scale-factor=1", "--no-proxy-server"),
    *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)


class Tab:
    """A page at an address. `requests` holds what it asked for, `errors` what its console and scripts complained of."""

    def __init__(self, folder, size=(1280, 900), scheme="light"):
        to_browser, from_browser = os.pipe(), os.pipe()
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (to_browser[0], from_browser[1])]
        command = [browser(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        with open(os.devnull, "wb") as nothing:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, *map(str, given), *command], pass_fds=given, stderr=nothing
            )
        for fd in (*given, to_browser[0], from_browser[1]):
            os.close(fd)
        self.out, self.into, self.buffer, self.count = to_browser[1], from_browser[0], b"", 0
        self.requests, self.errors, self.session = [], [], None
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")
        self.look(size, scheme)

    def look(self, size, scheme="light"):
        """Gives the window that width and height, and the user that preference of colours."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def send(self, method, **params):
        """One command's answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while (answer := self._next(60)).get("id") != message["id"]:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self, seconds):
        ends = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            assert select.select([self.into], [], [], max(0, ends - time.monotonic()))[0], "the browser is silent"
            part = os.read(self.into, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str([arg.get("value", arg.get("description")) for arg in params["args"]]))

    def run(self, script):
        """What the JavaScript expression gives."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script, seconds=30):
        """The expression's value once it is true."""
        ends = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < ends, f"never true: {script}"
            time.sleep(0.05)
        return value

    def open(self, url):
        self.send("Page.navigate", url=url)

    def click(self, selector):
        """A click of the mouse in the middle of the element."""
        x, y = self.wait(
            f"(e => {{ if (!e) return null; e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f"return b.width ? [b.x + b.width / 2, b.y + b.height / 2] : null }})(document.querySelector({selector!r}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text):
        """Types where the focus is."""
        for letter in text:
            self.send("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def press(self, key):
        code = {"Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, "End": 35, "Home": 36}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def give_files(self, selector, paths):
        """Chooses these files in a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def picture(self, path=None, whole=False):
        """The window's pixels, or the whole page's, (H, W, 3); also as a PNG at `path`."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        data = base64.b64decode(shot["data"])
        if path is not None:
            path.write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def close(self):
        """Ends the browser."""
        self.send("Browser.close")
        self.process.wait(20)
        os.close(self.out)
        os.close(self.into)
