"""A program that knows nothing of us: it finds the MLLP door in `lab.json`, sends ORU^R01 with a socket, and the letter arrives.

The client below is the whole of what an integrator needs: a frame of MLLP release 1 (VT, FS CR), one answer for each message.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from support.hl7 import order
from support.lab import RunningLab, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
CLAIRE, PAUL = "claire.martin@alpha.mssante.test", "paul.durand@beta.mssante.test"


def door(lab: RunningLab, name: str) -> dict[str, Any]:
    document = json.loads((lab.folder / "lab.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(one for one in document["operators"] if one["name"] == name)
    return found


def exchange(address: str, *messages: bytes) -> list[list[list[str]]]:
    """Send messages by one connection; give the segments of each answer, each as its fields."""
    host, _, port = address.rpartition(":")
    answers = []
    with socket.create_connection((host, int(port)), 20) as wire:
        for message in messages:
            wire.sendall(b"\x0b" + message + b"\x1c\r")
            got = b""
            while not got.endswith(b"\x1c\r"):
                piece = wire.recv(65_536)
                assert piece, "closed before the answer"
                got += piece
            assert got.startswith(b"\x0b")
            answers.append([line.split("|") for line in got[1:-2].decode("utf-8").split("\r") if line])
    return answers


@pytest.mark.parametrize(("operator", "recipient"), [("alpha", PAUL), ("beta", CLAIRE)])
def test_an_oru_goes_in_by_the_door_and_the_letter_arrives(running_lab: RunningLab, operator: str, recipient: str) -> None:
    entry = door(running_lab, operator)
    mark = f"marque-porte-{operator}"
    raw = order((recipient,), kind="ORU", event="R01", control=f"PORTE-{operator}", application=entry["hl7"]["sending_application"],
                texts={"CORPSMAIL_PS": mark})
    first, again = exchange(entry["mllp"], raw, raw)
    msa = {line[0]: line for line in first}["MSA"]
    assert msa[1:3] == ["AA", f"PORTE-{operator}"]
    assert [line for line in again if line[0] != "MSH"] == [line for line in first if line[0] != "MSH"], "known, not sent twice"
    assert first[0][2:6] == [entry["hl7"]["application"], entry["hl7"]["facility"], entry["hl7"]["sending_application"], "HOPITAL"]

    def arrived() -> list[bytes]:
        reader.client.select("INBOX")
        _, found = reader.client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        return [one[1] for one in found or () if isinstance(one, tuple) and mark.encode() in one[1]]

    with running_lab.reader(recipient) as reader:
        assert soon(lambda: bool(arrived()))
        (letter,) = arrived()
    assert f"From: <{entry['hl7']['mailbox']}>".encode() in letter or entry["hl7"]["mailbox"].encode() in letter
    assert b"IHE_XDM.ZIP" in letter.upper()


def test_a_stranger_application_is_told_so(running_lab: RunningLab) -> None:
    ((*answer,),) = exchange(door(running_lab, "alpha")["mllp"], order((PAUL,), kind="ORU", event="R01", application="INCONNUE"))
    lines = {line[0]: line for line in answer}
    assert lines["MSA"][1] == "AE"
    assert lines["ERR"][3].startswith("103")


def test_the_citizens_operator_has_no_such_door(running_lab: RunningLab) -> None:
    assert "mllp" not in door(running_lab, "citizen")
