"""ManageSieve of a running lab, by its own words over real TLS: a script is put, listed and taken back; sudden ends leave no trace."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode

from support.lab import RunningLab

SCRIPT = b'require "fileinto";\r\nif header :contains "subject" "lettre-essai-sieve" { fileinto "INBOX"; }\r\n'


class Talk:
    """A connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.raw: socket.socket = socket.create_connection(address, timeout=20)
        self.file = self.raw.makefile("rb")

    def answer(self) -> tuple[str, list[bytes]]:
        """Give the last word and the lines before it."""
        lines: list[bytes] = []
        while True:
            line = self.file.readline()
            assert line, "the server ended"
            word = line.split(b" ", 1)[0].strip().upper()
            if word in (b"OK", b"NO", b"BYE"):
                return word.decode(), [*lines, line]
            lines.append(line)

    def ask(self, line: bytes) -> tuple[str, list[bytes]]:
        self.raw.sendall(line + b"\r\n")
        return self.answer()

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        assert self.ask(b"STARTTLS")[0] == "OK"
        self.raw = context.wrap_socket(self.raw, server_hostname=name)
        self.file = self.raw.makefile("rb")
        assert self.answer()[0] == "OK"


def test_a_script_comes_and_goes(running_lab: RunningLab) -> None:
    operator = running_lab.operator("alpha")
    person = operator.accounts[1]
    talk = Talk(operator.address("managesieve"))
    word, lines = talk.answer()
    assert word == "OK" and any(b'"STARTTLS"' in one for one in lines) and not any(b"PLAIN" in one for one in lines)
    context = running_lab.anchors()
    context.check_hostname = False
    talk.secure(context, f"mta.{operator.domain}")
    secret = b64encode(f"\0{person.login}\0{person.password}".encode())
    assert talk.ask(b'AUTHENTICATE "PLAIN" "' + secret + b'"')[0] == "OK"
    put = b'PUTSCRIPT "essai-lab" {%d+}\r\n' % len(SCRIPT) + SCRIPT
    assert talk.ask(put)[0] == "OK"
    assert b'"essai-lab"\r\n' in talk.ask(b"LISTSCRIPTS")[1]
    word, lines = talk.ask(b'GETSCRIPT "essai-lab"')
    assert word == "OK" and b"".join(lines[1:]).startswith(SCRIPT)
    assert talk.ask(b'PUTSCRIPT "faux" {5+}\r\nif if')[0] == "NO"
    assert talk.ask(b'DELETESCRIPT "essai-lab"')[0] == "OK"
    assert talk.ask(b"LOGOUT")[0] == "OK"


def test_connections_that_end_at_once_are_no_fault(running_lab: RunningLab) -> None:
    operator = running_lab.operator("alpha")
    before = len(running_lab.log("alpha"))
    for _ in range(5):
        socket.create_connection(operator.address("managesieve"), timeout=10).close()
    talk = Talk(operator.address("managesieve"))
    assert talk.answer()[0] == "OK"
    talk.raw.close()
    said = running_lab.log("alpha")[before:]
    assert "AssertionError" not in said and "Traceback" not in said
