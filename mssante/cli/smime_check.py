"""`mssante smime check FILE` and `mssante smime codes`: verify a message offline, explain what was found.

- The field `X-MSS-SMIME` is verified with this operator's key; the message is verified anew with our anchors and the CRLs kept on
  disk, at the instant of the field when it is genuine, else now, or at `--at`.
- Reads the file and the configuration, writes nothing. Exit code 3 when a signature does not hold or a field is false.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, emit, instant, moment, read_limited
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from cryptography import x509

    from mssante.services.smime_header import FoundResult
    from mssante.services.smime_trust import MailTrust
    from mssante.smime.values import SmimeCode, SmimeVerdict
    from mssante.trust.path import PathResult

_LONE_LF = re.compile(rb"(?<!\r)\n")


def offline_trust(config: Config) -> MailTrust:
    """Give the trust that the files tell: anchors, and the CRLs kept on disk. Raises InputFault, OSError."""
    from dataclasses import replace

    from mssante.cli.checks.trust import crl_findings
    from mssante.smime_setup import mail_trust
    from mssante.trust.anchors import load_anchors
    from mssante.trust_setup import trust_snapshot

    trust = config.operator.trust
    anchors = load_anchors([config.path(trust.anchors).read_bytes()], trust.issuers, config.operator.smime.issuers)
    crls, _ = crl_findings(config, anchors, datetime.now(UTC))
    snapshot = replace(trust_snapshot(config), anchors=anchors, crls=crls)
    return mail_trust(config, lambda: snapshot)


def _field_key(config: Config) -> bytes:
    """Give the key of our field; one that nobody has, and that verifies nothing, when this operator never ran here."""
    from mssante.services.smime_header import derive_key

    path = config.path(config.operator.storage.blobs).parent / "pseudonym.key"
    return derive_key(path.read_bytes()) if path.is_file() else secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found in one file. path: how the signer's certificate was judged, None when it was not come to."""

    fields: list[FoundResult]
    genuine: FoundResult | None
    at: datetime
    author: str
    verdict: SmimeVerdict
    path: PathResult | None

    @property
    def bad(self) -> bool:
        """True when something does not hold."""
        false_first = bool(self.fields) and self.genuine is not self.fields[0]
        return false_first or self.verdict.signature.value not in ("SMIME-VALIDE", "SMIME-ABSENT")


def _check(config: Config, raw: bytes, at: datetime | None) -> _Checked:
    from mssante.protocol.mime.imapview import facts
    from mssante.services.opening import author_of
    from mssante.services.smime_header import find_results
    from mssante.smime.verify import verify_message
    from mssante.smime_setup import smime_settings
    from mssante.trust.path import Purpose

    trust = offline_trust(config)
    fields = list(find_results(raw, _field_key(config)))
    genuine = next((one for one in fields if one.genuine), None)
    body = raw[genuine.body:] if genuine is not None else raw
    when = at or (genuine.result.at if genuine is not None and genuine.result is not None else datetime.now(UTC))
    judged: list[PathResult] = []

    def judge(certificate: x509.Certificate, others: Sequence[x509.Certificate], instant_: datetime) -> SmimeCode:
        judged.append(trust.judge(certificate, Purpose.SIGN_MAIL, instant_))
        return trust.check_signer(certificate, others, instant_)

    author = author_of(facts(body).author)
    verdict = verify_message(body, author=author, check=judge, now=when, limits=smime_settings(config).limits)
    return _Checked(fields, genuine, when, author, verdict, judged[0] if judged else None)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Message (.eml) tel qu'il a été reçu (message as received)")],
    at: Annotated[datetime | None, typer.Option("--at", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
                                                help="Instant de la vérification, UTC (instant of the check)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Vérifie un message et son champ X-MSS-SMIME, hors ligne (verifies a message and its field, offline)."""
    from mssante.services.smime_words import meaning, remedy

    loaded = load_config(config)
    raw = read_limited(file, 2 * loaded.operator.limits.message_bytes, "SMIME-FICHIER")
    if not raw.strip():
        raise InputFault(say(f"{file} est vide", f"{file} is empty"), rule="SMIME-FICHIER")
    if b"\r\n" not in raw[:8192]:
        raw = _LONE_LF.sub(b"\r\n", raw)  # saved by a program that keeps the line ends of its system
    found = _check(loaded, raw, at.replace(tzinfo=UTC) if at is not None else None)
    verdict = found.verdict
    document: dict[str, Any] = {
        "ok": not found.bad, "at": instant(found.at), "author": found.author,
        "fields": [_field_document(one) for one in found.fields],
        "signature": verdict.signature.value, "encryption": verdict.encryption.value,
        "signer": verdict.signer, "name": verdict.name,
        "certificate": verdict.fingerprint, "signed_at": instant(verdict.signed_at), "algorithms": list(verdict.algorithms),
        "detail": verdict.detail, "path": found.path.code.value if found.path is not None else "",
        "meaning": meaning(verdict.signature), "remedy": remedy(verdict.signature)}
    emit(as_json, document, *_lines(found))
    if found.bad:
        raise typer.Exit(CHECK_FAILED)


def _field_document(field: FoundResult) -> dict[str, Any]:
    result = field.result
    return {"genuine": field.genuine, "sealed": field.sealed, "intact": field.intact, "key": field.key_id,
            "signature": result.signature if result else "", "encryption": result.encryption if result else "",
            "signer": result.signer if result else "", "at": instant(result.at) if result else None,
            "trace_id": result.trace_id if result else "", "original": result.original if result else "",
            "folder": result.folder if result else ""}


def _lines(found: _Checked) -> list[str]:
    from mssante.services.smime_words import meaning, remedy

    verdict = found.verdict
    lines = [_field_line(one) for one in found.fields] or [
        say("champ X-MSS-SMIME : aucun", "field X-MSS-SMIME: none")]
    when, author = moment(found.at), found.author or "?"
    lines.append(say(f"vérifié au {when}, auteur {author}", f"verified at {when}, author {author}"))
    for title, code in (("signature", verdict.signature), (say("chiffrement", "encryption"), verdict.encryption)):
        lines.append(f"{title} : {code} : {meaning(code)}")
        if code.value not in ("SMIME-VALIDE", "SMIME-ABSENT"):
            lines.append(say(f"  qui agit : {remedy(code)}", f"  who acts: {remedy(code)}"))
    if verdict.detail:
        lines.append(say(f"  constat : {verdict.detail}", f"  seen: {verdict.detail}"))
    if verdict.fingerprint:
        signed = moment(verdict.signed_at) if verdict.signed_at else "?"
        signer, mark = verdict.signer or "?", verdict.fingerprint[:16]
        lines.append(say(f"signataire : {signer} ({verdict.name}), certificat {mark}, dit avoir signé le {signed}",
                         f"signer: {signer} ({verdict.name}), certificate {mark}, says it signed on {signed}"))
        lines.append("  " + " ".join(verdict.algorithms))
    if found.path is not None and not found.path.valid:
        lines.append(say(f"  chemin : {found.path.code} {found.path.culprit} {found.path.detail}",
                         f"  path: {found.path.code} {found.path.culprit} {found.path.detail}"))
    return lines


def _field_line(field: FoundResult) -> str:
    if field.genuine and field.result is not None:
        result = field.result
        when, said = moment(result.at), f"{result.signature}, {result.encryption}"
        return say(f"champ X-MSS-SMIME : authentique, écrit ici le {when} (trace {result.trace_id}) : {said}",
                   f"field X-MSS-SMIME: genuine, written here on {when} (trace {result.trace_id}): {said}")
    if field.sealed:
        return say("champ X-MSS-SMIME : de notre clé, mais pour un autre message ou modifié depuis : ne prouve rien",
                   "field X-MSS-SMIME: of our key, but of another message or changed since: proves nothing")
    return say(f"champ X-MSS-SMIME : pas de notre clé ({field.key_id or '?'}) : ne prouve rien",
               f"field X-MSS-SMIME: not of our key ({field.key_id or '?'}): proves nothing")


def codes(as_json: AsJson = False) -> None:
    """Liste les codes, leur sens et qui doit agir (lists the codes, their meaning and who must act)."""
    from mssante.services.smime_words import CODES, meaning, remedy

    emit(as_json, {"ok": True, "codes": [{"code": one, "meaning": meaning(one), "remedy": remedy(one)} for one in CODES]},
         *[line for one in CODES for line in (f"{one} : {meaning(one)}", f"    {remedy(one)}")])



