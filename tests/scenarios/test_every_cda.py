"""Every public CDA goes from alpha to beta and is read back octet for octet; the real white list loads.

The documents and the list are those of ../shared; where it is absent the tests are skipped. The figures asked of the project
(count, seconds, entries, domains, names, memory) are printed, and written to $MSSANTE_REPORT_DIR.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from hashlib import sha256
from pathlib import Path

import pytest
from support.lab import RunningLab, as_json, report

from mssante.documents.validate import entry_findings, name_findings
from mssante.documents.xdm import check, unpack
from mssante.lab.desks import load_certificate, load_key
from mssante.lab.send import Sending, SendOrder
from mssante.trust.signing import sign_list

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

RECIPIENTS = ("paul.durand@beta.mssante.test", "labo.biologie@beta.mssante.test", "user0001@beta.mssante.test")
LIST = "listeblanche-2025-03-13.xml"


def test_every_cda_arrives_identical(running_lab: RunningLab, shared_dir: Path) -> None:
    documents = sorted((shared_dir / "data" / "cda").glob("*.xml"))
    assert documents
    lines, bad = [], []
    began = time.monotonic()
    for rank, path in enumerate(documents):
        one = Sending(running_lab.lab, SendOrder(RECIPIENTS[rank % len(RECIPIENTS)], path)).run()
        same = one.good and one.sent_sha256 == one.read_sha256
        seconds = max((step.seconds for step in one.steps if step.name == "visible"), default=0.0)
        lines.append(f"| {path.name} | {one.size} | {seconds:.2f} | {one.sent_sha256[:16]} | {'yes' if same else 'NO'} |")
        if not same:
            bad.append((path.name, one))
    took = time.monotonic() - began
    report("cda.md", "\n".join([f"{len(documents)} documents, {len(documents) - len(bad)} identical, {took:.1f} s", "",
                                "| document | octets of the message | seconds until seen | sha256 | identical |",
                                "|---|---|---|---|---|", *lines]))
    assert not bad


def test_every_cda_comes_out_of_the_mailbox_as_it_went_in(running_lab: RunningLab, shared_dir: Path) -> None:
    """Pack, SMTP between operators, IMAP, unpack: the same octets, and nothing to say against archive and document."""
    documents = sorted((shared_dir / "data" / "cda").glob("*.xml"))
    address, lines = RECIPIENTS[2], []
    with running_lab.reader(address) as reader:
        for path in documents:
            before = set(reader.uids())
            assert Sending(running_lab.lab, SendOrder(address, path)).run().good, path.name
            reader.count()
            (uid,) = [one for one in reader.uids() if one not in before]
            mail = message_from_bytes(reader.fetch(uid), policy=policy.default)
            files = {one.get_filename(): one.get_content() for one in mail.iter_attachments()}
            archive = unpack(files["IHE_XDM.ZIP"])
            (inside,) = archive.documents
            same = sha256(inside.content or b"").hexdigest() == sha256(path.read_bytes()).hexdigest()
            remarks = [*check(archive), *entry_findings(inside), *name_findings(archive)]
            pdf = next(content for name, content in files.items() if str(name).endswith(".pdf"))
            lines.append(f"| {path.name} | {same} | {len(remarks)} | {len(pdf)} |")
            assert same and not remarks and pdf.startswith(b"%PDF-"), path.name
    report("round-trip.md", "\n".join(["| document | same octets | remarks | PDF |", "|---|---|---|---|", *lines]))
    assert len(lines) == 23


def test_the_real_white_list_loads(running_lab: RunningLab, shared_dir: Path, tmp_path: Path) -> None:
    lab = running_lab.lab
    certificate, key = (lab.path(lab.trust(name)) for name in ("signer_certificate", "signer_key"))
    raw = (shared_dir / "data" / "whitelist" / LIST).read_bytes()
    signed = tmp_path / "signed.xml"
    began = time.monotonic()
    signed.write_bytes(sign_list(raw, load_certificate(certificate), load_key(key), datetime.now(UTC)))
    signing = time.monotonic() - began
    config = running_lab.folder / running_lab.operator("alpha").config
    code, out, error = running_lab.command("whitelist", "verify", signed, "--config", config, "--json", small=True)
    assert code == 0, out + error
    found = as_json(out)
    assert found["ok"] is True and found["signature"] == "good"
    assert found["entries"] > 5000 and found["domains"] > 5000, found
    assert found["seconds"] < 10 and found["memory_peak_bytes"] < 256 * 1024 * 1024, found
    report("whitelist.txt", f"{len(raw)} octets, signed in {signing:.2f} s\n{out}")


def test_the_real_list_with_one_octet_changed_is_refused(running_lab: RunningLab, shared_dir: Path, tmp_path: Path) -> None:
    lab = running_lab.lab
    certificate, key = (lab.path(lab.trust(name)) for name in ("signer_certificate", "signer_key"))
    raw = (shared_dir / "data" / "whitelist" / LIST).read_bytes()
    signed = sign_list(raw, load_certificate(certificate), load_key(key), datetime.now(UTC))
    place = signed.index(b"<Nom>", len(signed) // 2) + 5
    altered = tmp_path / "altered.xml"
    altered.write_bytes(signed[:place] + (b"b" if signed[place:place + 1] == b"a" else b"a") + signed[place + 1:])
    unsigned = tmp_path / "unsigned.xml"
    unsigned.write_bytes(raw)
    config = running_lab.folder / running_lab.operator("alpha").config
    for path in (altered, unsigned):
        code, out, error = running_lab.command("whitelist", "verify", path, "--config", config, "--json")
        assert code == 3, out + error
        assert as_json(out)["rule"].startswith("LB-"), out
