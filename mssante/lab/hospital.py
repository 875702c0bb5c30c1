"""A small hospital application that speaks MLLP both ways, with a file for each message: for tests and for trials by hand.

    python -m mssante.lab.hospital DIR --listen 127.0.0.1:2576 --send 127.0.0.1:2575

- It takes what the gateway gives (MDM, ZAM), answers AA, and writes `DIR/in/000001-MDM.hl7`. It knows a message by its MSH-10:
  one that comes again is answered again and written once, as the volets ask of an application.
- A file `DIR/answers/<code>.hl7rule` makes the next message be answered AE with that application error (902…); `AR` makes it AR.
  The file is removed when it was used.
- With `--send`, every file put in `DIR/out` is sent, in order of names, until it is acknowledged: AA moves it to `DIR/sent`, AE
  to `DIR/refused`, the answer beside it as `.ack`; AR, silence and broken connections are tried again with the same octets.
- It keeps documents as they came: it belongs in a laboratory, never near patients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mssante.config.base import split_hostport
from mssante.endpoints.listeners import Door, listen_on
from mssante.endpoints.mllp import MllpServer, MllpSettings
from mssante.errors import MssFault
from mssante.protocol.hl7v2.cisis import Answer, read_answer
from mssante.protocol.hl7v2.er7 import Limits, Message, parse
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault, Place
from mssante.protocol.hl7v2.values import APPLICATION_ERRORS
from mssante.protocol.hl7v2.writer import Problem, acknowledge
from mssante.services.hl7values import Caller, control_id
from mssante.transport.mllp import MllpLink, MllpTarget

LIMITS = Limits(message=200 << 20)
AGAIN_SECONDS = 0.2
Decision = Callable[[Message], str]


def accept_all(message: Message) -> str:
    """Take every message."""
    return "AA"


@dataclass(slots=True)
class Hospital:
    """The application. folder: None keeps messages in memory alone; decide: gives AA, AR, or the code of an application error."""

    folder: Path | None = None
    decide: Decision = accept_all
    taken: dict[str, bytes] = field(default_factory=dict)  # by MSH-10, in order of arrival
    repeated: int = 0
    door: Door = field(default_factory=lambda: Door("hospital", total=100, per_address=100))
    _server: asyncio.Server | None = None

    # ------------------------------------------------------------------------------------------------ receiving

    def admits(self, caller: Caller) -> bool:
        """Everybody: it listens on this machine."""
        return True

    async def take(self, content: bytes, caller: Caller) -> bytes:
        """Take a message and answer it."""
        try:
            message = parse(content, LIMITS)
        except Hl7Fault as fault:
            return await self.reject(content, fault)
        given, now = message.header.text(10), datetime.now(UTC)
        if given in self.taken:
            self.repeated += 1
            return acknowledge(message.header, "AA", control_id(), now)
        decided = self._ruled() or self.decide(message)
        if decided == "AA":
            self.taken[given] = content
            self._trace(message, content)
            return acknowledge(message.header, "AA", control_id(), now)
        if decided == "AR":
            return acknowledge(message.header, "AR", control_id(), now)
        label = APPLICATION_ERRORS.get(decided, "")
        problem = Problem(Hl7Code.INTERNAL, Place("PID", 1, 3), (decided, label, "applicationErrorCode"))
        return acknowledge(message.header, "AE", control_id(), now, (problem,))

    async def reject(self, head: bytes, fault: Hl7Fault) -> bytes:
        """Answer what cannot be read."""
        return acknowledge(None, "AE", control_id(), datetime.now(UTC), (Problem(fault.code, fault.place),))

    def _ruled(self) -> str:
        """Give what a file asks for the next message, and remove it."""
        if self.folder is None:
            return ""
        rule = next(iter(sorted((self.folder / "answers").glob("*.hl7rule"))), None)
        if rule is None:
            return ""
        rule.unlink()
        return rule.stem

    def _trace(self, message: Message, content: bytes) -> None:
        if self.folder is not None:
            place = self.folder / "in"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{len(self.taken):06d}-{message.header.text(9)}.hl7").write_bytes(content)

    async def listen(self, address: str) -> int:
        """Open the door; give its port. Raises OSError."""
        settings = MllpSettings(LIMITS.message, 2 * LIMITS.message, 86_400.0, 60.0)
        server = MllpServer(settings, self.door, self)
        self._server = await listen_on(address, server, None)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close the door."""
        if self._server is not None:
            self._server.close()
        await self.door.close(1.0)


# ------------------------------------------------------------------------------------------------------ sending

async def send(link: MllpLink, content: bytes, *, attempts: int = 0) -> Answer:
    """Send a message until it is taken or refused for good; attempts: 0 for ever. Raises MssFault after the last."""
    count = 0
    while True:
        count += 1
        try:
            answer = read_answer(parse(await link.exchange(content), LIMITS))
            if answer.code != "AR":
                return answer
        except MssFault:
            if count == attempts:
                raise
        if count == attempts:
            return answer
        await asyncio.sleep(AGAIN_SECONDS)


async def send_folder(folder: Path, link: MllpLink) -> int:
    """Send the files of `out`; give how many were settled."""
    settled = 0
    for path in sorted((folder / "out").glob("*")):
        answer = await send(link, path.read_bytes())
        target = folder / ("sent" if answer.code == "AA" else "refused")
        target.mkdir(parents=True, exist_ok=True)
        words = f"{answer.code} {answer.condition} {answer.application} {answer.label}\n"
        (target / f"{path.name}.ack").write_text(words, encoding="utf-8")
        path.rename(target / path.name)
        settled += 1
    return settled


async def _run(folder: Path, listen: str, target: str) -> None:
    for name in ("in", "out", "sent", "refused", "answers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    hospital = Hospital(folder)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if listen:
        print(f"hospital listens on port {await hospital.listen(listen)}", flush=True)
    link = MllpLink(MllpTarget(*split_hostport(target))) if target else None
    while not stop.is_set():
        if link is not None:
            with contextlib.suppress(MssFault):
                await send_folder(folder, link)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS):
                await stop.wait()
    await hospital.close()
    if link is not None:
        await link.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the application until it is told to stop."""
    parser = argparse.ArgumentParser(prog="mssante.lab.hospital", description="Application hospitalière de laboratoire (MLLP)")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", default="", metavar="HOST:PORT")
    parser.add_argument("--send", default="", metavar="HOST:PORT")
    given = parser.parse_args(arguments)
    asyncio.run(_run(given.folder, given.listen, given.send))


if __name__ == "__main__":
    main()
