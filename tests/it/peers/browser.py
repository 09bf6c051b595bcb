"""A headless Chromium, told what to do by JSON lines on standard input, and answering each with one on standard output.

{"open": URL}                   loads a page
{"value": EXPRESSION}           what the expression is, promises awaited
{"until": EXPRESSION}           waits until it is true
{"problems": true}              what the page or the browser has complained about so far
{"picture": FILE, "width": W, "height": H, "dark": BOOL}
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from websockets.sync.client import connect

DEADLINE = 30
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions", "--mute-audio",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank",
]


def program():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("no chromium")


class Browser:
    def __init__(self, profile, stack):
        # A group of its own, since a browser is many processes.
        self.process = subprocess.Popen(
            [program(), *FLAGS, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        stack.callback(self.end)
        self.last = 0
        self.complaints = []
        place = os.path.join(profile, "DevToolsActivePort")
        port, path = self.wait(lambda: self.endpoint(place), "the browser's port")
        address = f"ws://127.0.0.1:{port}{path}"
        self.socket = stack.enter_context(connect(address, max_size=None, compression=None, ping_interval=None))
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def endpoint(self, place):
        if self.process.poll() is not None:
            raise SystemExit(f"chromium ended with {self.process.returncode}")
        try:
            lines = open(place).read().split("\n")
        except FileNotFoundError:
            return None
        return lines[:2] if len(lines) > 1 and lines[1] else None

    @staticmethod
    def wait(look, what):
        deadline = time.monotonic() + DEADLINE
        while not (found := look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never happened: {what}")
            time.sleep(0.05)
        return found

    def ask(self, method, **parameters):
        self.last += 1
        question = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            question["sessionId"] = self.session
        self.socket.send(json.dumps(question))
        while True:
            answer = json.loads(self.socket.recv(timeout=DEADLINE))
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def note(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(parameters["args"]))

    def open(self, url):
        problem = self.ask("Page.navigate", url=url).get("errorText")
        if problem:
            raise RuntimeError(problem)
        self.wait(lambda: self.value("document.readyState === 'complete'"), "the page is loaded")

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def picture(self, file, width, height, dark):
        scheme = "dark" if dark else "light"
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(1.5)
        whole = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": max(height, whole["height"]), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))

    def obey(self, order):
        if "open" in order:
            return self.open(order["open"])
        if "value" in order:
            return self.value(order["value"])
        if "until" in order:
            return self.wait(lambda: self.value(order["until"]), order["until"])
        if "picture" in order:
            return self.picture(order["picture"], order["width"], order["height"], order["dark"])
        self.value("0")  # What is under way comes before its answer.
        return self.complaints

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, contextlib.ExitStack() as stack:
        browser = Browser(profile, stack)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            try:
                print(json.dumps({"value": browser.obey(json.loads(line))}), flush=True)
            except (RuntimeError, TimeoutError) as error:
                print(json.dumps({"error": str(error)}), flush=True)


main()
