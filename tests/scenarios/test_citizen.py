"""Exchanges with citizens over the wire: a table of cases and outcomes, the returns told in words, and the scan of what is kept.

Professionals of alpha write through their submission door, citizens answer through that of `patient.mssante.test`, returns of the
national service come in through the operators' door with the certificate of the citizens' operator. With MSSANTE_REPORT_DIR the
table is written there as `citizen.md`. Sources: spec §9 (F9.1 to F9.15), §7.5, ECO.2.1.1, ECO.2.2.6, ECO.2.2.8.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support.citizens import DOMAIN, NAMES, Written, archive, cda, command, matricule, scan_for, sealed, submit, write
from support.lab import Reply, RunningLab, need_programs, report, soon

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CLAIRE, SERVICE, PAUL = "claire.martin@alpha.mssante.test", "secretariat.cardio@alpha.mssante.test", "paul.durand@beta.mssante.test"
INS, OTHER = "279035121518989", "162018885045327"
USER, NEIGHBOUR = f"{INS}@{DOMAIN}", f"{OTHER}@{DOMAIN}"
SHUT, NOBODY, CORSE = matricule("1550799999901"), matricule("2660899999902"), matricule("155072A999903")
ROWS: list[tuple[str, str, str]] = []


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. code 250: taken; rule: of the refusal."""

    name: str
    moment: str
    code: int
    rule: str
    attempt: Callable[[RunningLab], tuple[str, Reply]]


def to_citizen(address: str = USER, sender: str = CLAIRE, *, size: int = 0, **more: object) -> Callable[[RunningLab], tuple[str, Reply]]:
    """A professional writes to a citizen."""
    return lambda lab: submit(lab, sender, [address], write(sender, address, **more).raw, size=size)  # type: ignore[arg-type]


def to_sealed(lab: RunningLab) -> tuple[str, Reply]:
    return submit(lab, CLAIRE, [USER], sealed(CLAIRE, USER).raw)


def as_peer(peer: str, sender: str, recipient: str) -> Callable[[RunningLab], tuple[str, Reply]]:
    """Another operator sends."""
    def attempt(lab: RunningLab) -> tuple[str, Reply]:
        with lab.session_as(peer, "alpha" if "alpha" in recipient else "citizen") as wire:
            return "operator port", wire.deliver(sender, [recipient], write(sender, recipient).raw)
    return attempt


KEYLESS = f"{INS[:13]}{(int(INS[13:]) % 97) + 1:02d}"
CASES = (
    Case("lettre simple d'une BAL PER", "end of DATA", 250, "", to_citizen()),
    Case("lettre simple d'une BAL ORG", "end of DATA", 250, "", to_citizen(sender=SERVICE)),
    Case("clé du matricule fausse", "RCPT", 553, "INS-ADRESSE", to_citizen(f"{KEYLESS}@{DOMAIN}")),
    Case("13 chiffres, sans la clé", "RCPT", 553, "INS-ADRESSE", to_citizen(f"{INS[:13]}@{DOMAIN}")),
    Case("ce n'est pas un matricule", "RCPT", 553, "INS-ADRESSE", to_citizen(f"camille@{DOMAIN}")),
    Case("matricule corse en lettres, 2A, clé juste", "end of DATA", 250, "", to_citizen(f"{CORSE}@{DOMAIN}")),
    Case("matricule corse, 2a en minuscule", "end of DATA", 250, "", to_citizen(f"{CORSE.lower()}@{DOMAIN}")),
    Case("26 Mo annoncés par SIZE=", "RCPT", 552, "TAILLE", to_citizen(size=26_000_000)),
    Case("chiffré par S/MIME", "end of DATA", 554, "CITOYEN-CHIFFRE", to_sealed),
    Case("Reply-To hors de l'espace de confiance", "end of DATA", 554, "CITOYEN-REPLY-TO", to_citizen(Reply_To="moi@ailleurs.example")),
    Case("Reply-To vers un usager", "end of DATA", 554, "CITOYEN-REPLY-TO", to_citizen(Reply_To=NEIGHBOUR)),
    Case("Reply-To vers une BAL qui n'existe pas", "end of DATA", 554, "CITOYEN-REPLY-TO",
         to_citizen(Reply_To="personne@alpha.mssante.test")),
    Case("document du patient destinataire", "end of DATA", 250, "", to_citizen(zipped=[archive(cda(INS))])),
    Case("document d'un autre patient", "end of DATA", 554, "CITOYEN-AUTRE-PATIENT", to_citizen(zipped=[archive(cda(OTHER))])),
    Case("documents de deux patients", "end of DATA", 554, "CITOYEN-DEUX-PATIENTS",
         to_citizen(zipped=[archive(cda(INS)), archive(cda(OTHER, number=2))])),
    Case("document sans INS", "end of DATA", 554, "CITOYEN-INS-NON-QUALIFIE", to_citizen(zipped=[archive(cda(""))])),
    Case("un autre opérateur écrit au nom d'un usager", "operator port", 550, "LB-LIAISON", as_peer("gamma", USER, CLAIRE)),
    Case("un usager écrit à qui ne lui a pas écrit", "RCPT", 550, "CITOYEN-SANS-ECHANGE",
         lambda lab: submit(lab, NEIGHBOUR, [PAUL], write(NEIGHBOUR, PAUL).raw)),
    Case("un usager écrit à un usager", "RCPT", 550, "CITOYEN-PROFESSIONNELS",
         lambda lab: submit(lab, NEIGHBOUR, [USER], write(NEIGHBOUR, USER).raw)),
)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write what all tests of this file found."""
    yield
    lines = ["| cas | moment | issue |", "| --- | --- | --- |", *[f"| {name} | {moment} | {outcome} |" for name, moment, outcome in ROWS]]
    report("citizen.md", "\n".join(["# Échanges avec les usagers, sur le fil", "", *lines]))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(running_lab: RunningLab, case: Case) -> None:
    moment, reply = case.attempt(running_lab)
    ROWS.append((case.name, moment, f"{reply.code} {reply.rule}".strip()))
    assert (moment, reply.code, reply.rule) == (case.moment, case.code, case.rule), reply
    assert all(word not in reply.text for word in (INS, OTHER, KEYLESS)), "a refusal never repeats a matricule"


def sent(lab: RunningLab, sender: str, to: str, **more: str) -> Written:
    """Send and make sure that it was taken."""
    made = write(sender, to, **more)  # type: ignore[arg-type]
    moment, reply = submit(lab, sender, [to], made.raw)
    assert (moment, reply.code) == ("end of DATA", 250), reply
    return made


def arrived(lab: RunningLab, address: str, made: Written) -> bytes:
    with lab.reader(address) as reader:
        raw = reader.wait_for(made.mark)
    assert raw.endswith(made.raw), "what was sent is there, octet for octet, behind our header lines"
    return raw


def answer(lab: RunningLab, citizen: str, to: str, *, about: Written | None = None) -> tuple[Written, str, Reply]:
    more = {"In_Reply_To": about.reference} if about is not None else {}
    made = write(citizen, to, subject="Re: votre message", **more)  # type: ignore[arg-type]
    return (made, *submit(lab, citizen, [to], made.raw))


def test_an_answer_without_references_is_threaded_beside(running_lab: RunningLab) -> None:
    first = sent(running_lab, CLAIRE, USER)
    arrived(running_lab, USER, first)
    made, moment, reply = answer(running_lab, USER, CLAIRE)
    assert reply.code == 250, reply
    raw = arrived(running_lab, CLAIRE, made)
    ours = raw[:-len(made.raw)].decode()
    assert "X-MSS-Echange: v=1; fil=<usager-" in ours and "lien=table" in ours and "\nIn-Reply-To: <usager-" in ours
    ROWS.append(("réponse sans In-Reply-To ni References", moment, "250, reliée par nos en-têtes au premier message, original intact"))
    made, moment, reply = answer(running_lab, USER, CLAIRE, about=first)
    raw = arrived(running_lab, CLAIRE, made)
    ours = raw[:-len(made.raw)].decode()
    assert f"fil={first.reference};" in ours and "lien=message" in ours and "\nIn-Reply-To" not in ours
    ROWS.append(("réponse avec In-Reply-To", moment, "250, reliée par ses propres en-têtes"))


def test_fin_closes_the_exchange_and_a_new_message_opens_it_again(running_lab: RunningLab) -> None:
    first = sent(running_lab, SERVICE, NEIGHBOUR)
    arrived(running_lab, NEIGHBOUR, first)
    last = sent(running_lab, SERVICE, NEIGHBOUR, In_Reply_To=first.reference, X_MSS_MES="FIN")
    arrived(running_lab, NEIGHBOUR, last)
    _, moment, reply = answer(running_lab, NEIGHBOUR, SERVICE, about=last)
    ROWS.append(("réponse à un message X-MSS-MES: FIN", moment, f"{reply.code} {reply.rule}"))
    assert (reply.code, reply.rule) == (550, "CITOYEN-FIN")
    again = sent(running_lab, SERVICE, NEIGHBOUR)
    arrived(running_lab, NEIGHBOUR, again)
    _, moment, reply = answer(running_lab, NEIGHBOUR, SERVICE, about=again)
    ROWS.append(("nouveau message sans FIN, puis réponse", moment, str(reply.code)))
    assert reply.code == 250
    _, moment, reply = answer(running_lab, NEIGHBOUR, SERVICE, about=last)
    ROWS.append(("réponse à l'échange clos, un autre étant ouvert", moment, f"{reply.code} {reply.rule}"))
    assert (reply.code, reply.rule) == (550, "CITOYEN-FIN")
    end = sent(running_lab, SERVICE, NEIGHBOUR, subject="[FIN]")
    arrived(running_lab, NEIGHBOUR, end)
    _, moment, reply = answer(running_lab, NEIGHBOUR, SERVICE, about=again)
    ROWS.append(("réponse après un message d'objet [FIN]", moment, f"{reply.code} {reply.rule}"))
    assert (reply.code, reply.rule) == (550, "CITOYEN-FIN")


def test_answers_go_to_the_service_of_reply_to(running_lab: RunningLab) -> None:
    first = sent(running_lab, PAUL, NEIGHBOUR, Reply_To="labo.biologie@beta.mssante.test")
    arrived(running_lab, NEIGHBOUR, first)
    _, moment, reply = answer(running_lab, NEIGHBOUR, PAUL, about=first)
    ROWS.append(("réponse à l'auteur quand Reply-To nomme le service", moment, f"{reply.code} {reply.rule}"))
    assert (reply.code, reply.rule) == (550, "CITOYEN-SANS-ECHANGE"), "Reply-To takes the place of the author (F9.9)"
    made, moment, reply = answer(running_lab, NEIGHBOUR, "labo.biologie@beta.mssante.test")
    assert reply.code == 250
    raw = arrived(running_lab, "labo.biologie@beta.mssante.test", made)
    assert f"fil={first.reference};".encode() in raw[:-len(made.raw)], "threaded in the service's mailbox too"
    ROWS.append(("réponse au service nommé par Reply-To", moment, "250, reliée dans la boîte du service"))


def note_about(lab: RunningLab, made: Written) -> bytes:
    """Wait for the note that stands beside a return, in the thread of the sent message."""
    found: list[bytes] = []

    def look() -> bool:
        with lab.reader(CLAIRE) as reader:
            _, uids = reader.client.uid("SEARCH", "HEADER", "X-MSS-Echange", "cause=", "HEADER", "In-Reply-To", made.reference)
            found[:] = [reader.fetch(uid.decode()) for uid in (uids[0] or b"").split()]
        return bool(found)

    assert soon(look), "no note"
    assert len(found) == 1, "one note, however often the return comes"
    return found[0]


def trace_of(lab: RunningLab, made: Written) -> str:
    """What `mssante trace` tells of the sent message."""
    note = note_about(lab, made).decode()
    body = note.partition("\r\n\r\n")[2].replace("=\r\n", "")
    trace_id = next(line.rpartition(":")[2].strip() for line in body.splitlines() if "rence de votre message" in line)
    return command(lab, "alpha", "trace", trace_id)


@pytest.mark.parametrize(("name", "local", "cause"), [("usager inconnu du service national", NOBODY, "unknown"),
                                                      ("espace fermé, jamais ouvert", SHUT, "closed")])
def test_what_is_not_delivered_is_told_by_a_later_mail_and_in_words(running_lab: RunningLab, name: str, local: str, cause: str) -> None:
    if cause == "closed":
        command(running_lab, "citizen", "mailbox", "add", f"{SHUT}@{DOMAIN}", "--type", "per")
        command(running_lab, "citizen", "mailbox", "close", f"{SHUT}@{DOMAIN}")
    made = sent(running_lab, CLAIRE, f"{local}@{DOMAIN}")
    note = note_about(running_lab, made)
    ROWS.append((name, "message ultérieur", f"250 au dépôt, puis retour classé {cause}, note dans le fil"))
    assert f"cause={cause}".encode() in note and local.encode() not in note
    with running_lab.reader(CLAIRE) as reader:
        _, uids = reader.client.uid("SEARCH", "HEADER", "In-Reply-To", made.reference, "SUBJECT", "distribu")
        assert len((uids[0] or b"").split()) == 1, "the return itself is there"
    told = trace_of(running_lab, made)
    assert "returned by the citizens' service" in told and local not in told


@pytest.mark.parametrize(("name", "subject", "text", "cause"), [
    ("retour : plus de 25 Mo", "Undelivered Mail Returned to Sender", "message size exceeds the limit of 25 MB", "too_big"),
    ("retour : échange clos", "Message non distribué", "L'échange est clos, vous n'êtes plus autorisé à écrire.", "no_exchange"),
    ("retour : texte que rien ne connaît", "Message non distribué", "Motif 4711.", "other"),
])
def test_returns_of_the_national_service_are_classified(running_lab: RunningLab, name: str, subject: str, text: str, cause: str) -> None:
    made = sent(running_lab, CLAIRE, USER)
    back = write(f"ne-pas-repondre@{DOMAIN}", CLAIRE, subject=subject, text=f"{text}\n", In_Reply_To=made.reference)
    for _ in range(2):  # the national service may send it again
        with running_lab.session_as("citizen", "alpha") as wire:
            wire.ask(b"MAIL FROM:<>")
            reply = wire.ask(f"RCPT TO:<{CLAIRE}>".encode())
            assert reply.code == 250
            wire.ask(b"DATA")
            wire.send(back.raw + b".\r\n")
            assert wire.read_reply().code == 250
    note = note_about(running_lab, made)
    assert f"cause={cause}".encode() in note
    ROWS.append((name, "message du service", f"classé {cause}, une note dans le fil, retour gardé tel quel"))
    arrived(running_lab, CLAIRE, back)


def test_what_is_too_big_is_taken_then_returned(running_lab: RunningLab) -> None:
    sender = "medecin@gamma.mssante.test"
    before = running_lab.metric("citizen", "mssante_citizen_messages_total", "undelivered")
    made = write(sender, USER)
    raw = made.raw + b"x" * 76 + (b"\r\n" + b"x" * 998) * 25_500
    with running_lab.session_as("gamma", "citizen") as wire:
        assert wire.deliver(sender, [USER], raw + b"\r\n").code == 250, "told by a later message (F9.7)"
    assert soon(lambda: running_lab.metric("citizen", "mssante_citizen_messages_total", "undelivered") > before)
    with running_lab.reader(USER) as reader:
        assert reader.whole(made.mark) == []
    ROWS.append(("25,5 Mo par un autre opérateur", "message ultérieur", "250, rien n'est déposé, « Undelivered Mail Returned to Sender »"))


def _asked(lab: RunningLab, operator: str, login: str, address: str) -> list[str]:
    """What every face of the directory says of an address to somebody who is logged in: the code, and whether a name comes with it."""
    need_programs("ldapsearch", "curl")
    account = lab.operator(operator).account(login)
    assert account is not None
    who, secret = account.login, account.password
    host, port = lab.address(operator, "ldaps")
    told = []
    environment = {**os.environ, "LDAPTLS_CACERT": str(lab.anchors_file), "LDAPTLS_REQCERT": "demand"}
    for base, scope, wanted in ((f"mail={address},ou=annuaire,o=mssante", "base", "(objectClass=*)"),
                                ("ou=annuaire,o=mssante", "sub", f"(mail={address})"),
                                ("ou=annuaire,o=mssante", "sub", f"(|(cn=*{address[:15]}*)(mail=*{address[:15]}*))")):
        done = subprocess.run(["ldapsearch", "-H", f"ldaps://{host}:{port}", "-x", "-D", who, "-w", secret, "-LLL", "-b", base, "-s", scope,
                               wanted, "mail", "cn"], env=environment, capture_output=True, timeout=20, check=False)
        told.append(f"ldap {scope} {done.returncode} {b'cn:' in done.stdout}")
    host, port = lab.address(operator, "web")
    card = f"/carddav/directory/{address}.vcf"
    query = ('<C:addressbook-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><D:prop><C:address-data/></D:prop><C:filter>'
             f'<C:prop-filter name="EMAIL"><C:text-match>{address[:15]}</C:text-match></C:prop-filter></C:filter></C:addressbook-query>')
    several = ('<C:addressbook-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><D:prop><C:address-data/></D:prop>'
               f"<D:href>{card}</D:href></C:addressbook-multiget>")
    for method, path, body in (("GET", f"/api/directory/entries/{address}", ""), ("GET", f"/api/directory/search?text={address[:15]}", ""),
                               ("GET", f"/api/directory/search?text={address}", ""), ("GET", card, ""), ("PROPFIND", card, ""),
                               ("REPORT", "/carddav/directory/", query), ("REPORT", "/carddav/directory/", several),
                               ("PROPFIND", "/carddav/books/colleagues/", "")):
        done = subprocess.run(["curl", "-sS", "--cacert", lab.anchors_file, "-u", f"{who}:{secret}", "-X", method, "-H", "Depth: 1", "-w", "\n%{http_code}",
                               *(["-H", "Content-Type: text/xml", "--data", body] if body else []), f"https://{host}:{port}{path}"],
                              capture_output=True, timeout=20, check=False)
        text, _, code = done.stdout.decode().rpartition("\n")
        told.append(f"{method} {path.replace(address, 'X').replace(address[:15], 'N')} {code} " + text.replace(address, "X").replace(address[:15], "N"))
    return told


@pytest.mark.parametrize(("operator", "login"), [("citizen", NEIGHBOUR), ("alpha", CLAIRE)])
def test_no_face_of_the_directory_tells_of_a_citizen(running_lab: RunningLab, operator: str, login: str) -> None:
    """A box that exists and one that does not answer alike, whoever is logged in; a professional's entry shows that the door answers."""
    held, none = _asked(running_lab, operator, login, USER), _asked(running_lab, operator, login, f"{NOBODY}@{DOMAIN}")
    assert held == none
    assert [line.split()[-1] for line in held[:3]] == ["False"] * 3 and " 404 " in held[3], held
    assert all("VCARD" not in line and "BEGIN" not in line for line in held[6:10]), held
    if operator == "alpha":
        shown = _asked(running_lab, operator, login, CLAIRE)
        assert shown[0] == "ldap base 0 True" and " 200 " in shown[3] and "BEGIN:VCARD" in shown[6] and "BEGIN:VCARD" in shown[9], shown
    ROWS.append((f"annuaire (LDAPS, API, CardDAV) interrogé sur un usager par {login.partition('@')[2]}", "fin",
                 "même réponse que pour une adresse inconnue"))


def test_nothing_that_is_kept_in_clear_names_a_citizen(running_lab: RunningLab) -> None:
    """Last of the file: after all of the above."""
    words = [INS, OTHER, SHUT, NOBODY, CORSE, KEYLESS, *NAMES, "Suites de votre consultation"]
    found = scan_for(running_lab, words)
    ROWS.append((f"recherche de {len(words)} matricules, noms et objets dans journaux, exports et métriques", "fin", f"{len(found)} trouvé"))
    assert found == {}
