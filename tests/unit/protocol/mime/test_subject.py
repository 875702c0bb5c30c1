"""Base subjects (RFC 5256 §2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.mime.subject import base_subject


@pytest.mark.parametrize(("subject", "base", "answers"), [
    ("Compte rendu", "Compte rendu", False),
    ("Re: Compte rendu", "Compte rendu", True),
    ("RE: re:Fwd: Compte rendu", "Compte rendu", True),
    ("fw: a", "a", True),
    ("Re[2]: a", "a", True),
    ("Re [liste] : a", "a", True),
    ("[liste] Re: a", "a", True),
    ("[liste] [autre] a", "a", False),
    ("[liste]", "[liste]", False),  # what would be left is empty
    ("[un] [deux]", "[deux]", False),
    ("Re: [liste]", "[liste]", True),
    ("a (fwd)", "a", True),
    ("a (FWD) (fwd)  ", "a", True),
    ("[fwd: a]", "a", True),
    ("[Fwd: Re: [liste] a (fwd)]", "a", True),
    ("Re: [fwd: [fwd: a]]", "a", True),
    ("  a \t\r\n  b ", "a b", False),
    ("Re:", "", True),
    ("", "", False),
    ("(fwd)", "", True),
    ("Regarding: a", "Regarding: a", False),
    ("Rendez-vous", "Rendez-vous", False),
    ("fwda: b", "fwda: b", False),
    ("a [b]", "a [b]", False),
    ("R\u00e9: a", "R\u00e9: a", False),
])
def test_base(subject: str, base: str, answers: bool) -> None:
    assert base_subject(subject) == (base, answers)


PIECES = st.sampled_from(["Re:", "re ", "FW:", "fwd", ":", "[x]", "[", "]", "[fwd:", "(fwd)", " ", "  ", "\t", "a", "\u00e9", "(", ")"])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_a_base_is_its_own_base(subject: str) -> None:
    base, _ = base_subject(subject)
    assert base_subject(base) == (base, False)
    assert base in " ".join(subject.split())


@given(st.lists(PIECES, max_size=8).map("".join), st.sampled_from(["Re: ", "[x] Fwd: ", "fw [y] :"]))
def test_an_answer_has_the_base_of_what_it_answers(subject: str, prefix: str) -> None:
    if not subject.strip().endswith("]") or "[fwd:" not in subject.lower():  # a blob that closes `[fwd:` changes what is wrapped
        assert base_subject(prefix + subject) == (base_subject(subject)[0], True)


@pytest.mark.parametrize("subject", ["[a]" * 20_000, "Re:" * 20_000, "[" * 60_000, " " * 60_000 + "x", "(fwd)" * 20_000, "re [" * 20_000])
def test_hostile_subjects_end(subject: str) -> None:
    assert len(base_subject(subject)[0]) <= len(subject)
