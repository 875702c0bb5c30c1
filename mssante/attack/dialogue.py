"""Attacks on the dialogue: clear text, STARTTLS injection, old TLS, names of others, relaying, AUTH (spec §2, RFC 3207 §4.2)."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable

from mssante.attack.identities import NO_GOOD
from mssante.attack.values import Arms, Attack, Outcome, Target
from mssante.attack.wire import EHLO_NAME, Wire, WireEnd, client_context

NO_RECIPIENT = ("il faut --recipient : une boîte de la cible", "--recipient is needed: a mailbox of the target")


def _clear(target: Target, arms: Arms) -> Outcome:
    with Wire(target) as wire:
        wire.greet()
        answer = wire.ask(f"MAIL FROM:<controle@{arms.good_domain or 'mssante.test'}>")
        return Outcome.fell(f"MAIL: {answer}") if answer.yes else Outcome.held(f"MAIL: {answer}")


def _injection(target: Target, arms: Arms) -> Outcome:
    """Commands behind STARTTLS in the same segment: answered inside TLS, they were acted on as if they had come safely."""
    with Wire(target) as wire:
        wire.greet()
        wire.send(b"STARTTLS\r\nEHLO injecte.test\r\nNOOP\r\n")
        answer = wire.reply()
        if answer.code != 220:
            return Outcome.held(f"STARTTLS: {answer}")
        try:
            wire.handshake(client_context(arms.good))
        except WireEnd as end:
            return Outcome.held(end)
        late = wire.replies(1.0)
        if late and late[0].yes:
            return Outcome.fell(f"{len(late)} reply inside TLS: {late[0]}")
        return Outcome.held(late[0] if late else "nothing answered inside TLS")


def _handshake_with(prepare: Callable[[ssl.SSLContext], None]) -> Callable[[Target, Arms], Outcome]:
    def play(target: Target, arms: Arms) -> Outcome:
        context = client_context(arms.good)
        prepare(context)
        with Wire(target) as wire:
            wire.greet()
            try:
                return Outcome.fell(wire.start_tls(context))
            except WireEnd as end:
                return Outcome.held(end) if str(end).startswith("TLS") else Outcome.unclear(end)

    return play


def _old(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def prepare(context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that they are deprecated is the point
            context.minimum_version = version
            context.maximum_version = version

    return prepare


def _ciphers(names: str) -> Callable[[ssl.SSLContext], None]:
    def prepare(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{names}:@SECLEVEL=0")

    return prepare


def _as_member(commands: Callable[[Target, Arms], list[str]]) -> Callable[[Target, Arms], Outcome]:
    """A true member asks what it may not: FELL when the last command is taken."""
    def play(target: Target, arms: Arms) -> Outcome:
        if arms.good is None:
            return Outcome.skipped(*NO_GOOD)
        wanted = commands(target, arms)
        if not wanted:
            return Outcome.skipped(*NO_RECIPIENT)
        with Wire(target) as wire:
            wire.greet()
            wire.start_tls(client_context(arms.good))
            for command in [f"EHLO {EHLO_NAME}", *wanted]:
                answer = wire.ask(command)
                if not answer.yes:
                    return Outcome.held(f"{command.partition(':')[0]}: {answer}")
            return Outcome.fell(f"{command.partition(':')[0]}: {answer}")

    return play


def _other_sender(target: Target, arms: Arms) -> list[str]:
    if not target.recipient or not arms.victim:
        return []
    return [f"MAIL FROM:<controle@{arms.victim}>", f"RCPT TO:<{target.recipient}>"]


def _relay_to(form: str) -> Callable[[Target, Arms], list[str]]:
    def commands(target: Target, arms: Arms) -> list[str]:
        path = form.format(victim=arms.victim or "exemple.org", domain=target.domain or "exemple.org")
        return [f"MAIL FROM:<controle@{arms.good_domain}>", f"RCPT TO:<{path}>"]

    return commands


def _other_author(target: Target, arms: Arms) -> Outcome:
    if arms.good is None or not arms.victim or not target.recipient:
        return Outcome.skipped(*(NO_GOOD if arms.good is None else NO_RECIPIENT))
    with Wire(target) as wire:
        wire.greet()
        wire.start_tls(client_context(arms.good))
        for command in (f"EHLO {EHLO_NAME}", f"MAIL FROM:<controle@{arms.good_domain}>", f"RCPT TO:<{target.recipient}>", "DATA"):
            answer = wire.ask(command)
            if not answer.yes:
                return Outcome.unclear(f"{command.partition(':')[0]}: {answer}")
        wire.send(test_letter(f"controle@{arms.victim}", target.recipient, "auteur") + b".\r\n")
        answer = wire.reply()
        return Outcome.fell(answer) if answer.yes else Outcome.held(answer)


def _auth(target: Target, arms: Arms) -> Outcome:
    with Wire(target) as wire:
        wire.greet()
        wire.start_tls(client_context(arms.good))
        answer = wire.ask(f"EHLO {EHLO_NAME}")
        offered = [word for word in answer.text.upper().split(" / ") if word.startswith("AUTH")]
        return Outcome.fell(offered[0]) if offered else Outcome.held(answer)


def test_letter(author: str, recipient: str, mark: str) -> bytes:
    """Give a short letter that says what it is, CRLF at the end, without the final dot."""
    return (f"From: <{author}>\r\nTo: <{recipient}>\r\nSubject: controle de securite (mssante attack)\r\n"
            f"Message-ID: <{mark}@attaque.mssante.test>\r\nX-Attack: {mark}\r\n\r\n"
            "Ce message ne devrait pas etre la : voyez le rapport de mssante attack.\r\n").encode()


ATTACKS = (
    Attack("B-01", "MAIL en clair, sans TLS", "MAIL in clear, without TLS", "spec §2.2.1", _clear),
    Attack("B-02", "commandes injectées derrière STARTTLS", "commands injected behind STARTTLS", "RFC 3207 §4.2", _injection),
    Attack("B-03", "TLS 1.0", "TLS 1.0", "ECO.1.1.1", _handshake_with(_old(ssl.TLSVersion.TLSv1))),
    Attack("B-04", "TLS 1.1", "TLS 1.1", "ECO.1.1.1", _handshake_with(_old(ssl.TLSVersion.TLSv1_1))),
    Attack("B-05", "TLS 1.2 en mode CBC", "TLS 1.2 with CBC", "ECO.1.1.3",
           _handshake_with(_ciphers("ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA"))),
    Attack("B-06", "TLS 1.2 sans échange éphémère (RSA)", "TLS 1.2 with static RSA", "ECO.1.1.3",
           _handshake_with(_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA"))),
    Attack("B-07", "TLS anonyme ou nul", "anonymous or null TLS", "ECO.1.1.3", _handshake_with(_ciphers("aNULL:eNULL"))),
    Attack("B-08", "expéditeur d'un autre membre", "another member's sender", "spec §2.2.5", _as_member(_other_sender)),
    Attack("B-09", "auteur (From) d'un autre membre", "another member as author (From)", "spec §2.2.7", _other_author),
    Attack("B-10", "relais vers un autre membre", "relaying to another member", "spec §2.2.6",
           _as_member(_relay_to("x@{victim}"))),
    Attack("B-11", "relais vers Internet", "relaying to the Internet", "F2.9", _as_member(_relay_to("x@example.org"))),
    Attack("B-12", "relais déguisé (x%autre@cible)", "disguised relaying (x%other@target)", "RFC 5321 §3.6.1",
           _as_member(_relay_to("x%{victim}@{domain}"))),
    Attack("B-13", "relais déguisé (route source)", "disguised relaying (source route)", "RFC 5321 §3.6.1",
           _as_member(_relay_to("@{domain}:x@{victim}"))),
    Attack("B-14", "AUTH offert sur le port des opérateurs", "AUTH offered on the operators' port", "spec §2.2", _auth),
)
