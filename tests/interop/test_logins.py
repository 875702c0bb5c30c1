"""Ways to log in × real clients, against a running alpha: good, expired, wrong audience, other holder, delegate, suspended box.

Every client is a program that we did not write, driven as its user would configure it. The table is written by the test to
`$MSSANTE_REPORT_DIR/logins.md`; a cell says what the client made of it: `yes` (mail was read or sent), `no` (the login was refused),
`no MAIL` (login accepted, sending refused), `-` (the client cannot do that). What is expected is written beside each driver.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import os
import pty
import shutil
import smtplib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from support.lab import RunningLab, as_json, letter, need_programs, report, soon

from mssante.lab.tokens import TokenDesk

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

HOME = "user0021@alpha.mssante.test"
SUSPENDED = "user0022@alpha.mssante.test"
SINK = "user0023@alpha.mssante.test"
SERVICE = "secretariat.cardio@alpha.mssante.test"
APP = "resultats@alpha.mssante.test"
PERSON, OTHER, SUSPENDED_PERSON = "899700000210", "899700000773", "899700000220"
CASES = ("good", "expired", "wrong audience", "other holder", "delegate", "suspended box")
YES, NO, NO_MAIL, CANNOT = "yes", "no", "no MAIL", "-"
EXPECTED = {"imap": (YES, NO, NO, NO, YES, NO), "smtp": (YES, NO, NO, NO, YES, NO_MAIL)}


@dataclass(frozen=True, slots=True)
class Try:
    """One login. secret: token or password; mechanism: SASL name."""

    login: str
    secret: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Bench:
    """The lab, and a folder for what clients need."""

    lab: RunningLab
    folder: Path
    tokens: dict[str, tuple[str, str]]

    @property
    def anchors(self) -> str:
        return str(self.lab.anchors_file)

    def port(self, door: str) -> int:
        return self.lab.address("alpha", door)[1]

    def run(self, *command: object, stdin: bytes = b"", seconds: float = 30, **environment: str) -> tuple[int, str]:
        """Run a program with files for output; give its code and all that it printed."""
        (self.folder / "in").write_bytes(stdin)
        with (self.folder / "in").open("rb") as given, (self.folder / "out").open("wb") as out:
            done = subprocess.run([str(one) for one in command], stdin=given, stdout=out, stderr=out, timeout=seconds, check=False,
                                  env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment})
        return done.returncode, (self.folder / "out").read_text(errors="replace")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def mail(self, sender: str) -> bytes:
        return letter(sender, SINK, f"logins-{time.monotonic_ns()}")


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    lab: RunningLab = request.getfixturevalue("running_lab")
    config = ("-c", lab.folder / "alpha/operator_config")

    def do(*words: object) -> None:
        code, out, error = lab.command(*words, *config)
        assert code == 0, out + error

    do("identity", "link", HOME, "--psc", PERSON)
    do("identity", "link", SUSPENDED, "--psc", SUSPENDED_PERSON)
    do("mailbox", "team", "add", SERVICE, "--member", HOME)
    do("mailbox", "state", SUSPENDED, "suspended")
    desk = TokenDesk(lab.lab)
    tokens = {"good": (HOME, desk.walk("899700000011").access)}  # replaced below: the walk itself must work
    tokens = {"good": (HOME, desk.ask(PERSON)), "expired": (HOME, desk.ask(PERSON, fault="expired")),
              "wrong audience": (HOME, desk.ask(PERSON, client="lab-autre-service")), "other holder": (HOME, desk.ask(OTHER)),
              "delegate": (SERVICE, desk.ask(PERSON)), "suspended box": (SUSPENDED, desk.ask(SUSPENDED_PERSON))}
    yield Bench(lab, tmp_path_factory.mktemp("logins"), tokens)
    do("mailbox", "state", SUSPENDED, "active")
    do("mailbox", "team", "remove", SERVICE, HOME)
    do("identity", "unlink", "--psc", PERSON)
    do("identity", "unlink", "--psc", SUSPENDED_PERSON)


# ------------------------------------------------------------ clients: IMAP


def curl_imap(bench: Bench, one: Try) -> str:
    """curl: tokens by OAUTHBEARER and XOAUTH2, passwords by SCRAM, PLAIN and LOGIN."""
    words = ["--oauth2-bearer", one.secret, "--user", f"{one.login}:"] if one.mechanism in ("XOAUTH2", "OAUTHBEARER") else [
        "--user", f"{one.login}:{one.secret}"]
    code, out = bench.run("curl", "-sS", "--cacert", bench.anchors, "--login-options", f"AUTH={one.mechanism}", *words,
                          f"imaps://localhost:{bench.port('imaps')}/INBOX?ALL")
    return _curl(code, out)


def _curl(code: int, out: str) -> str:
    assert code in (0, 55, 56, 67), out  # 67: login denied; 55, 56: an answer to a command after the login
    return YES if code == 0 else NO if code == 67 else NO_MAIL


def imaplib_xoauth2(bench: Bench, one: Try, *, initial: bool = False) -> str:
    """Python's imaplib sends no initial response: the empty challenge comes first (F6.7)."""
    client = imaplib.IMAP4("localhost", bench.port("imap"), timeout=20)
    client.starttls(bench.lab.anchors())
    said = {"XOAUTH2": f"user={one.login}\1auth=Bearer {one.secret}\1\1",
            "OAUTHBEARER": f"n,a={one.login},\1auth=Bearer {one.secret}\1\1"}[one.mechanism].encode()
    answers = iter([said, b"\1" if one.mechanism == "OAUTHBEARER" else b""])
    try:
        client.authenticate(one.mechanism, lambda _: next(answers))
        return YES if client.select("INBOX")[0] == "OK" else NO
    except imaplib.IMAP4.error:
        return NO
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            client.logout()


def openssl_imap(bench: Bench, one: Try) -> str:
    """By hand over `openssl s_client`, with an initial response (SASL-IR)."""
    said = base64.b64encode(f"user={one.login}\1auth=Bearer {one.secret}\1\1".encode()).decode()
    script = f"a AUTHENTICATE XOAUTH2 {said}\n\nb LOGOUT\n"  # after a refusal the empty line acknowledges it
    _, out = bench.run("sh", "-c", f"(cat; sleep 1) | openssl s_client -quiet -crlf -verify_return_error -CAfile {bench.anchors} "
                                   f"-connect localhost:{bench.port('imaps')} 2>/dev/null", stdin=script.encode())
    assert "a OK" in out or "a NO [AUTH" in out, out
    return YES if "a OK" in out else NO


def mbsync(bench: Bench, one: Try) -> str:
    """isync, with the XOAUTH2 plug-in of Cyrus SASL (libsasl2-modules-kdexoauth2)."""
    shutil.rmtree(bench.folder / "near", ignore_errors=True)
    config = bench.write("mbsyncrc", f"""\
IMAPAccount far
Host localhost
Port {bench.port('imaps')}
User {one.login}
PassCmd "cat {bench.write('secret', one.secret)}"
SSLType IMAPS
SystemCertificates no
CertificateFile {bench.anchors}
AuthMechs {one.mechanism}

IMAPStore far
Account far

MaildirStore near
Path {bench.folder}/near/
Inbox {bench.folder}/near/INBOX
SubFolders Verbatim

Channel box
Far :far:Sent
Near :near:Sent
Create Near
Sync Pull
SyncState *
""")
    (bench.folder / "near").mkdir()
    seconds = "3" if one.mechanism == "XOAUTH2" else "30"  # with a refused token it waits for ever, see the notes; a wrong password is told late
    code, out = bench.run("timeout", seconds, "mbsync", "-c", config, "box")
    assert code == 0 or "wants more steps" in out or "AUTHENTICATE" in out or "login" in out.lower() or "AUTHORIZATIONFAILED" in out, out
    return YES if code == 0 else NO


def offlineimap(bench: Bench, one: Try) -> str:
    """OfflineIMAP: XOAUTH2 with an access token from a command."""
    secret = bench.write("secret", one.secret)
    config = bench.write("offlineimaprc", f"""\
[general]
accounts = a
metadata = {bench.folder}/state
socktimeout = 20
pythonfile = {bench.write('token.py', f"def token(): return open('{secret}').read()")}
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {bench.folder}/off
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {bench.port('imaps')}
remoteuser = {one.login}
ssl = yes
sslcacertfile = {bench.anchors}
auth_mechanisms = XOAUTH2
oauth2_access_token_eval = token()
folderfilter = lambda name: name == 'Sent'
""")
    code, out = bench.run("offlineimap", "-c", config, "-o", "-u", "basic", "-l", bench.folder / "offline.log")
    return YES if code == 0 and "ERROR" not in out else NO


def in_terminal(bench: Bench, program: str, one: Try) -> str:
    """mutt, on a terminal of its own: the token by its refresh command, a message read through a pipe."""
    secret, read = bench.write("secret", one.secret), bench.folder / "read"
    read.unlink(missing_ok=True)
    bench.write("muttrc", f"""\
set folder = "imaps://localhost:{bench.port('imaps')}/"
set spoolfile = "+INBOX"
set imap_user = "{one.login}"
set imap_authenticators = "{one.mechanism.lower()}"
set imap_oauth_refresh_command = "cat {secret}"
set ssl_ca_certificates_file = "{bench.anchors}"
set certificate_file = "{bench.folder}/certificates"
set header_cache = ""
set sleep_time = 0
set wait_key = no
set quit = yes
set pipe_decode = no
""")
    master, slave = pty.openpty()
    keys = f"<first-entry><pipe-message>cat > {read}<enter><quit>"
    process = subprocess.Popen([program, "-n", "-F", str(bench.folder / "muttrc"), "-e", f"push '{keys}'"], stdin=slave, stdout=slave,
                               stderr=slave, cwd=bench.folder, start_new_session=True,
                               env={"HOME": str(bench.folder), "PATH": "/usr/bin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8",
                                    "LINES": "40", "COLUMNS": "120"})
    os.close(slave)
    screen: list[bytes] = []

    def drain() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(master, 65536):
                screen.append(data)

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        soon(lambda: process.poll() is not None or read.exists() or any(one in b"".join(screen) for one in (b"failed", b"No mailbox is open")), 12)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    finally:
        process.kill()
        process.wait(5)
        thread.join(5)
        os.close(master)
    good = read.exists() and b"X-Id" in read.read_bytes()
    refused = any(words in b"".join(screen) for words in (b"failed", b"authenticat", b"No mailbox is open"))
    assert good or refused, b"".join(screen)[-1500:]
    return YES if good else NO


# ------------------------------------------------------------ clients: submission


def curl_smtp(bench: Bench, one: Try) -> str:
    """curl: the same mechanisms, to port 465."""
    words = ["--oauth2-bearer", one.secret, "--user", f"{one.login}:"] if one.mechanism in ("XOAUTH2", "OAUTHBEARER") else [
        "--user", f"{one.login}:{one.secret}"]
    mail = bench.folder / "mail"
    mail.write_bytes(bench.mail(one.login))
    code, out = bench.run("curl", "-sS", "--cacert", bench.anchors, "--login-options", f"AUTH={one.mechanism}", *words,
                          f"smtps://localhost:{bench.port('submissions')}/", "--mail-from", one.login, "--mail-rcpt", SINK, "-T", mail)
    return _curl(code, out)


def smtplib_token(bench: Bench, one: Try) -> str:
    """Python's smtplib, STARTTLS on 587, with an initial response."""
    said = {"XOAUTH2": f"user={one.login}\1auth=Bearer {one.secret}\1\1",
            "OAUTHBEARER": f"n,a={one.login},\1auth=Bearer {one.secret}\1\1"}[one.mechanism]

    def answer(challenge: bytes | None = None) -> str:
        return said if challenge is None else ("\1" if one.mechanism == "OAUTHBEARER" else "")

    with smtplib.SMTP("localhost", bench.port("submission"), timeout=20) as client:
        client.starttls(context=bench.lab.anchors())
        client.ehlo()
        try:
            client.auth(one.mechanism, answer)
        except smtplib.SMTPAuthenticationError as fault:
            assert fault.smtp_code == 535
            return NO
        try:
            client.sendmail(one.login, [SINK], bench.mail(one.login))
        except smtplib.SMTPSenderRefused:
            return NO_MAIL
        return YES


def msmtp(bench: Bench, one: Try, pair: tuple[Path, Path] | None = None) -> str:
    """msmtp 1.8: OAUTHBEARER, XOAUTH2, PLAIN, SCRAM, EXTERNAL, to port 587."""
    more = "" if pair is None else f"tls_cert_file {pair[0]}\ntls_key_file {pair[1]}\n"
    config = bench.write("msmtprc", f"""\
account a
host localhost
port {bench.port('submission')}
tls on
tls_starttls on
tls_trust_file {bench.anchors}
auth {one.mechanism.lower()}
user {one.login}
passwordeval cat {bench.write('secret', one.secret)}
from {one.login}
{more}""")
    code, out = bench.run("msmtp", "-C", config, "-a", "a", SINK, stdin=bench.mail(one.login).replace(b"\r\n", b"\n"))
    if code == 0:
        return YES
    assert code in (77, 69, 65), out  # EX_NOPERM: authentication failed; others: MAIL refused, or EXTERNAL not offered to that certificate
    return NO if code == 77 or "does not support authentication method" in out else NO_MAIL


# ------------------------------------------------------------ the table of tokens

Client = Callable[[Bench, Try], str]
CLIENTS: list[tuple[str, str, str, str, Client, tuple[str, ...]]] = [  # client, program, protocol, mechanism, driver, cases
    ("curl", "curl", "imap", "OAUTHBEARER", curl_imap, CASES), ("curl", "curl", "imap", "XOAUTH2", curl_imap, CASES),
    ("Python imaplib (challenge)", "true", "imap", "XOAUTH2", imaplib_xoauth2, CASES),
    ("Python imaplib (challenge)", "true", "imap", "OAUTHBEARER", imaplib_xoauth2, CASES),
    ("openssl s_client (initial response)", "openssl", "imap", "XOAUTH2", openssl_imap, CASES),
    ("mbsync + kdexoauth2", "mbsync", "imap", "XOAUTH2", mbsync, CASES),
    ("OfflineIMAP", "offlineimap", "imap", "XOAUTH2", offlineimap, CASES),
    ("mutt", "mutt", "imap", "OAUTHBEARER", lambda bench, one: in_terminal(bench, "mutt", one), CASES),
    ("mutt", "mutt", "imap", "XOAUTH2", lambda bench, one: in_terminal(bench, "mutt", one), CASES),
    ("neomutt", "neomutt", "imap", "XOAUTH2", lambda bench, one: in_terminal(bench, "neomutt", one), CASES),
    ("curl", "curl", "smtp", "OAUTHBEARER", curl_smtp, CASES), ("curl", "curl", "smtp", "XOAUTH2", curl_smtp, CASES),
    ("Python smtplib (initial response)", "true", "smtp", "XOAUTH2", smtplib_token, CASES),
    ("Python smtplib (initial response)", "true", "smtp", "OAUTHBEARER", smtplib_token, CASES),
    ("msmtp", "msmtp", "smtp", "OAUTHBEARER", msmtp, CASES), ("msmtp", "msmtp", "smtp", "XOAUTH2", msmtp, CASES),
]
ROWS: list[str] = []


@pytest.mark.parametrize(("name", "program", "protocol", "mechanism", "client", "cases"), CLIENTS,
                         ids=[f"{one[0].split()[-1]}-{one[2]}-{one[3]}".replace("(", "").replace(")", "") + f"-{one[0].split()[0]}" for one in CLIENTS])
def test_tokens(bench: Bench, name: str, program: str, protocol: str, mechanism: str, client: Client, cases: tuple[str, ...]) -> None:
    need_programs(program)
    if program == "mbsync" and not list(Path("/usr/lib").glob("*/sasl2/libkdexoauth2.so*")):
        pytest.skip("not installed on this machine: libsasl2-modules-kdexoauth2")
    if program in ("mutt", "neomutt"):
        for box in (HOME, SERVICE):
            with bench.lab.reader(box) as reader:
                reader.client.append("INBOX", None, None, letter(SINK, box, "logins-mutt"))  # type: ignore[arg-type]
    found = {case: client(bench, Try(*bench.tokens[case], mechanism)) for case in cases}
    ROWS.append(f"| {name} | {protocol} | {mechanism} | " + " | ".join(found[case] for case in CASES) + " |")
    assert found == {case: EXPECTED[protocol][CASES.index(case)] for case in cases}


# ------------------------------------------------------------ passwords and certificates


def test_passwords(bench: Bench) -> None:
    """PLAIN, LOGIN and SCRAM with the account's password; SCRAM proves the password without sending it."""
    need_programs("curl", "msmtp", "mbsync")
    operator = bench.lab.operator("alpha")
    secret = {one.address: one.password for one in operator.accounts}
    tries = {"good": (HOME, secret[HOME]), "wrong": (HOME, "x" + secret[HOME]), "delegate": (SERVICE, secret[HOME]),
             "suspended box": (SUSPENDED, secret[SUSPENDED])}
    for name, client, protocol, mechanisms in (("curl", curl_imap, "imap", ("PLAIN", "LOGIN")), ("mbsync", mbsync, "imap", ("PLAIN", "SCRAM-SHA-256")),
                                               ("curl", curl_smtp, "smtp", ("PLAIN", "LOGIN")), ("msmtp", msmtp, "smtp", ("PLAIN", "SCRAM-SHA-256"))):
        for mechanism in mechanisms:  # what is wrong is tried once for each client: guessing is slowed, so a test of it would be
            cases = tries if mechanism == "PLAIN" else {case: tries[case] for case in ("good", "suspended box")}
            found = {case: client(bench, Try(login, password, mechanism)) for case, (login, password) in cases.items()}
            bad = (f"wrong password: {found['wrong']}", f"with the member's password: {found['delegate']}") if cases is tries else ("as PLAIN",) * 2
            ROWS.append(f"| {name} | {protocol} | {mechanism} | {found['good']} | {bad[0]} | - | - | {bad[1]} | {found['suspended box']} |")
            wanted = {"good": YES, "wrong": NO, "delegate": NO, "suspended box": NO if protocol == "imap" else NO_MAIL}
            assert found == {case: wanted[case] for case in cases}


def refused(bench: Bench, driver: Client, one: Try) -> bool:
    return driver(bench, one) == NO


def test_app_passwords(bench: Bench) -> None:
    """A password of one program: it opens what it was made for, nothing else, and nothing once revoked."""
    need_programs("curl", "msmtp", "mbsync")
    config = ("-c", bench.lab.folder / "alpha/operator_config", "--json")

    def make(scope: str, login: str = HOME) -> dict[str, str]:
        code, out, error = bench.lab.command("account", "app-password", "create", login, "--label", "essai", "--scope", scope, *config)
        assert code == 0, out + error
        return as_json(out)

    clients = {"imap": (("curl", curl_imap), ("mbsync", mbsync)), "submission": (("curl", curl_smtp), ("msmtp", msmtp))}
    for scope, drivers in clients.items():
        made, other = make(scope), make("carddav")
        secret, wrong, shut = made["password"], other["password"], make(scope, SUSPENDED)["password"]
        suspended = {name: client(bench, Try(SUSPENDED, shut, "PLAIN")) for name, client in drivers}
        assert set(suspended.values()) == {NO if scope == "imap" else NO_MAIL}
        before = {name: (client(bench, Try(HOME, secret, "PLAIN")), client(bench, Try(HOME, wrong, "PLAIN"))) for name, client in drivers}
        assert set(before.values()) == {(YES, NO)}
        code, out, error = bench.lab.command("account", "app-password", "revoke", HOME, made["handle"], *config)
        assert code == 0, out + error
        for _, driver in drivers:
            assert soon(partial(refused, bench, driver, Try(HOME, secret, "PLAIN")), 30)
        for name, _ in drivers:
            ROWS.append(f"| {name} | {'imap' if scope == 'imap' else 'smtp'} | app password, PLAIN | yes | revoked: no | other scope: no | - | - | {suspended[name]} |")


def test_certificates(bench: Bench) -> None:
    """EXTERNAL with the certificate of an APP box, and passwords beside certificates that are no good."""
    need_programs("curl", "msmtp")
    lab = bench.lab
    pairs = {"good": (lab.lab.path("alpha/certs/resultats.pem"), lab.lab.path("alpha/certs/resultats.key")),
             "other box": (lab.lab.path("beta/certs/resultats.pem"), lab.lab.path("beta/certs/resultats.key")),
             **{name: lab.peer_files(name) for name in ("expired", "revoked", "foreign_ca", "personnes")},
             "server": lab.peer_files("alpha")}

    def imap(pair: tuple[Path, Path], *words: object) -> str:
        code, out = bench.run("curl", "-sS", "--cacert", bench.anchors, "--cert", pair[0], "--key", pair[1], *words,
                              f"imaps://localhost:{bench.port('imaps')}/INBOX?ALL")
        return _curl(code, out)

    def smtp(pair: tuple[Path, Path], login: str, *words: object) -> str:
        mail = bench.folder / "mail"
        mail.write_bytes(bench.mail(login))
        code, out = bench.run("curl", "-sS", "--cacert", bench.anchors, "--cert", pair[0], "--key", pair[1], *words,
                              f"smtps://localhost:{bench.port('submissions')}/", "--mail-from", login, "--mail-rcpt", SINK, "-T", mail)
        return _curl(code, out)

    external = ("--login-options", "AUTH=EXTERNAL", "--user", f"{APP}:")
    assert {name: imap(pair, *external) for name, pair in pairs.items()} == {name: YES if name == "good" else NO for name in pairs}
    assert {name: smtp(pair, APP, *external) for name, pair in pairs.items()} == {name: YES if name == "good" else NO for name in pairs}
    assert {name: msmtp(bench, Try(APP, "unused", "EXTERNAL"), pair) for name, pair in pairs.items()} == {
        name: YES if name == "good" else NO for name in pairs}
    assert imap(pairs["good"], "--login-options", "AUTH=EXTERNAL", "--user", f"{HOME}:") == NO, "a certificate opens its own box only"
    account = lab.operator("alpha").account(HOME)
    assert account is not None
    user = ("--user", f"{HOME}:{account.password}")
    beside = {name: (imap(pair, *user), smtp(pair, HOME, *user)) for name, pair in pairs.items()}
    assert beside == dict.fromkeys(pairs, (YES, YES)), "no certificate ever breaks a password login"
    config = ("-c", lab.folder / "alpha/operator_config")
    assert lab.command("mailbox", "state", APP, "suspended", *config)[0] == 0
    try:
        assert soon(lambda: imap(pairs["good"], *external) == NO), "its holder is told no while the box is suspended"
        assert soon(lambda: smtp(pairs["good"], APP, *external) == NO_MAIL)
        assert msmtp(bench, Try(APP, "unused", "EXTERNAL"), pairs["good"]) == NO_MAIL
    finally:
        assert lab.command("mailbox", "state", APP, "active", *config)[0] == 0
        assert soon(lambda: lab.takes_mail("alpha", APP))
    for client, protocol, suspended in (("curl --cert", "imap", NO), ("curl --cert", "smtp", NO_MAIL), ("msmtp tls_cert_file", "smtp", NO_MAIL)):
        ROWS.append(f"| {client} | {protocol} | EXTERNAL | yes | no | foreign, PERSONNES, revoked, server: no | other box: no | - | {suspended} |")
    ROWS.append("| curl --cert (bad) + password | imap, smtp | any password | yes | yes | yes | yes | - | - |")


def test_write_the_table() -> None:
    """Last of the file: what was seen, in order."""
    if not ROWS:
        pytest.skip("no client was driven")
    head = ["| client | protocol | mechanism | " + " | ".join(CASES) + " |", "|" + "---|" * 9]
    notes = ["", "`yes` mail read or sent; `no` login refused; `no MAIL` login accepted, sending refused; `-` impossible there, as the lines below say.",
             "Python's `imaplib` sends no initial response; curl sends one by SASL-IR over IMAP and none over SMTP.",
             "mbsync 1.4 needs a SASL plug-in for XOAUTH2 and has none for OAUTHBEARER; when the token is refused the plug-in does not",
             "acknowledge the JSON, and mbsync waits until the server hangs up (60 s).",
             "OfflineIMAP knows XOAUTH2 only. mutt 2.2 takes a token from a command and speaks both mechanisms; NeoMutt 20220429 takes no",
             "token over 512 octets for OAUTHBEARER (4,096 for XOAUTH2: « OAUTH token is too big », before a word on the wire): XOAUTH2 there.",
             "A password has no audience and no holder but its account; a shared box is opened in the member's own session, never under its own name.",
             "A certificate is that of one APP box: no delegate. Thunderbird by token: logins-thunderbird.md.",
             "EXTERNAL: `expired` is an expired certificate, `wrong audience` stands for certificates of another authority or profile."]
    report("logins.md", "\n".join(head + ROWS + notes))


def test_the_real_walk_gives_a_token_that_opens_the_box_and_ends(bench: Bench) -> None:
    """Authorization code with PKCE, refresh; the journal of alpha names the rule of a refusal and never the token."""
    desk = TokenDesk(bench.lab.lab)
    tokens = desk.walk("899700000011")
    claire = "claire.martin@alpha.mssante.test"
    again = desk.refresh(tokens)
    for token in (tokens.access, again.access):
        assert imaplib_xoauth2(bench, Try(claire, token, "XOAUTH2")) == YES
    assert imaplib_xoauth2(bench, Try(claire, tokens.identity, "XOAUTH2")) == NO, "an identity token is no access token"
    desk.rotate()
    code, out, _ = bench.lab.command("journal", "list", "-n", "400", "--json", "-c", bench.lab.folder / "alpha/operator_config")
    assert code == 0 and "PSC-NATURE" in out and tokens.identity not in out and tokens.access not in out
