"""The outbound session machine against scripted servers, whole and octet by octet."""

from __future__ import annotations

import pytest

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.protocol.smtp.client import (
    Ended,
    Event,
    Failed,
    Finished,
    Phase,
    Ready,
    RecipientReply,
    SendBody,
    SmtpClient,
    StartTls,
    Transaction,
)
from mssante.protocol.smtp.extensions import Extensions
from mssante.protocol.smtp.outcomes import fault_outcome, recipient_outcomes, unsendable
from mssante.protocol.smtp.replies import Reply, SmtpFault

ALL = b"250-mx.beta.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
BARE = b"250 mx.beta.test\r\n"
SENDER = MailAddress("claire", "alpha.test")


def box(name: str, **options: object) -> Recipient:
    return Recipient(MailAddress(name, "beta.test"), **options)  # type: ignore[arg-type]


def two(**options: object) -> Transaction:
    return Transaction(SENDER, (box("one"), box("two")), **options)  # type: ignore[arg-type]


class Play:
    """Feeds a client by pieces of `step` octets and writes down what it sends."""

    def __init__(self, step: int = 0) -> None:
        self.client = SmtpClient("mx.alpha.test")
        self.step = step
        self.events: list[Event] = []

    def say(self, data: bytes) -> bytes:
        sent = b""
        step = self.step or max(len(data), 1)
        for start in range(0, len(data), step):
            self.events += self.client.receive(data[start:start + step])
            sent += self.client.data_to_send()
        return sent

    def to_tls(self) -> None:
        assert self.say(b"220 mx.beta.test ESMTP\r\n") == b"EHLO mx.alpha.test\r\n"
        assert self.say(b"250-mx.beta.test\r\n250 STARTTLS\r\n") == b"STARTTLS\r\n"
        assert self.say(b"220 go\r\n") == b""
        assert self.events == [StartTls()]

    def to_ready(self, hello: bytes = ALL) -> None:
        self.to_tls()
        self.client.tls_established()
        assert self.client.data_to_send() == b"EHLO mx.alpha.test\r\n"
        self.say(hello)
        assert isinstance(self.events[-1], Ready)
        self.events.clear()

    def begin(self, transaction: Transaction) -> bytes:
        self.client.begin(transaction)
        return self.client.data_to_send()

    def outcomes(self, fault: SmtpFault | None = None) -> tuple[Outcome, ...]:
        return recipient_outcomes(self.client.replies, fault, remote="mx", dsn=self.client.extensions.dsn)

    def fault(self) -> SmtpFault:
        assert isinstance(self.events[-1], Failed)
        assert self.client.phase is Phase.CLOSED
        assert self.client.data_to_send() == b""
        return self.events[-1].fault


@pytest.mark.parametrize("step", [0, 1, 3])
def test_pipelined_transaction_keeps_every_reply(step: int) -> None:
    play = Play(step)
    play.to_ready()
    transaction = Transaction(
        SENDER,
        (box("one", notify=frozenset({"SUCCESS", "FAILURE"}), orcpt="rfc822;one+2Bx@beta.test"), box("two")),
        size=900, ret="HDRS", envid="id+2B1")
    assert play.begin(transaction) == (
        b"MAIL FROM:<claire@alpha.test> SIZE=900 BODY=8BITMIME RET=HDRS ENVID=id+2B1\r\n"
        b"RCPT TO:<one@beta.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;one+2Bx@beta.test\r\n"
        b"RCPT TO:<two@beta.test>\r\n"
        b"DATA\r\n")
    assert play.say(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 unknown box\r\n354 go\r\n") == b""
    assert play.events[-1] == SendBody()
    assert RecipientReply(1, Reply(550, "5.1.1", ("unknown box",))) in play.events
    play.client.body_sent()
    assert play.client.data_to_send() == b".\r\n"
    play.say(b"250 2.0.0 01ABC queued\r\n")
    assert isinstance(play.events[-1], Finished)
    assert play.outcomes() == (
        Delivered("250 2.0.0 01ABC queued", remote="mx", dsn_relayed=True),
        Refused("550 5.1.1 unknown box", status="5.1.1", remote="mx"),
    )
    play.client.quit()
    assert play.client.data_to_send() == b"QUIT\r\n"
    play.say(b"221 bye\r\n")
    assert isinstance(play.events[-1], Ended)


@pytest.mark.parametrize("step", [0, 1])
def test_without_pipelining_commands_leave_one_by_one_and_without_parameters(step: int) -> None:
    play = Play(step)
    play.to_ready(BARE)
    sent = play.begin(two(size=5, ret="FULL", envid="x"))
    assert sent == b"MAIL FROM:<claire@alpha.test>\r\n"
    assert play.say(b"250 ok\r\n") == b"RCPT TO:<one@beta.test>\r\n"
    assert play.say(b"250 ok\r\n") == b"RCPT TO:<two@beta.test>\r\n"
    assert play.say(b"451 4.3.0 later\r\n") == b"DATA\r\n"
    play.say(b"354 go\r\n")
    play.client.body_sent()
    assert play.client.data_to_send() == b".\r\n"
    play.say(b"250 ok\r\n")
    assert play.outcomes() == (Delivered("250 ok", remote="mx"), Deferred("451 4.3.0 later", remote="mx"))


def test_null_sender_and_utf8() -> None:
    play = Play()
    play.to_ready()
    sent = play.begin(Transaction(None, (Recipient(MailAddress("andré", "beta.test")),), smtputf8=True))
    assert sent == "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<andré@beta.test>\r\nDATA\r\n".encode()


def test_sender_refused_without_pipelining_stops_there() -> None:
    play = Play()
    play.to_ready(BARE)
    play.begin(two())
    assert play.say(b"550 5.7.1 not on the list\r\n") == b""
    assert isinstance(play.events[-1], Finished)
    assert play.outcomes() == (Refused("550 5.7.1 not on the list", status="5.7.1", remote="mx"),) * 2
    assert play.begin(two()) == b"MAIL FROM:<claire@alpha.test>\r\n"


def test_sender_refused_in_a_pipelined_group() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"451 4.7.1 busy\r\n503 no sender\r\n503 no sender\r\n503 no recipients\r\n")
    assert isinstance(play.events[-1], Finished)
    assert play.outcomes() == (Deferred("451 4.7.1 busy", remote="mx"),) * 2
    assert play.begin(two()).startswith(b"RSET\r\nMAIL FROM")
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert play.events[-1] == SendBody()


def test_all_recipients_refused_without_pipelining_sends_no_data() -> None:
    play = Play()
    play.to_ready(BARE)
    play.begin(two())
    play.say(b"250 ok\r\n")
    play.say(b"550 5.1.1 no\r\n")
    assert play.say(b"452 4.2.2 full\r\n") == b""
    assert isinstance(play.events[-1], Finished)
    assert [type(outcome) for outcome in play.outcomes()] == [Refused, Deferred]
    assert play.begin(two()) == b"RSET\r\n"
    assert play.say(b"250 ok\r\n") == b"MAIL FROM:<claire@alpha.test>\r\n"


def test_all_recipients_refused_yet_354_sends_an_empty_message_only() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    assert play.say(b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n") == b".\r\n"
    assert SendBody() not in play.events
    play.say(b"250 2.0.0 taken\r\n")
    assert isinstance(play.events[-1], Finished)
    assert [type(outcome) for outcome in play.outcomes()] == [Refused, Refused]


def test_data_refused_counts_for_the_accepted_ones() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n451 4.3.0 disk\r\n")
    assert play.outcomes() == (
        Deferred("451 4.3.0 disk", remote="mx"), Refused("550 5.1.1 no", status="5.1.1", remote="mx"))


@pytest.mark.parametrize(
    ("final", "kind"), [(b"451 4.3.0 later\r\n", Deferred), (b"554 5.6.0 no\r\n", Refused), (b"250 ok\r\n", Delivered)])
def test_final_reply(final: bytes, kind: type) -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    play.client.body_sent()
    play.client.data_to_send()
    play.say(final)
    assert [type(outcome) for outcome in play.outcomes()] == [kind, kind]
    assert play.client.phase is Phase.READY


# --- hostile receivers -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("step", [0, 1])
def test_stripped_starttls_never_falls_back(step: int) -> None:
    play = Play(step)
    play.say(b"220 mx\r\n")
    assert play.say(b"250-mx\r\n250 PIPELINING\r\n") == b""
    assert play.fault().rule == "SMTP-NO-STARTTLS"


@pytest.mark.parametrize("reply", [b"454 4.7.0 not now\r\n", b"502 5.5.1 what\r\n", b"250 ok\r\n", b"354 go\r\n"])
def test_refused_starttls_never_falls_back(reply: bytes) -> None:
    play = Play()
    play.say(b"220 mx\r\n")
    play.say(b"250-mx\r\n250 STARTTLS\r\n")
    assert play.say(reply) == b""
    assert play.fault().rule in ("SMTP-NO-STARTTLS", "SMTP-REPLY-SYNTAX")


@pytest.mark.parametrize("extra", [b"2", b"250 mx\r\n", b"\r\n", b"250-mx\r\n250 SIZE 1\r\n", b"\x16\x03\x01"])
@pytest.mark.parametrize("apart", [False, True])
def test_data_in_clear_after_220_is_injection(extra: bytes, apart: bool) -> None:
    play = Play()
    play.say(b"220 mx\r\n")
    play.say(b"250-mx\r\n250 STARTTLS\r\n")
    if apart:
        play.say(b"220 go\r\n")
        play.say(extra)
    else:
        play.say(b"220 go\r\n" + extra)
    assert play.fault().rule == "SMTP-STARTTLS-INJECTION"
    with pytest.raises(RuntimeError):
        play.client.tls_established()


def test_replies_before_their_command_are_faults() -> None:
    play = Play()
    play.say(b"220 mx\r\n")
    assert play.say(b"250-mx\r\n250 STARTTLS\r\n220 go\r\n") == b""
    assert play.fault().rule == "SMTP-UNSOLICITED"


def test_announcement_in_clear_is_forgotten() -> None:
    play = Play()
    play.say(b"220 mx\r\n")
    play.say(b"250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 STARTTLS\r\n")
    play.say(b"220 go\r\n")
    play.client.tls_established()
    play.client.data_to_send()
    play.say(BARE)
    assert play.client.extensions == Extensions()


def test_success_before_our_final_dot_is_no_delivery() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n")
    fault = play.fault()
    assert fault.rule == "SMTP-UNSOLICITED"
    assert [type(outcome) for outcome in play.outcomes(fault)] == [Deferred, Deferred]


def test_refusal_in_the_middle_of_the_body_ends_the_session() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    play.say(b"552 5.3.4 too big\r\n")
    assert isinstance(play.events[-1], Ended)
    assert play.outcomes() == (Refused("552 5.3.4 too big", status="5.3.4", remote="mx"),) * 2
    with pytest.raises(RuntimeError):
        play.client.body_sent()


@pytest.mark.parametrize("greeting", [b"421 busy\r\n", b"554 5.7.1 go away\r\n", b"250 hm\r\n"])
def test_refusing_greeting(greeting: bytes) -> None:
    play = Play()
    assert play.say(greeting) == b""
    assert play.fault().rule == "SMTP-GREETING"


def test_421_in_the_middle_keeps_what_was_answered() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n550 5.1.1 no\r\n421 4.3.2 stopping\r\n")
    ended = play.events[-1]
    assert isinstance(ended, Ended)
    assert ended.reply is not None
    fault = SmtpFault("ended", rule="SMTP-ENDED", reply=ended.reply)
    assert play.outcomes(fault) == (
        Refused("550 5.1.1 no", status="5.1.1", remote="mx"),
        Deferred("421 4.3.2 stopping", remote="mx", rule="SMTP-ENDED"))


def test_end_after_the_final_dot_is_unknown() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    play.client.body_sent()
    play.client.data_to_send()
    play.events += play.client.receive_end()
    fault = play.fault()
    assert fault.rule == "SMTP-OUTCOME-UNKNOWN"
    unknown = Deferred("connection closed by the remote server", remote="mx", rule="SMTP-OUTCOME-UNKNOWN")
    assert play.outcomes(fault) == (unknown, unknown)


def test_delivery_before_garbage_still_counts() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    play.client.body_sent()
    play.client.data_to_send()
    play.say(b"250 2.0.0 taken\r\nrubbish\r\n")
    assert [type(event) for event in play.events[-2:]] == [Finished, Failed]
    assert [type(outcome) for outcome in play.outcomes()] == [Delivered, Delivered]


@pytest.mark.parametrize("reply", [b"250 sure\r\n", b"334 auth\r\n"])
def test_senseless_reply_to_data(reply: bytes) -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n250 ok\r\n250 ok\r\n" + reply)
    assert play.fault().rule == "SMTP-REPLY-SYNTAX"


def test_refused_ehlo_in_tls() -> None:
    play = Play()
    play.to_tls()
    play.client.tls_established()
    play.client.data_to_send()
    play.say(b"550 5.7.1 no\r\n")
    assert play.fault().rule == "SMTP-EHLO"


@pytest.mark.parametrize(("when", "act"), [("start", "begin"), ("start", "quit"), ("start", "body_sent"),
                                           ("start", "tls_established"), ("ready", "tls_established")])
def test_acts_out_of_order_are_errors_of_ours(when: str, act: str) -> None:
    play = Play()
    if when == "ready":
        play.to_ready()
    with pytest.raises(RuntimeError):
        getattr(play.client, act)(*([two()] if act == "begin" else []))


# --- what may be built -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("local", ["a\r\nRCPT TO:<x", "a\nb", "a\rb", "a\x00b", "a b", "a>b", "", "a\x7f", "x" * 260])
def test_command_injection_through_addresses_is_refused(local: str) -> None:
    bad = MailAddress(local, "beta.test")
    for sender, recipient in ((bad, box("one").address), (SENDER, bad)):
        with pytest.raises(InputFault) as caught:
            Transaction(sender, (Recipient(recipient),))
        assert caught.value.rule == "SMTP-ADDRESS"


@pytest.mark.parametrize("domain", ["beta.test\r\nDATA", "", "beta test", "béta.test"])
def test_command_injection_through_domains_is_refused(domain: str) -> None:
    with pytest.raises(InputFault):
        Transaction(SENDER, (Recipient(MailAddress("one", domain)),))


@pytest.mark.parametrize(
    "options",
    [{"envid": "a b"}, {"envid": "a\r\nRSET"}, {"envid": "a+zz"}, {"envid": "x" * 101}, {"ret": "HDRS\r\n"},
     {"ret": "ALL"}, {"size": -1}, {"recipients": ()}, {"recipients": (box("one"),) * 1001},
     {"recipients": (box("one", notify=frozenset({"NEVER", "DELAY"})),)},
     {"recipients": (box("one", notify=frozenset({"X\r\nY"})),)},
     {"recipients": (box("one", orcpt="rfc822;a\r\nb"),)},
     {"recipients": (box("one", orcpt="nothing"),)}],
)
def test_parameters_that_could_inject_are_refused(options: dict[str, object]) -> None:
    values: dict[str, object] = {"sender": SENDER, "recipients": (box("one"),), **options}
    with pytest.raises(InputFault) as caught:
        Transaction(**values)  # type: ignore[arg-type]
    assert caught.value.rule == "SMTP-PARAMETER"


@pytest.mark.parametrize("name", ["", "mx alpha", "mx\r\nNOOP", "-mx", "mx.\u00e9", "[127.0.0.1"])
def test_ehlo_name_is_checked(name: str) -> None:
    with pytest.raises(InputFault):
        SmtpClient(name)


def test_what_the_server_cannot_take_is_not_tried() -> None:
    size = unsendable(two(size=1001), Extensions(frozenset({"SIZE"}), 1000))
    assert size is not None and (size.status, size.rule) == ("5.3.4", "SMTP-SIZE")
    utf8 = unsendable(two(smtputf8=True), Extensions())
    assert utf8 is not None and utf8.status == "5.6.7"
    eight = unsendable(two(body_8bit=True), Extensions())
    assert eight is not None and eight.status == "5.6.3"
    assert unsendable(two(size=1000, body_8bit=True), Extensions(frozenset({"SIZE", "8BITMIME"}), 1000)) is None


@pytest.mark.parametrize(("code", "status"), [(512, "5.1.2"), (552, "5.2.2"), (550, "5.1.1"), (599, "5.0.0")])
def test_status_of_bare_codes(code: int, status: str) -> None:
    play = Play()
    play.to_ready()
    play.begin(Transaction(SENDER, (box("one"),)))
    play.say(b"250 ok\r\n%d no\r\n503 no\r\n" % code)
    (outcome,) = play.outcomes()
    assert isinstance(outcome, Refused)
    assert outcome.status == status


def test_552_to_one_of_many_recipients_is_tried_again() -> None:
    play = Play()
    play.to_ready()
    play.begin(two())
    play.say(b"250 ok\r\n552 too many recipients\r\n552 5.2.2 full\r\n503 no\r\n")
    assert [type(outcome) for outcome in play.outcomes()] == [Deferred, Refused]


def test_unsendable_content_is_refused_and_unknown_faults_wait() -> None:
    assert isinstance(fault_outcome(InputFault("x", rule="SMTP-BARE-LF"), "mx"), Refused)
    assert isinstance(fault_outcome(SmtpFault("x", rule="SMTP-CLOSED"), "mx"), Deferred)
