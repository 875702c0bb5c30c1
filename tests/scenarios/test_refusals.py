"""The table of refusals: every peer of the lab that must not pass, and every hostile input, against a running alpha.

Each case is one session over a real socket. What is recorded: the moment of the refusal, its code, its text and the rule that
the text names. Every hostile message carries an X-Id that begins with `refused-`: at the end no mailbox of any operator holds
one. With MSSANTE_REPORT_DIR the table is written there as `refusals.md`.

Sources: spec §2.2 (who may send what), RELIABILITY §2 (attacks), RFC 5321, RFC 3207 §4.2.
"""

from __future__ import annotations

import base64
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from support.lab import Reply, RunningLab, SmtpWire, as_json, dotted, letter, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

GAMMA = "medecin@gamma.mssante.test"
CLAIRE = "claire.martin@alpha.mssante.test"
VICTIM = "user0024@alpha.mssante.test"
MARK = "refused-"
_number = count(1)

HANDSHAKE, EHLO, AUTH, MAIL, RCPT, DATA, END = "handshake", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "end of DATA"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a case got: the moment, the reply, and whether nothing else came after it."""

    moment: str
    reply: Reply
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. rule empty: a TLS alert, which names its own."""

    name: str
    moment: str
    code: int
    rule: str
    attempt: Callable[[RunningLab], Refusal]
    alert: str = ""


def mark() -> str:
    """A new X-Id."""
    return f"{MARK}{next(_number)}"


def hostile(sender: str = GAMMA, recipient: str = VICTIM) -> bytes:
    """A plain message that must never be seen."""
    return letter(sender, recipient, mark())


# ---------------------------------------------------------------- ways to try


def walk(wire: SmtpWire, sender: str, recipient: str, message: bytes, *, mail: bytes = b"", rcpt: bytes = b"") -> Refusal:
    """MAIL, RCPT, DATA, content; stop at the first refusal."""
    steps = ((MAIL, b"MAIL FROM:<%s>%s" % (sender.encode(), mail)), (RCPT, b"RCPT TO:<%s>%s" % (recipient.encode(), rcpt)),
             (DATA, b"DATA"))
    for moment, command in steps:
        reply = wire.ask(command)
        if reply.code >= 400 or not reply.code:
            return Refusal(moment, reply)
    wire.send(message)
    return Refusal(END, wire.read_reply(), wire.silent())


def as_peer(peer: str) -> Callable[[RunningLab], Refusal]:
    """A peer of lab.json does what a sender does, with its own key and domain."""
    def attempt(lab: RunningLab) -> Refusal:
        sender = f"medecin@{lab.lab.document['peers'][peer]['domain']}"
        return in_tls(lab, lab.peer_context(peer), lambda wire: walk(wire, sender, VICTIM, dotted(hostile(sender))))

    return attempt


def in_tls(lab: RunningLab, context: ssl.SSLContext, then: Callable[[SmtpWire], Refusal]) -> Refusal:
    """EHLO, STARTTLS, EHLO, then `then`; a session that ends before the second EHLO is answered ended in the handshake."""
    with lab.wire() as wire:
        wire.read_reply()
        wire.ask(b"EHLO peer.test")
        wire.ask(b"STARTTLS")
        try:
            wire.start_tls(context)
        except (ssl.SSLError, OSError) as exc:
            return Refusal(HANDSHAKE, Reply(0, str(getattr(exc, "reason", None) or exc)))
        reply = wire.ask(b"EHLO peer.test")
        if not reply.code:  # TLS 1.3: the client learns of a refused certificate at its first read
            return Refusal(HANDSHAKE, reply)
        return Refusal(EHLO, reply) if reply.code >= 400 else then(wire)


def as_gamma(sender: str = GAMMA, recipient: str = VICTIM, content: Callable[[], bytes] | None = None, *, mail: bytes = b"",
             rcpt: bytes = b"") -> Callable[[RunningLab], Refusal]:
    """The good peer's key, and something wrong in what it asks or sends. content: octets after DATA, dots included."""
    def attempt(lab: RunningLab) -> Refusal:
        message = content() if content else dotted(hostile(sender if sender else GAMMA, recipient))
        with lab.session_as("gamma") as wire:
            return walk(wire, sender, recipient, message, mail=mail, rcpt=rcpt)

    return attempt


def line_as_gamma(line: bytes, moment: str) -> Callable[[RunningLab], Refusal]:
    """The good peer's key and one bad command line, octet for octet."""
    def attempt(lab: RunningLab) -> Refusal:
        with lab.session_as("gamma") as wire:
            wire.send(line)
            return Refusal(moment, wire.read_reply(), wire.silent())

    return attempt


def in_clear(moment: str, *lines: bytes) -> Callable[[RunningLab], Refusal]:
    """Lines on a connection without TLS; the last one's reply counts."""
    def attempt(lab: RunningLab) -> Refusal:
        with lab.wire() as wire:
            wire.read_reply()
            for line in lines:
                reply = wire.ask(line)
            return Refusal(moment, reply, wire.silent())

    return attempt


def clear_message(lab: RunningLab) -> Refusal:
    """A whole message in clear, pipelined without waiting: every command of it is refused."""
    with lab.wire() as wire:
        wire.read_reply()
        wire.ask(b"EHLO peer.test")
        wire.send(f"MAIL FROM:<{GAMMA}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\n".encode() + dotted(hostile()))
        first = wire.read_reply()
        replies = [wire.read_reply() for _ in range(2)]
        return Refusal(MAIL, first, alone=all(one.code == 530 for one in replies))


def injection(lab: RunningLab) -> Refusal:
    """Commands in the same segment as STARTTLS: never acted on, neither in clear nor inside TLS (RFC 3207 §4.2)."""
    with lab.wire() as wire:
        wire.read_reply()
        wire.ask(b"EHLO peer.test")
        wire.send(f"STARTTLS\r\nEHLO x\r\nMAIL FROM:<{GAMMA}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\n".encode() + dotted(hostile()))
        return Refusal("STARTTLS", wire.read_reply(), wire.silent())


def half_a_line(lab: RunningLab) -> Refusal:
    """Half a command behind STARTTLS, its rest inside TLS."""
    with lab.wire() as wire:
        wire.read_reply()
        wire.ask(b"EHLO peer.test")
        wire.send(b"STARTTLS\r\nEHLO half")
        return Refusal("STARTTLS", wire.read_reply(), wire.silent())


def old_tls(lab: RunningLab) -> Refusal:
    """A client that knows nothing above TLS 1.1 (ECO.1.1.1)."""
    context = lab.peer_context("gamma")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old on purpose
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return in_tls(lab, context, lambda wire: walk(wire, GAMMA, VICTIM, dotted(hostile())))


def weak_cipher(lab: RunningLab) -> Refusal:
    """TLS 1.2 with RSA key exchange and CBC only."""
    context = lab.peer_context("gamma")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-SHA:AES128-SHA256")
    return in_tls(lab, context, lambda wire: walk(wire, GAMMA, VICTIM, dotted(hostile())))


def no_certificate(lab: RunningLab) -> Refusal:
    """TLS without a client certificate."""
    return in_tls(lab, lab.anchors(), lambda wire: walk(wire, GAMMA, VICTIM, dotted(hostile())))


def smuggled(ending: bytes) -> Callable[[], bytes]:
    """A content with a false end in its middle and a whole second message behind it, then the true end."""
    def content() -> bytes:
        inner = f"MAIL FROM:<{GAMMA}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\n".encode() + hostile()
        return hostile().rstrip(b"\r\n") + ending + inner + b"\r\n.\r\n"

    return content


def changed(old: bytes, new: bytes) -> Callable[[], bytes]:
    """A content with one thing replaced."""
    def content() -> bytes:
        message = hostile()
        assert old in message
        return dotted(message.replace(old, new, 1))

    return content


def submitting(sender: str, recipient: str, header_from: str = "", *, login: bool = True) -> Callable[[RunningLab], Refusal]:
    """A user's program on the submission door."""
    def attempt(lab: RunningLab) -> Refusal:
        account = lab.operator("alpha").account(CLAIRE)
        assert account is not None
        with lab.wire("alpha", "submission") as wire:
            wire.read_reply()
            wire.ask(b"EHLO poste.test")
            wire.ask(b"STARTTLS")
            wire.start_tls(lab.anchors())
            wire.ask(b"EHLO poste.test")
            if login:
                assert plain(wire, account.login, account.password).code == 235
            return walk(wire, sender, recipient, dotted(hostile(header_from or sender, recipient)))

    return attempt


def plain(wire: SmtpWire, login: str, password: str) -> Reply:
    """AUTH PLAIN with its initial response (RFC 4616)."""
    return wire.ask(b"AUTH PLAIN " + base64.b64encode(f"\0{login}\0{password}".encode()))


def wrong_password(lab: RunningLab) -> Refusal:
    """A wrong password, on 465."""
    host, port = lab.address("alpha", "submissions")
    wire = SmtpWire((host, port))
    wire.start_tls(lab.anchors())
    with wire:
        wire.read_reply()
        wire.ask(b"EHLO poste.test")
        return Refusal(AUTH, plain(wire, CLAIRE, "pas le bon"))


def clear_on_implicit(lab: RunningLab) -> Refusal:
    """SMTP in clear to the door that speaks TLS from the first octet."""
    with SmtpWire(lab.address("alpha", "submissions")) as wire:
        wire.send(b"EHLO poste.test\r\n")
        reply = wire.read_reply()
        return Refusal(HANDSHAKE, reply if not reply.code else Reply(reply.code, "answered in clear"))


# ---------------------------------------------------------------- the table

PEER_CASES = (
    Case("peer unlisted: valid certificate, not on the list", EHLO, 554, "LB-CERTIFICAT", as_peer("unlisted")),
    Case("peer revoked: listed, on the CRL", EHLO, 554, "PEER-REVOKED", as_peer("revoked")),
    Case("peer expired: listed, past its end", EHLO, 554, "PEER-EXPIRED", as_peer("expired")),
    Case("peer foreign_ca: listed subject, another CA", HANDSHAKE, 0, "", as_peer("foreign_ca"), "UNKNOWN_CA"),
    Case("peer personnes: listed subject, ELEMENTAIRE PERSONNES", EHLO, 554, "PEER-ISSUER", as_peer("personnes")),
    Case("peer other_name: listed for another domain only", MAIL, 550, "LB-LIAISON", as_peer("other_name")),
    Case("no client certificate", EHLO, 554, "PEER-ABSENT", no_certificate),
    Case("TLS 1.1", HANDSHAKE, 0, "", old_tls, "PROTOCOL_VERSION"),
    Case("TLS 1.2 with RSA key exchange and CBC", HANDSHAKE, 0, "", weak_cipher, "HANDSHAKE_FAILURE"),
)
SESSION_CASES = (
    Case("a whole message in clear, pipelined", MAIL, 530, "TLS-REQUIS", clear_message),
    Case("RCPT before STARTTLS", RCPT, 530, "TLS-REQUIS", in_clear(RCPT, b"EHLO x", b"RCPT TO:<%s>" % VICTIM.encode())),
    Case("DATA before STARTTLS", DATA, 530, "TLS-REQUIS", in_clear(DATA, b"EHLO x", b"DATA")),
    Case("AUTH before STARTTLS", AUTH, 530, "TLS-REQUIS", in_clear(AUTH, b"EHLO x", b"AUTH PLAIN AGEAYg==")),
    Case("VRFY before STARTTLS", "VRFY", 530, "TLS-REQUIS", in_clear("VRFY", b"EHLO x", b"VRFY claire.martin")),
    Case("commands pipelined behind STARTTLS", "STARTTLS", 554, "TLS-INJECTION", injection),
    Case("half a command behind STARTTLS", "STARTTLS", 554, "TLS-INJECTION", half_a_line),
    Case("STARTTLS with a parameter", "STARTTLS", 501, "SMTP-SYNTAXE", in_clear("STARTTLS", b"EHLO x", b"STARTTLS now")),
    Case("STARTTLS inside TLS", "STARTTLS", 503, "TLS-DEJA", line_as_gamma(b"STARTTLS\r\n", "STARTTLS")),
    Case("AUTH between operators", AUTH, 503, "AUTH-ABSENTE", line_as_gamma(b"AUTH PLAIN AGEAYg==\r\n", AUTH)),
    Case("command line of 3,000 octets", MAIL, 500, "SMTP-LIGNE-LONGUE",
         line_as_gamma(b"MAIL FROM:<" + b"a" * 3000 + b"@gamma.mssante.test>\r\n", MAIL)),
    Case("a line without end, 1 MB", MAIL, 500, "SMTP-LIGNE-LONGUE", line_as_gamma(b"A" * 1_000_000, MAIL)),
    Case("NUL in a command", MAIL, 500, "SMTP-LIGNE", line_as_gamma(b"MAIL FROM:<a\0b@gamma.mssante.test>\r\n", MAIL)),
    Case("command ended by LF alone", MAIL, 500, "SMTP-LIGNE", line_as_gamma(b"MAIL FROM:<%s>\n" % GAMMA.encode(), MAIL)),
    Case("bare CR in a command", MAIL, 500, "SMTP-LIGNE", line_as_gamma(b"MAIL FROM:<%s>\rX\r\n" % GAMMA.encode(), MAIL)),
    Case("octets that are not UTF-8", MAIL, 501, "SMTP-SYNTAXE",
         line_as_gamma(b"MAIL FROM:<\xff\xfe@gamma.mssante.test>\r\n", MAIL)),
    Case("unknown command (BDAT, never announced)", "BDAT", 500, "SMTP-COMMANDE", line_as_gamma(b"BDAT -1 LAST\r\n", "BDAT")),
    Case("DATA without MAIL", DATA, 503, "SMTP-SEQUENCE", line_as_gamma(b"DATA\r\n", DATA)),
)
ENVELOPE_CASES = (
    Case("unknown parameter of MAIL", MAIL, 555, "SMTP-PARAMETRE", as_gamma(mail=b" XINCONNU=1")),
    Case("unknown parameter of RCPT", RCPT, 555, "SMTP-PARAMETRE", as_gamma(rcpt=b" XINCONNU=1")),
    Case("BODY=BINARYMIME, never announced", MAIL, 555, "SMTP-PARAMETRE", as_gamma(mail=b" BODY=BINARYMIME")),
    Case("a parameter given twice", MAIL, 501, "SMTP-SYNTAXE", as_gamma(mail=b" SIZE=1 SIZE=2")),
    Case("declared size above the limit", MAIL, 552, "TAILLE", as_gamma(mail=b" SIZE=99999999999")),
    Case("sender's domain is another operator's", MAIL, 550, "LB-LIAISON", as_gamma("paul.durand@beta.mssante.test")),
    Case("sender is one of our own users", MAIL, 550, "LB-LIAISON", as_gamma(CLAIRE)),
    Case("sender's domain outside the trust space", MAIL, 550, "LB-DOMAINE", as_gamma("medecin@example.org")),
    Case("sender's domain ends like a listed one", MAIL, 550, "LB-DOMAINE", as_gamma("medecin@evilgamma.mssante.test")),
    Case("sender without a domain", MAIL, 553, "ADRESSE-SYNTAXE", as_gamma("medecin")),
    Case("sender with two at", MAIL, 553, "ADRESSE-SYNTAXE", as_gamma("a@example.org@gamma.mssante.test")),
    Case("recipient of a third operator (relay)", RCPT, 550, "RELAIS-INTERDIT",
         as_gamma(recipient="paul.durand@beta.mssante.test")),
    Case("recipient outside the trust space", RCPT, 550, "RELAIS-INTERDIT", as_gamma(recipient="someone@example.org")),
    Case("recipient unknown in our domain", RCPT, 550, "BOITE-INCONNUE", as_gamma(recipient="personne@alpha.mssante.test")),
    Case("recipient with a percent route", RCPT, 553, "ADRESSE-SYNTAXE",
         as_gamma(recipient="paul.durand%beta.mssante.test@alpha.mssante.test")),
    Case("recipient with a source route", RCPT, 553, "ADRESSE-SYNTAXE",
         as_gamma(recipient="@alpha.mssante.test:paul.durand@beta.mssante.test")),
    Case("recipient in quotes", RCPT, 553, "ADRESSE-SYNTAXE", as_gamma(recipient='"user0024"@alpha.mssante.test')),
    Case("recipient's domain ends with a dot", RCPT, 553, "ADRESSE-SYNTAXE", as_gamma(recipient=f"{VICTIM}.")),
    Case("recipient at an address literal", RCPT, 553, "ADRESSE-SYNTAXE", as_gamma(recipient="user0024@[127.0.0.1]")),
)
CONTENT_CASES = (
    Case("From header of another domain", END, 554, "FROM-DOMAINE",
         as_gamma(content=changed(b"From: <medecin@gamma.", b"From: <paul.durand@beta."))),
    Case("two From headers", END, 554, "FROM-UNIQUE",
         as_gamma(content=changed(b"From: ", b"From: <a@beta.mssante.test>\r\nFrom: "))),
    Case("no From header", END, 554, "FROM-UNIQUE", as_gamma(content=changed(b"From: ", b"X-From: "))),
    Case("60 Received lines (loop)", END, 554, "BOUCLE",
         as_gamma(content=changed(b"From: ", b"Received: from a by b\r\n" * 60 + b"From: "))),
    Case("NUL in the content", END, 554, "SMTP-NUL", as_gamma(content=changed(b"essai", b"es\0sai"))),
    Case("content line of 20,000 octets", END, 554, "SMTP-LIGNE-LONGUE", as_gamma(content=changed(b"essai", b"e" * 20_000))),
    Case("bare LF in the content", END, 554, "SMTP-CRLF", as_gamma(content=changed(b"essai", b"es\nsai"))),
    Case("bare CR in the content", END, 554, "SMTP-CRLF", as_gamma(content=changed(b"essai", b"es\rsai"))),
)
ENDINGS = {
    "LF . LF": b"\n.\n", "LF . CRLF": b"\n.\r\n", "CRLF . LF": b"\r\n.\n", "CR . CR": b"\r.\r", "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r", "LF . CR": b"\n.\r", "CR . LF": b"\r.\n", "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n", "CRLF . CR CRLF": b"\r\n.\r\r\n", "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "LF LF . CRLF": b"\n\n.\r\n", "CRLF . LF CR": b"\r\n.\n\r",
}
SMUGGLING_CASES = tuple(
    Case(f"smuggling with {name}", END, 554, "SMTP-NUL" if b"\0" in ending else "SMTP-CRLF", as_gamma(content=smuggled(ending)))
    for name, ending in ENDINGS.items())
SUBMISSION_CASES = (
    Case("submission: no login", MAIL, 530, "AUTH-REQUISE", submitting(CLAIRE, VICTIM, login=False)),
    Case("submission: wrong password", AUTH, 535, "AUTH-REFUSEE", wrong_password),
    Case("submission: clear text to the implicit TLS door", HANDSHAKE, 0, "", clear_on_implicit, "closed"),
    Case("submission: sender is somebody else", MAIL, 553, "EXPEDITEUR-AUTRE", submitting(VICTIM, VICTIM)),
    Case("submission: From header is somebody else", END, 554, "FROM-DIFFERENT", submitting(CLAIRE, VICTIM, header_from=VICTIM)),
    Case("submission: recipient outside the trust space", RCPT, 550, "HORS-ESPACE", submitting(CLAIRE, "someone@example.org")),
    Case("submission: unknown mailbox of ours", RCPT, 550, "BOITE-INCONNUE", submitting(CLAIRE, "personne@alpha.mssante.test")),
    Case("submission: citizen address, wrong key of the INS", RCPT, 553, "INS-ADRESSE",
         submitting(CLAIRE, "279035121518988@patient.mssante.test")),
)
ALL_CASES = (*PEER_CASES, *SESSION_CASES, *ENVELOPE_CASES, *CONTENT_CASES, *SMUGGLING_CASES, *SUBMISSION_CASES)


@pytest.fixture(scope="module")
def table(running_lab: RunningLab) -> Iterator[dict[str, Refusal]]:
    """What each case got, filled by the tests below; the report is written at the end."""
    got: dict[str, Refusal] = {}
    yield got
    lines = ["| case | moment | reply | rule |", "|---|---|---|---|"]
    for name, one in got.items():
        said = f"{one.reply.code} {one.reply.text}" if one.reply.code else f"TLS alert or close: {one.reply.text}"
        lines.append(f"| {name} | {one.moment} | {said.replace('|', '/')} | {one.reply.rule or '-'} |")
    report("refusals.md", "\n".join(lines))


@pytest.mark.parametrize("case", ALL_CASES, ids=[case.name for case in ALL_CASES])
def test_is_refused_with_its_own_rule(case: Case, running_lab: RunningLab, table: dict[str, Refusal]) -> None:
    got = table[case.name] = case.attempt(running_lab)
    assert (got.moment, got.reply.code, got.reply.rule) == (case.moment, case.code, case.rule), got
    assert case.alert.lower() in got.reply.text.lower()
    assert got.alone, "another reply came behind the refusal: something was smuggled"


def test_gamma_itself_is_accepted(running_lab: RunningLab) -> None:
    """The cases above differ from this session in one thing each: without it they would prove nothing."""
    name = "accepted-control"
    with running_lab.session_as("gamma") as wire:
        assert wire.last.code == 250
        assert wire.deliver(GAMMA, [VICTIM], letter(GAMMA, VICTIM, name)).code == 250
    with running_lab.reader(VICTIM) as reader:
        reader.wait_for(name)


def test_no_mailbox_holds_anything_of_it(running_lab: RunningLab) -> None:
    seen = []
    for operator in running_lab.lab.operators:
        for account in operator.accounts:
            if account.password:
                with running_lab.reader(account.address) as reader:
                    seen += [one for one in reader.marks() if one.startswith(MARK)]
    assert seen == []


def test_a_refused_session_stays_refused(running_lab: RunningLab) -> None:
    """A peer that skips EHLO, or says HELO, is not further than one that listens."""
    for line in (b"MAIL FROM:<medecin@unlisted.mssante.test>", b"HELO peer.test"):
        with running_lab.wire() as wire:
            wire.read_reply()
            wire.ask(b"EHLO peer.test")
            wire.ask(b"STARTTLS")
            wire.start_tls(running_lab.peer_context("unlisted"))
            assert wire.ask(line).rule == "LB-CERTIFICAT"


def test_others_are_served_while_half_handshakes_are_held(running_lab: RunningLab) -> None:
    """Forty peers that stop in the middle of the TLS handshake delay nobody (RELIABILITY §2, TLS floor)."""
    held = []
    try:
        for _ in range(40):
            half = socket.create_connection(running_lab.address("alpha", "smtp"), timeout=10)
            held.append(half)
            half.sendall(b"EHLO x\r\nSTARTTLS\r\n")
        with running_lab.session_as("gamma") as wire:
            name = "accepted-beside-half-handshakes"
            assert wire.deliver(GAMMA, [VICTIM], letter(GAMMA, VICTIM, name)).code == 250
    finally:
        for half in held:
            half.close()


# ---------------------------------------------------------------- faults of the trust sources


def accepted(lab: RunningLab, name: str) -> bool:
    """Gamma delivers to alpha, and the message is seen."""
    with lab.session_as("gamma") as wire:
        if wire.deliver(GAMMA, [VICTIM], letter(GAMMA, VICTIM, name)).code != 250:
            return False
    with lab.reader(VICTIM) as reader:
        reader.wait_for(name)
    return True


@pytest.mark.parametrize("fault", ["whitelist-bad-signature", "whitelist-rolled-back", "whitelist-unreachable"])
def test_a_bad_list_raises_the_alarm_and_mail_flows_on_the_last_good_one(fault: str, healed: RunningLab) -> None:
    domains = healed.metric("alpha", "mssante_whitelist_domains")
    healed.break_with(fault)
    assert soon(lambda: healed.metric("alpha", "mssante_trust_alarm{", '"whitelist"') == 1)
    assert healed.metric("alpha", "mssante_whitelist_domains") == domains > 0
    assert accepted(healed, f"accepted-{fault}")
    assert as_peer("unlisted")(healed).reply.rule == "LB-CERTIFICAT", "never 'accept all'"
    code, out, error = healed.command("lab", "send", healed.folder)
    assert code == 0, out + error


def test_an_expired_crl_refuses_new_sessions_for_now_and_heals(healed: RunningLab) -> None:
    healed.break_with("crl-expired")
    assert soon(lambda: healed.metric("alpha", "mssante_trust_alarm{", "crl0") == 1)

    def refused() -> Reply:
        return in_tls(healed, healed.peer_context("gamma"), lambda wire: Refusal("none", wire.last)).reply

    assert soon(lambda: refused().code == 454)
    assert refused().rule == "PEER-CRL-STALE"
    assert as_peer("revoked")(healed).reply.rule == "PEER-REVOKED", "what an old CRL revokes stays revoked"
    healed.heal()
    assert soon(lambda: refused().code == 250)
    assert accepted(healed, "accepted-after-crl")


def test_a_revoked_beta_gets_nothing_and_sends_nothing(healed: RunningLab) -> None:
    healed.break_with("beta-certificate-revoked")

    def beta_to_alpha() -> Reply:
        return in_tls(healed, healed.peer_context("beta"), lambda wire: Refusal("none", wire.last)).reply

    assert soon(lambda: beta_to_alpha().rule == "PEER-REVOKED")
    code, out, _ = healed.command("lab", "send", healed.folder, "--timeout", 3)
    assert code == 1 and "PEER-REVOKED" in out, out
    healed.heal()
    assert soon(lambda: beta_to_alpha().code == 250)
    assert soon(lambda: healed.command("lab", "send", healed.folder, "--timeout", 10)[0] == 0, 60)


def test_beta_down_the_letter_waits_in_the_queue_and_arrives(healed: RunningLab) -> None:
    name, recipient = "accepted-while-beta-down", "user0001@beta.mssante.test"
    healed.break_with("beta-down")
    account = healed.operator("alpha").account(CLAIRE)
    assert account is not None
    with healed.wire("alpha", "submission") as wire:
        wire.read_reply()
        wire.ask(b"EHLO poste.test")
        wire.ask(b"STARTTLS")
        wire.start_tls(healed.anchors())
        wire.ask(b"EHLO poste.test")
        assert plain(wire, account.login, account.password).code == 235
        message = letter(CLAIRE, recipient, name)
        reply = wire.deliver(CLAIRE, [recipient], message)
        assert reply.code == 250
    trace, config = reply.text.split()[-1], healed.folder / healed.operator("alpha").config

    def tried() -> int:
        _, out, _ = healed.command("trace", trace, "--config", config, "--json")
        return sum(event["kind"] == "deferred" for event in as_json(out)["events"])

    assert soon(lambda: tried() > 1, 20), "the second attempt comes when it is due, not at the next look at the queue"
    healed.heal()
    with healed.reader(recipient) as reader:
        assert reader.wait_for(name, 60).endswith(message)
