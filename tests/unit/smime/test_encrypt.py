"""What `encrypt_message` writes: where each field goes, which structure, for whom, and whom it refuses."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from asn1crypto import cms
from support.envelopes import bob, bob_key, refusal, stranger, structure_of
from support.pki import key_for
from support.smime import alice, ec_key, letter, person

from mssante.smime.ber import SEQUENCE, der
from mssante.smime.decrypt import open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.envelope import content_cipher, read_envelope
from mssante.smime.framing import around, base64_lines
from mssante.smime.recipients import take_key
from mssante.smime.values import Cipher, SmimeCode, SmimeLimits

RAW = letter(b"Ligne 1\r\nLigne 2\r\n", header=b"X-MSS-NIL: 3734\r\nReceived: from a\r\n\tby b;\r\n\tnow\r\n",
             content=b'Content-Type: multipart/mixed;\r\n\tboundary="x"\r\ncontent-disposition: inline\r\nX-Content-Kind: outside\r\n')
ALGORITHMS = {Cipher.AES256_GCM: "aes256_gcm", Cipher.AES128_GCM: "aes128_gcm",
              Cipher.AES256_CBC: "aes256_cbc", Cipher.AES128_CBC: "aes128_cbc"}


def parsed(message: bytes) -> tuple[str, cms.EnvelopedData]:
    """Read with another parser than ours, strictly."""
    info = cms.ContentInfo.load(structure_of(message), strict=True)
    kind = info["content_type"].native
    octets = info["content"].untag().dump()
    data = (cms.AuthEnvelopedData if kind == "authenticated_enveloped_data" else cms.EnvelopedData).load(octets, strict=True)
    return kind, data


def test_outer_fields_stay_and_content_fields_move() -> None:
    message = encrypt_message(RAW, [bob().certificate])
    head, _, body = message.partition(b"\r\n\r\n")
    outer = RAW.partition(b"Content-Type")[0]
    assert message.startswith(outer + b"X-Content-Kind: outside\r\n")
    assert head.count(b"\r\nContent-Type:") == 1 and b"multipart/mixed" not in head and b"inline" not in head
    assert b"smime-type=authEnveloped-data" in head and b"Content-Transfer-Encoding: base64" in head
    assert all(len(line) <= 76 for line in body.split(b"\r\n"))
    assert {len(line) for line in body.split(b"\r\n")[:-2]} == {76}
    opened = open_message(message, [bob_key()])
    assert opened.message == outer + (b'X-Content-Kind: outside\r\nContent-Type: multipart/mixed;\r\n\tboundary="x"\r\n'
                                      b"content-disposition: inline\r\n\r\nLigne 1\r\nLigne 2\r\n")


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("oaep", [True, False])
def test_the_structure_is_what_another_parser_reads(cipher: Cipher, oaep: bool) -> None:
    message = encrypt_message(RAW, [bob().certificate, alice().certificate], cipher=cipher, oaep=oaep)
    kind, data = parsed(message)
    gcm = cipher in (Cipher.AES256_GCM, Cipher.AES128_GCM)
    assert kind == ("authenticated_enveloped_data" if gcm else "enveloped_data")
    assert (b"smime-type=authEnveloped-data" in message) is gcm
    assert data["version"].native == "v0"
    infos = [one.chosen for one in data["recipient_infos"]]
    assert len(infos) == 2
    for info in infos:
        assert info["key_encryption_algorithm"]["algorithm"].native == ("rsaes_oaep" if oaep else "rsaes_pkcs1v15")
        if oaep:
            parameters = info["key_encryption_algorithm"]["parameters"]
            assert parameters["hash_algorithm"]["algorithm"].native == "sha256"
            assert parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native == "sha256"
    content = data["auth_encrypted_content_info" if gcm else "encrypted_content_info"]
    assert content["content_type"].native == "data"
    assert content["content_encryption_algorithm"]["algorithm"].native == ALGORITHMS[cipher]
    if gcm:
        assert len(data["mac"].native) == 16


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("cipher", [Cipher.AES256_GCM, Cipher.AES128_CBC])
def test_elliptic_recipients(kind: str, cipher: Cipher) -> None:
    message = encrypt_message(letter(), [bob(kind).certificate, bob().certificate], cipher=cipher)
    _, data = parsed(message)
    assert data["version"].native == ("v0" if cipher is Cipher.AES256_GCM else "v2")  # RFC 5652 §6.1
    agreed = next(one.chosen for one in data["recipient_infos"] if one.name == "kari")
    assert agreed["version"].native == "v3"
    assert agreed["key_encryption_algorithm"]["algorithm"].dotted == "1.3.132.1.11.1"
    opened = [open_message(message, [bob_key(which)]) for which in (kind, "rsa")]
    assert opened[0].message == opened[1].message
    assert opened[0].method == "ecdh-sha256"
    assert opened[1].method == "rsa-oaep-sha256"


def test_a_certificate_given_twice_is_one_recipient() -> None:
    _, data = parsed(encrypt_message(RAW, [bob().certificate] * 3))
    assert len(data["recipient_infos"]) == 1


def test_each_message_has_its_own_key_and_nonce() -> None:
    found = [read_envelope(structure_of(encrypt_message(RAW, [bob().certificate], cipher=cipher)), SmimeLimits()) for cipher in Cipher for _ in range(3)]
    assert len({one.algorithm.parameters for one in found}) == 12
    keys = {take_key(one.recipients[0], bob_key(), content_cipher(one).octets)[0] for one in found}
    assert len(keys) == 12


def test_whom_it_refuses() -> None:
    signer = person("a@b.example", usage=("digital_signature",)).certificate
    agreeing = person("a@b.example", ec_key("x"), usage=("digital_signature",)).certificate
    wrong = person("a@b.example", usage=("key_agreement",)).certificate
    for certificate in (signer, agreeing, wrong):
        assert refusal(lambda one=certificate: encrypt_message(RAW, [bob().certificate, one])) is SmimeCode.USAGE
    small = person("a@b.example", key_for("petite", 1024), usage=None).certificate
    assert refusal(lambda: encrypt_message(RAW, [small])) is SmimeCode.ALGORITHM
    assert refusal(lambda: encrypt_message(RAW, [])) is SmimeCode.NOT_FOR_US
    assert refusal(lambda: encrypt_message(RAW, [bob().certificate, alice().certificate], limits=SmimeLimits(count=1))) is SmimeCode.LIMIT
    assert refusal(lambda: encrypt_message(RAW, [bob().certificate], limits=SmimeLimits(message_bytes=10))) is SmimeCode.LIMIT


def test_without_key_usage_all_is_allowed() -> None:
    who = person("a@b.example", usage=None)
    assert encrypt_message(RAW, [who.certificate])


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"From: a@b\r\n", b"From: a@b", b"\r\ncorps", b"From: a@b\r\n\r\n",
                                 b"Content-Type: text/html\r\n\r\n<p>x", b"pas un champ\r\n\r\nx"])
def test_poor_messages_come_back_too(raw: bytes) -> None:
    opened = open_message(encrypt_message(raw, [bob().certificate]), [bob_key()])
    assert opened.message.endswith(b"\r\n\r\n" + raw.partition(b"\r\n\r\n")[2].removeprefix(b"corps") if b"corps" not in raw else b"corps")
    assert opened.message.count(b"MIME-Version: 1.0") == 1


def test_line_feeds_alone_become_crlf() -> None:
    opened = open_message(encrypt_message(b"From: a@b\nContent-Type: text/plain\n\nun\ndeux\n", [bob().certificate]), [bob_key()])
    assert opened.message == b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nun\r\ndeux\r\n"


def test_mixed_line_ends_stay_as_they_are() -> None:
    raw = b"From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\r\n\0"
    assert open_message(encrypt_message(raw, [bob().certificate]), [bob_key()]).message == raw


def test_thirty_mebibytes_in_three_copies() -> None:
    raw = RAW + b"0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * (30 * 1024 * 1024 // 50)
    tracemalloc.start()
    message = encrypt_message(raw, [bob().certificate])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.1 * len(raw)  # base64 (4/3, and its room to grow), then the joined message (4/3)
    tracemalloc.start()
    opened = open_message(message, [bob_key()])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4.1 * len(raw)  # body and its letters (4/3 each), the structure
    assert opened.message.endswith(raw[-1000:]) and len(opened.message) == len(raw)


@pytest.mark.parametrize("sizes", [(0,), (1,), (56, 1), (57,), (58, 56), (3, 3, 3), (57 * 4096 + 1, 10), (1,) * 120, (0, 57, 0)])
def test_base64_by_pieces_is_base64_of_the_whole(sizes: tuple[int, ...]) -> None:
    pieces = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
    expected = base64.encodebytes(b"".join(pieces)).replace(b"\n", b"\r\n")
    assert bytes(base64_lines(pieces)) == expected


def test_a_value_by_pieces_is_the_value() -> None:
    pieces = [b"a" * 100, b"", b"b" * 200]
    assert b"".join(around(SEQUENCE, pieces)) == der(SEQUENCE, *pieces)


def test_only_the_recipient_opens() -> None:
    message = encrypt_message(RAW, [stranger().certificate])
    assert refusal(lambda: open_message(message, [bob_key(), bob_key("P-256")])) is SmimeCode.NOT_FOR_US
