"""Scripts made to hurt: depth, size, growth, matching; each a fault with its line, or done in bounded work."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mssante.protocol.sieve.actions import Outcome
from mssante.protocol.sieve.compile import compile_script
from mssante.protocol.sieve.faults import SieveFault, SieveRunFault
from mssante.protocol.sieve.interpreter import Surroundings
from mssante.protocol.sieve.match import glob
from mssante.protocol.sieve.message import MessageView

AROUND = Surroundings(datetime(2026, 3, 1, 12, tzinfo=UTC), lambda name: name == "INBOX")


def run(script: str, head: bytes = b"Subject: a\r\n\r\n") -> Outcome:
    return compile_script(script.encode()).run(MessageView.of(head, sender="s@a.fr", recipient="r@b.fr", size=100), AROUND)


@pytest.mark.parametrize(("script", "line"), [
    ("if " + "not " * 10_000 + "true {}", 1), ("if true {" * 10_000, 1), ("if " + "anyof(" * 10_000, 1),
    ("\n\nkeep", 3), ("keep;\n/* sans fin", 2), ('\nfileinto "x";', 2), ('require "fileinto";\nfileinto "x"\n;\nfoo;', 4),
    ('keep "x";', 1), ("if size :over 1Q {}", 1), ("if size :over 99999999999999G {}", 1), ('require "ereject";', 1),
    ('require "fileinto";\nfileinto text:\nsans fin', 2), ("else {}", 1), ("if true {} else {} elsif true {}", 1),
    ("keep;\nrequire \"fileinto\";", 2), ('if header :is :contains "a" "b" {}', 1), ('if header :zzz "a" "b" {}', 1),
    ('if header :comparator "i;x" "a" "b" {}', 1), ('if header "a b" "b" {}', 1), ('if true, false {}', 1), ("#" * 70_000, 1),
    ('if header "a" [' + ",".join(['"x"'] * 600) + "] {}", 1), ("keep; " * 12_000, 1), ("stop; \x00", 1),
    ('if header :matches "a" "' + "*" * 2000 + '" {}', 1), ('redirect "pas une adresse";', 1),
])
def test_bad_scripts_have_a_line(script: str, line: int) -> None:
    with pytest.raises(SieveFault) as caught:
        compile_script(script.encode())
    assert caught.value.line == line and f" {line} " in caught.value.public.replace(":", " ")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(SieveFault) as caught:
        compile_script(b"keep;\n\xff")
    assert caught.value.line == 2


def test_growth_is_bounded() -> None:
    script = 'require "variables"; set "a" "' + "x" * 64 + '";' + 'set "a" "${a}${a}${a}${a}";' * 60 + 'set :length "n" "${a}";' \
             + 'if string "${n}" "4096" { discard; }'
    assert str(run(script).actions) == "(Discard(),)"


def test_too_many_actions_and_work() -> None:
    with pytest.raises(SieveRunFault):
        run('require ["fileinto","copy"];' + "".join(f'fileinto :copy "f{n}";' for n in range(40)))
    with pytest.raises(SieveRunFault):
        run('require "vacation"; vacation "a"; vacation "b";')
    with pytest.raises(SieveRunFault):
        run('if header :matches "subject" "' + "*?a" * 300 + '" {}' * 1, b"Subject: " + b"ab" * 4000 + b"\r\n\r\n")


@pytest.mark.parametrize(("pattern", "text", "found"), [
    ("*", "abc", ["abc", "abc"]), ("a*c", "abc", ["abc", "b"]), ("*b*", "abcb", ["abcb", "a", "cb"]), ("?b?", "abc", ["abc", "a", "c"]),
    ("a\\*c", "a*c", ["a*c"]), ("a\\*c", "abc", None), ("*a*a*a", "aaa", ["aaa", "", "", ""]), ("a*a", "a", None), ("", "", [""]),
    ("*[*]*", "re: [x] y]", ["re: [x] y]", "re: ", "x", " y]"]), ("É*", "Éa", ["Éa", "a"]), ("é*", "Éa", None), ("??", "a", None),
    ("a*?", "ab", ["ab", "", "b"]), ("A*", "abc", ["abc", "bc"]),
])
def test_globs(pattern: str, text: str, found: list[str] | None) -> None:
    assert glob(pattern, True).match(text) == found


def test_exponential_patterns_do_linear_work() -> None:
    pattern = glob("*a" * 400 + "b", False)
    assert pattern.match("a" * 8000) is None and pattern.cost(8000) < 4_000_000


@pytest.mark.parametrize("test", [
    'date :zone "+0100" "date" "hour" "13"', 'currentdate :zone "+0000" "iso8601" "2026-03-01T12:00:00+00:00"',
    'currentdate :value "ge" :zone "+0000" "date" "2026-01-01"', 'date :originalzone "date" "zone" "-0500"',
    'currentdate :zone "+0000" "weekday" "0"', 'currentdate :zone "+0000" "julian" "61100"',
    'header :index 2 :last "x-a" "un"', 'header :count "eq" :comparator "i;ascii-numeric" "x-a" "3"',
    'header :value "gt" :comparator "i;ascii-numeric" "x-n" "9"', 'not header :contains "x-absent" ""',
    'header :is "subject" "été"', 'address :user "to" "r"', 'address :detail "to" "mot"', 'envelope :domain "from" "A.FR"',
    'mailboxexists "INBOX"', 'not mailboxexists ["INBOX","x"]', 'string "${hex:41}" "a"',
    'anyof(false, allof(true, not false))', "size :under 101", "not size :over 100", 'exists ["subject","date"]',
])
def test_what_tests_say(test: str) -> None:
    head = (b"Date: Sun, 1 Mar 2026 07:00:00 -0500\r\nSubject: =?utf-8?q?=C3=A9t=C3=A9?=\r\nX-A: zero\r\nX-A: un\r\nX-A: deux\r\n"
            b"X-N: 10\r\nTo: R <r+mot@b.fr>\r\n\r\n")
    script = ('require ["date","relational","index","comparator-i;ascii-numeric","subaddress","envelope","mailbox","variables",'
              '"encoded-character"]; if ' + test + " { discard; }")
    assert str(run(script, head).actions) == "(Discard(),)"
