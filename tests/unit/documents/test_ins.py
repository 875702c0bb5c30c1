"""INS syntax, key and qualification."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mssante.documents.ins import OID_NIA, OID_NIR, OID_NIR_TEST, InsIdentity, ins_key, ins_key_ok, ins_syntax_ok

_SOUND = InsIdentity("279035121518989", OID_NIR_TEST, "PAT-TROIS", "DOMINIQUE", "19790328", "F")


@pytest.mark.parametrize("matricule", ["279035121518989", "162018885045327", "274075176079430", "146026322000196"])
def test_sound_identities_have_the_right_key(matricule: str) -> None:
    assert ins_syntax_ok(matricule) and ins_key_ok(matricule)


@pytest.mark.parametrize("matricule", ["221042545611404", "222127505611201", "223042545611404", "224027511583555",
                                       "276059205062865", "288091234567823"])
def test_wrong_keys_are_seen_and_shape_accepted(matricule: str) -> None:
    assert ins_syntax_ok(matricule) and not ins_key_ok(matricule)


@pytest.mark.parametrize(("letters", "digits"), [("2A", "19"), ("2B", "18"), ("2a", "19"), ("2b", "18")])
def test_corsica_counts_as_its_old_number(letters: str, digits: str) -> None:
    body = f"17903{letters}121518"
    key = ins_key(body)
    assert key == 97 - int(body[:5] + digits + body[7:]) % 97
    assert ins_key_ok(f"{body}{key:02d}")


@pytest.mark.parametrize("matricule", ["", "27903512151898", "2790351215189890", "979035121518989", "27903512151898x",
                                       "279032C21518989", "27903512151898\n", "２79035121518989"])
def test_what_is_not_a_matricule(matricule: str) -> None:
    assert not ins_syntax_ok(matricule) and not ins_key_ok(matricule)


def test_key_of_a_body_without_shape_is_none() -> None:
    assert ins_key("12345") is None and ins_key("x" * 13) is None


@pytest.mark.parametrize("oid", [OID_NIR, OID_NIA, OID_NIR_TEST])
def test_qualified_with_all_traits(oid: str) -> None:
    assert replace(_SOUND, oid=oid).qualified


@pytest.mark.parametrize("missing", ["matricule", "oid", "birth_name", "birth_given", "birth_date", "sex"])
def test_not_qualified_when_a_trait_is_missing(missing: str) -> None:
    assert not replace(_SOUND, **{missing: ""}).qualified


def test_a_wrong_key_does_not_disqualify_but_shows() -> None:
    wrong = replace(_SOUND, matricule="222127505611201")
    assert wrong.qualified and not wrong.key_ok
