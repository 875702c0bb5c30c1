"""A minimal client of Marionette, the remote protocol of Gecko programs: frames `length:json` over TCP on loopback.

Enough to run scripts with the rights of the program itself (chrome context) and get their results. A frame is
`[type, id, command, parameters]` to the program, `[1, id, error, result]` from it.
"""

from __future__ import annotations

import json
import socket
from typing import Any


class MarionetteError(Exception):
    """The program answered with an error."""


class Marionette:
    """One session."""

    def __init__(self, port: int, seconds: float = 30) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._buffer = b""
        self._last = 0
        self.greeting = self._read()
        self.ask("WebDriver:NewSession", {})
        self.ask("Marionette:SetContext", {"value": "chrome"})
        self.ask("WebDriver:SetTimeouts", {"script": int(seconds * 1000)})

    def close(self) -> None:
        """Let go."""
        self._socket.close()

    def ask(self, command: str, parameters: dict[str, Any]) -> Any:
        """Send a command and give its result. Raises MarionetteError, OSError."""
        self._last += 1
        raw = json.dumps([0, self._last, command, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(raw), raw))
        while True:
            kind, number, error, result = self._read()
            if (kind, number) == (1, self._last):
                break
        if error:
            raise MarionetteError(f"{command}: {error.get('error')}: {error.get('message')}\n{error.get('stacktrace', '')}")
        return result

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of an async function (`args` holds the arguments) and give what it returns."""
        wrapped = ("const done = arguments[arguments.length - 1]; const args = [...arguments].slice(0, -1);"
                   "(async () => {" + script + "})().then(value => done({value: value === undefined ? null : value}),"
                   "fault => done({fault: String(fault) + ' ' + (fault && fault.stack)}));")
        answer = self.ask("WebDriver:ExecuteAsyncScript", {"script": wrapped, "args": list(arguments), "newSandbox": True,
                                                           "sandbox": "system"})["value"]
        if answer is None:  # the program put a dialog before the user: nothing goes on behind it
            raise MarionetteError(f"a dialog opened: {self.ask('WebDriver:GetAlertText', {})}")
        if "fault" in answer:
            raise MarionetteError(answer["fault"])
        return answer["value"]

    def _read(self) -> Any:
        while b":" not in self._buffer:
            self._more()
        length, _, self._buffer = self._buffer.partition(b":")
        size = int(length)
        while len(self._buffer) < size:
            self._more()
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        return json.loads(frame)

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise MarionetteError("the program closed the connection")
        self._buffer += data
