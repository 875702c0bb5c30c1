"""A mail program for the lab: drops a message by submission and reads it back by IMAP, with the standard library alone.

- TLS always, the server's certificate checked against the lab's anchors and the loopback address in its names.
- What it sends is, octet for octet, what it was given; what it reads is what the server gives. Passwords are never told.
- Blocking: called by `lab send`, a command. Independent from our own cores on purpose: it is the "standard client".
"""

from __future__ import annotations

import imaplib
import re
import smtplib
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from mssante.errors import OperatorFault, PeerFault
from mssante.lang import say

TIMEOUT = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Login:
    """Where and as whom."""

    address: tuple[str, int]
    login: str
    password: str = field(repr=False)


def anchors_context(anchors: Path) -> ssl.SSLContext:
    """Give a client context that trusts the anchors only; the name is checked."""
    context = ssl.create_default_context(cafile=str(anchors))
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # ECO.1.1.1
    return context


def submit(where: Login, context: ssl.SSLContext, *, recipient: str, message: bytes) -> str:
    """Send `message` (CRLF lines) from the login's own address; give the reply to the final dot as text.

    Raises PeerFault (`LAB-SUBMIT`) with the server's reply when it refuses, OperatorFault when it cannot be reached.
    """
    try:
        with smtplib.SMTP(*where.address, local_hostname="poste.mssante.test", timeout=TIMEOUT) as client:
            client.starttls(context=context)  # ECO.1.0.1
            client.login(where.login, where.password)
            options = ["BODY=8BITMIME"] if not message.isascii() else []
            _expect(client.mail(where.login, [f"SIZE={len(message)}", *options]), 250)
            _expect(client.rcpt(recipient), 250)
            return _expect(client.data(message), 250)
    except smtplib.SMTPResponseException as exc:
        raise _refused(exc.smtp_code, exc.smtp_error) from exc
    except (smtplib.SMTPException, OSError) as exc:
        raise OperatorFault(say("le dépôt a échoué", "the submission failed"), detail=str(exc), rule="LAB-SUBMIT") from exc


def _expect(reply: tuple[int, bytes], code: int) -> str:
    if reply[0] != code:
        raise _refused(*reply)
    return reply[1].decode("ascii", "replace")


def _refused(code: int, text: bytes | str) -> PeerFault:
    shown = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return PeerFault(f"{code} {shown}", rule="LAB-SUBMIT")


class InboxWatcher:
    """Waits for a message in an INBOX, read-only, across restarts of its server. Use as a context manager."""

    def __init__(self, where: Login, context: ssl.SSLContext) -> None:
        self._where = where
        self._context = context
        self._client: imaplib.IMAP4 | None = None

    def __enter__(self) -> InboxWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.logout()
            except (imaplib.IMAP4.error, OSError):
                pass

    def open(self) -> bool:
        """Connect by implicit TLS, log in, examine INBOX; False when nobody answers there now.

        Raises PeerFault (`LAB-IMAP`) when the login is refused or the certificate is not good: waiting mends neither.
        """
        try:
            client = imaplib.IMAP4_SSL(*self._where.address, ssl_context=self._context, timeout=TIMEOUT)
            client.login(self._where.login, self._where.password)
            client.select("INBOX", readonly=True)
        except (imaplib.IMAP4.abort, ConnectionError, TimeoutError):
            return False
        except (imaplib.IMAP4.error, OSError) as exc:
            raise PeerFault(say("lecture refusée", "reading refused"), detail=str(exc), rule="LAB-IMAP") from exc
        self._client = client
        return True

    def wait_for(self, message_id: str, seconds: float) -> bytes | None:
        """Give the message of that Message-ID as soon as it is seen, whole and as the server gives it; None in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = self._look(message_id) if self._client is not None or self.open() else None
            if found is not None or time.monotonic() > deadline:
                return found
            time.sleep(POLL_SECONDS)

    def _look(self, message_id: str) -> bytes | None:
        client = self._client
        if client is None:
            return None
        try:
            client.noop()
            _, found = client.uid("SEARCH", "HEADER", "Message-ID", f'"{message_id}"')
            uids = (found[0] or b"").split()
            return _fetch(client, uids[-1].decode("ascii")) if uids else None
        except (imaplib.IMAP4.abort, OSError):  # the server went away: connect again at the next look
            self._client = None
            return None
        except imaplib.IMAP4.error as exc:
            raise PeerFault(say("lecture refusée", "reading refused"), detail=str(exc), rule="LAB-IMAP") from exc


def _fetch(client: imaplib.IMAP4, uid: str) -> bytes:
    _, answer = client.uid("FETCH", uid, "(BODY.PEEK[])")
    for one in answer:
        if isinstance(one, tuple) and re.search(rb"BODY\[\]", one[0]):
            return bytes(one[1])
    raise PeerFault("FETCH BODY.PEEK[] gave no literal", rule="LAB-IMAP")
