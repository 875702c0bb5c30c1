"""A pair is judged before it is served: each fault has its rule, its values, its remedy; and changes are seen."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from support.pki import CLIENT, certificate_pem, key_pem, pem_files
from support.smtp_stage import IGC

from mssante.errors import InputFault, OperatorFault
from mssante.services.tlskeys import MAX_FILE, Pair, end_point_of, mark_of, read_pair, read_side_by_side
from mssante.services.tlswatch import Watched
from mssante.trust.profiles import recognise

RSA_SHA256 = bytes.fromhex("2a864886f70d01010b")  # sha256WithRSAEncryption (RFC 8017 appendix A.2.4)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOST = "mx.hopital.mssante.fr"


def pair(folder: Path, name: str = "ours", **profile: object) -> Pair:
    return Pair(*pem_files(folder, name, *IGC.leaf(HOST, **profile)))  # type: ignore[arg-type]


def test_a_good_pair_is_read_with_its_chain(tmp_path: Path) -> None:
    leaf, key = IGC.leaf(HOST)
    files = Pair(*pem_files(tmp_path, "ours", [leaf, IGC.organisations.certificate, IGC.root.certificate], key))
    found = read_pair(files, NOW, IGC.anchors)
    assert found.fault is None and found.kind == "RSA" and len(found.end_point) == 32
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_into(context)
    assert b"PRIVATE" in found.octets[1] and "PRIVATE" not in repr(found)


def test_what_is_served_is_what_was_judged(tmp_path: Path) -> None:
    files = pair(tmp_path)
    found = read_pair(files, NOW, IGC.anchors)
    files.certificate.write_bytes(b"")
    files.key.unlink()
    found.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.mark.parametrize(("profile", "rule"), [
    ({"not_after": datetime(2026, 2, 1, tzinfo=UTC)}, "TLS-DATES"), ({"not_before": datetime(2026, 4, 1, tzinfo=UTC)}, "TLS-DATES"),
    ({"eku": (CLIENT,)}, "TLS-USAGE"), ({"usage": ("key_encipherment",)}, "TLS-USAGE"), ({"ca": True}, "TLS-USAGE"),
    ({"issuer": "personnes"}, "TLS-EMETTEUR"), ({"issuer": "foreign"}, "TLS-EMETTEUR"), ({"issuer": "lookalike"}, "TLS-EMETTEUR")])
def test_faults_that_a_restart_lives_with(tmp_path: Path, profile: dict[str, object], rule: str) -> None:
    fault = read_pair(pair(tmp_path, **profile), NOW, IGC.anchors).fault
    assert fault is not None and fault.rule == rule and fault.remedy


def test_any_authority_does_for_users(tmp_path: Path) -> None:
    assert read_pair(pair(tmp_path, issuer="foreign"), NOW, None).fault is None


def other_key(files: Pair) -> None:
    files.key.write_bytes(key_pem(IGC.leaf("mx.a.mssante.fr")[1]))


def locked_key(files: Pair) -> None:
    files.key.write_bytes(IGC.leaf(HOST)[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))


def wrong_chain(files: Pair) -> None:
    files.certificate.write_bytes(certificate_pem(IGC.leaf(HOST)[0], IGC.personnes.certificate))


def unsorted_chain(files: Pair) -> None:
    files.certificate.write_bytes(certificate_pem(IGC.leaf(HOST)[0], IGC.root.certificate, IGC.organisations.certificate))


def long_chain(files: Pair) -> None:
    files.certificate.write_bytes(certificate_pem(*[IGC.root.certificate] * 11))


def cut(files: Pair) -> None:
    raw = files.certificate.read_bytes()
    files.certificate.write_bytes(raw[:len(raw) // 2])


def weak(files: Pair) -> None:
    leaf, key = IGC.leaf("faible.mssante.fr", key_bits=1024)
    files.certificate.write_bytes(certificate_pem(leaf))
    files.key.write_bytes(key_pem(key))


def exotic(files: Pair) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    files.certificate.write_bytes(certificate_pem(IGC.leaf(HOST, key=key)[0]))  # type: ignore[arg-type]
    files.key.write_bytes(key_pem(key))  # type: ignore[arg-type]


HARD: list[tuple[Callable[[Pair], object], str]] = [
    (other_key, "TLS-CLE"), (weak, "TLS-CLE"), (exotic, "TLS-CLE"), (locked_key, "TLS-LECTURE"), (cut, "TLS-LECTURE"),
    (lambda files: files.key.write_bytes(b""), "TLS-LECTURE"), (lambda files: files.certificate.write_bytes(b"\xff" * 100), "TLS-LECTURE"),
    (lambda files: files.certificate.unlink(), "TLS-LECTURE"), (lambda files: files.key.unlink(), "TLS-LECTURE"),
    (lambda files: files.certificate.write_bytes(b"x" * (MAX_FILE + 1)), "TLS-LECTURE"),
    (wrong_chain, "TLS-CHAINE"), (unsorted_chain, "TLS-CHAINE"), (long_chain, "TLS-LECTURE")]


@pytest.mark.parametrize(("harm", "rule"), HARD, ids=[f"{rank}-{rule}" for rank, (_, rule) in enumerate(HARD)])
def test_faults_that_nothing_can_serve(tmp_path: Path, harm: Callable[[Pair], object], rule: str) -> None:
    files = pair(tmp_path)
    harm(files)
    with pytest.raises(OperatorFault) as caught:
        read_pair(files, NOW, IGC.anchors)
    assert caught.value.rule == rule and caught.value.remedy and str(tmp_path) not in caught.value.public


def test_two_pairs_of_one_kind_do_not_stand_side_by_side(tmp_path: Path) -> None:
    first, second = pair(tmp_path), pair(tmp_path, "second")
    with pytest.raises(OperatorFault, match="TLS-TYPE"):
        read_side_by_side((first, second), NOW, IGC.anchors)
    key = ec.generate_private_key(ec.SECP256R1())
    second.certificate.write_bytes(certificate_pem(IGC.leaf(HOST, key=key)[0]))  # type: ignore[arg-type]
    second.key.write_bytes(key_pem(key))  # type: ignore[arg-type]
    assert [one.kind for one in read_side_by_side((first, second), NOW, IGC.anchors)] == ["RSA", "EC"]


# ---------------------------------------------------------------- marks, watching


def test_a_replacement_a_touch_and_a_loss_are_changes(tmp_path: Path) -> None:
    path = tmp_path / "one"
    marks = [mark_of([path])]
    path.write_bytes(b"a")
    marks.append(mark_of([path]))
    os.utime(path, ns=(1, 1))
    marks.append(mark_of([path]))
    other = tmp_path / "two"
    other.write_bytes(b"b")
    os.utime(other, ns=(1, 1))
    other.replace(path)
    marks.append(mark_of([path]))
    assert len(set(marks)) == 4 and mark_of([path]) == marks[3]


class Source:
    """A file that holds a number; `moves`: it changes while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.moves = False

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.reads += 1
        os.utime(self.path, ns=(self.reads, self.reads))

    def read(self) -> int:
        text = self.path.read_text()
        if self.moves:
            self.write("9")
        if not text.isdigit():
            raise InputFault("no number", rule="X-1")
        return int(text)


def test_a_change_is_read_at_once_and_a_fault_told_at_the_second_look(tmp_path: Path) -> None:
    source = Source(tmp_path / "n")
    source.write("1")
    watched = Watched("n", lambda: (source.path,), source.read, 0)
    assert watched.look() and watched.value == 1
    assert not watched.look()
    source.write("bad")
    assert not watched.look() and watched.value == 1 and watched.fault is None, "a copy under way is no alarm yet"
    assert not watched.look() and watched.fault is not None and watched.fault.rule == "X-1"
    assert not watched.look() and watched.value == 1
    source.path.unlink()
    assert not watched.look() and not watched.look()
    assert watched.fault.rule == "TLS-LECTURE"
    source.write("2")
    assert watched.look() and watched.value == 2 and watched.fault is None
    assert watched.look(force=True)


def test_a_file_that_moves_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    source = Source(tmp_path / "n")
    source.write("1")
    watched = Watched("n", lambda: (source.path,), source.read, 0)
    source.moves = True
    assert not watched.look() and watched.value == 0
    source.moves = False
    assert watched.look() and watched.value == 9


def test_a_signature_of_an_algorithm_that_nobody_knows_breaks_nothing(tmp_path: Path) -> None:
    """Found by the fuzzer: the library raises when such a signature is asked for its hash."""
    files = pair(tmp_path)
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    strange = x509.load_der_x509_certificate(leaf.public_bytes(Encoding.DER).replace(RSA_SHA256, b"\x00" + RSA_SHA256[1:]))
    with pytest.raises(UnsupportedAlgorithm):
        _ = strange.signature_hash_algorithm
    assert end_point_of(strange) == b"" and end_point_of(leaf) == leaf.fingerprint(hashes.SHA256())
    assert recognise(strange).signature == "?"
