"""Private keys of mailboxes: found by a reference, opened once, opened anew when the file changes.

References
- `file:NAME`: a file of `smime.keys_folder`, mode 0600: PEM (key, and certificates after it or in the file of that name ending in
  `.pem`), or PKCS#12. `file:NAME,password=OTHER`: its password is the first line of the file OTHER of the same folder.
- any other kind (`pkcs11:…`) is asked of the opener that `smime_setup` gives for it.

Guarantees
- A file that others may read is refused (`SMIME-CLE-DROITS`); a name never leads out of the folder.
- Nothing here writes or shows a key. Blocking: called from worker threads. Raises OperatorFault alone: a key that cannot be used
  is our fault, never the sender's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog
from cryptography import x509

from mssante.errors import MssFault, OperatorFault
from mssante.lang import say
from mssante.smime.certificates import can_encrypt, check_usage
from mssante.smime.keys import MAX_OCTETS, load_key
from mssante.smime.values import OpeningKey, SigningKey, SmimeFault

log = structlog.get_logger("smime")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,120}\Z")
_SCHEME = re.compile(r"([a-z][a-z0-9]{1,20}):(\S{1,400})\Z")
MAX_KEPT = 10_000


class MailKey(SigningKey, OpeningKey, Protocol):
    """A key that may do both; its certificate says which it is for."""


class KeyOpener(Protocol):
    """Opens the references of one kind."""

    def stamp(self, reference: str) -> object:
        """Give a value that changes when the key behind a reference does. Raises OperatorFault when there is none."""
        ...

    def open(self, reference: str) -> MailKey:
        """Open a key. Raises OperatorFault."""
        ...


def _fault(rule: str, fr: str, en: str, remedy: tuple[str, str], detail: str = "") -> OperatorFault:
    return OperatorFault(say(fr, en), rule=rule, remedy=say(*remedy), detail=detail)


class FileKeyOpener:
    """Keys in files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stamp(self, reference: str) -> object:
        """Give times, sizes and places of the files. Raises OperatorFault."""
        return tuple(self._facts(path) for path in self._paths(reference) if path is not None and path.exists())

    def open(self, reference: str) -> MailKey:
        """Read the files. Raises OperatorFault `SMIME-CLE…`."""
        key, certificates, password = self._paths(reference)
        secret = self._read(password).splitlines()[0] if password is not None else None
        beside = b""
        data = self._read(key)
        if b"-----BEGIN CERTIFICATE" in data:
            beside = data
        elif certificates is not None and certificates.is_file():
            beside = certificates.read_bytes()[:MAX_OCTETS + 1]
        try:
            return load_key(data, beside, secret)
        except SmimeFault as fault:
            raise _fault("SMIME-CLE", f"clé inutilisable : {key.name}", f"key cannot be used: {key.name}",
                         (fault.remedy, fault.remedy), f"{fault.public} {fault.detail}") from fault

    def _paths(self, reference: str) -> tuple[Path, Path | None, Path | None]:
        """Give the paths of key, certificates and password. Raises OperatorFault."""
        name, _, options = reference.removeprefix("file:").partition(",")
        password = options.removeprefix("password=")
        if not _NAME.match(name) or (options and (options == password or not _NAME.match(password))):
            raise _fault("SMIME-CLE-NOM", "référence de clé mal formée", "malformed key reference",
                         ("file:NOM ou file:NOM,password=NOM, des fichiers de smime.keys_folder",
                          "file:NAME or file:NAME,password=NAME, files of smime.keys_folder"), reference[:100])
        key = self._folder / name
        beside = key.with_suffix(".pem")
        return key, beside if beside != key else None, self._folder / password if password else None

    def _facts(self, path: Path) -> tuple[str, int, int, int]:
        try:
            facts = path.stat()
        except OSError as exc:
            raise self._absent(path, exc) from exc
        return path.name, facts.st_mtime_ns, facts.st_size, facts.st_ino

    def _absent(self, path: Path, exc: OSError) -> OperatorFault:
        return _fault("SMIME-CLE-ABSENTE", f"fichier de clé illisible : {path.name}", f"key file cannot be read: {path.name}",
                      ("le mettre dans smime.keys_folder, lisible par le service",
                       "put it into smime.keys_folder, readable by the service"),
                      exc.strerror or "")

    def _read(self, path: Path) -> bytes:
        """Read a secret file through one descriptor: what was checked is what is read. Raises OperatorFault."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            raise self._absent(path, exc) from exc
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise _fault("SMIME-CLE-DROITS", f"clé lisible par d'autres : {path.name}, mode {mode & 0o777:o}",
                             f"key that others may read: {path.name}, mode {mode & 0o777:o}", ("chmod 600", "chmod 600"))
            data = file.read(MAX_OCTETS + 1)
        if not data.strip():
            raise _fault("SMIME-CLE", f"fichier vide : {path.name}", f"empty file: {path.name}", ("le remplacer", "replace it"))
        return data


class KeyRing:
    """Opened keys by reference."""

    def __init__(self, openers: Mapping[str, KeyOpener]) -> None:
        """openers: by kind, the word before the colon."""
        self._openers = dict(openers)
        self._kept: dict[str, tuple[object, MailKey]] = {}

    def open(self, reference: str) -> MailKey:
        """Give the key behind a reference. Raises OperatorFault."""
        found = _SCHEME.match(reference)
        opener = self._openers.get(found[1]) if found is not None else None
        if opener is None:
            known = ", ".join(f"{kind}:" for kind in sorted(self._openers))
            raise _fault("SMIME-CLE-NOM", "genre de référence de clé inconnu", "unknown kind of key reference", (known, known),
                         reference[:100])
        try:
            stamp = opener.stamp(reference)
            kept = self._kept.get(reference)
            if kept is not None and kept[0] == stamp:
                return kept[1]
            key = opener.open(reference)
        except MssFault as fault:
            self._kept.pop(reference, None)
            if isinstance(fault, OperatorFault):
                raise
            raise OperatorFault(fault.public, rule="SMIME-CLE", detail=fault.detail, remedy=fault.remedy) from fault
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[reference] = (stamp, key)
        return key


def open_keys(ring: KeyRing, references: Sequence[str]) -> list[MailKey]:
    """Open those keys of a mailbox that can be, in order; one that cannot is told in the log and left out."""
    keys = []
    for one in references:
        try:
            keys.append(ring.open(one))
        except OperatorFault as fault:
            log.error("smime_key_failed", rule=fault.rule, detail=str(fault)[:300])
    return keys


def signs(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is for signing mail."""
    try:
        check_usage(certificate)
    except SmimeFault:
        return False
    return True


def signing_key(keys: Sequence[MailKey]) -> MailKey | None:
    """Give the key that signs: the first whose certificate is for it."""
    return next((one for one in keys if signs(one.certificate)), None)


def encryption_certificate(keys: Sequence[MailKey]) -> x509.Certificate | None:
    """Give the certificate that others should encrypt to: the first that is for it."""
    return next((one.certificate for one in keys if can_encrypt(one.certificate)), None)
