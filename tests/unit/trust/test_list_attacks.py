"""The table of attacks on the white list: each one, its verdict and the text that an administrator reads.

The octets are those of `test_forgeries.py` (which checks each rule on its own); here all are put before the reader together, with
the admission of replayed and abnormal lists, and written to $MSSANTE_REPORT_DIR/list-attacks.md.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from support.lab import report
from support.pki import whitelist_xml
from support.xades import DS, EXC, SHA1, Forge

from mssante.errors import InputFault
from mssante.lang import set_language
from mssante.model.reply import Refuse
from mssante.trust.decisions import ListPolicy, admit_list
from mssante.trust.listdiff import Interest, consequences, diff_lists
from mssante.trust.listshape import ShapePolicy, shape_alarms
from mssante.trust.names import parse_dn
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import parse_whitelist


def forgeries() -> ModuleType:
    """Give the module of the attacks (test modules cannot import one another by name)."""
    name = "forgeries_for_table"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("test_forgeries.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def attacks() -> Iterator[tuple[str, bytes]]:
    """Give every attack on the octets of a list, by name."""
    forge = forgeries()
    for name, (raw, _) in sorted(forge.wrapping().items()):
        yield name, raw
    for name, text in sorted(forge.TRANSFORMS.items()):
        yield f"transform: {name}", replace(forge.FORGE, transforms=text).list(forge.RAW)
    for name, (raw, _) in sorted(forge.forged_keys().items()):
        yield name, raw
    for name, (raw, _) in sorted(forge.bombs().items()):
        yield name, raw
    more: dict[str, dict[str, Any]] = {
        "digest SHA-1": {"digest": SHA1}, "digest of the certificate SHA-1": {"certificate_digest": SHA1},
        "RSA with SHA-1": {"method": DS + "rsa-sha1"}, "MD5": {"digest": DS + "md5"},
        "HMAC keyed with the public key": {"method": forge.MORE + "hmac-sha256", "sign": forge.hmac_with_the_public_key},
        "HMAC of length 0": {"method": forge.MORE + "hmac-sha256", "sign": lambda key, octets: b"",
                             "method_content": "<ds:HMACOutputLength>0</ds:HMACOutputLength>"},
        "canonicalisation with comments": {"canonicalisation": EXC + "WithComments", "info_octets": forge.with_comments},
        "no reference": {"references": lambda document, properties: ""},
        "reference to the list only": {"references": lambda document, properties: document},
        "reference to the properties only": {"references": lambda document, properties: properties},
        "reference by http": {"uri": "http://127.0.0.1:9/list.xml"}, "reference to a file": {"uri": "file:///etc/passwd"},
        "reference by XPointer": {"uri": "#xpointer(id('list'))"}, "reference without URI": {"uri": None},
        "empty signature value": {"sign": lambda key, octets: b""}, "digest of something else": {"covered": b"anything"},
        "no certificate": {"key_info": ()}, "certificate of the authority named": {"named": forge.IGC.organisations.certificate},
    }
    for name, change in more.items():
        yield name, replace(forge.FORGE, **change).list(forge.RAW)
    yield "signer of another name", Forge(*forge.IGC.list_signer("Liste Blanche Pirate")).list(forge.RAW)
    yield "signer of another structure", Forge(*forge.IGC.list_signer(ou="318751275100021")).list(forge.RAW)


def verdict(raw: bytes) -> tuple[str, str]:
    """Give (rule, text) of the refusal, or ("accepted", "")."""
    forge = forgeries()
    try:
        parse_whitelist(verify_list_signature(raw, forge.POLICY, forge.NOW).root)
    except InputFault as fault:
        return fault.rule, fault.public
    return "accepted", ""


def abnormal() -> Iterator[tuple[str, str, str]]:
    """Give lists whose signature is good and that must not pass unseen: (name, rule, text)."""
    forge = forgeries()
    now, current = forge.NOW, forge.accept(forge.signed())

    def published(rows: list[tuple[str, str]], hours: float) -> Any:
        return forge.accept(forge.FORGE.list(whitelist_xml(rows, now + timedelta(hours=hours))))

    rows = [("a.mssante.fr", forge.DN), ("b.mssante.fr", forge.DN)]
    for name, new in (("old list replayed", published(rows, -5)), ("list from the future", published(rows, 48)),
                      ("list too old", published(rows, -24 * 30)), ("half of the domains gone", published(rows[:1], 1))):
        decision = admit_list(new, None if "too old" in name else current, now, ListPolicy())
        assert isinstance(decision, Refuse), name
        yield name, decision.rule, decision.reply.text.replace("\n", " ")
    interest = Interest(own=frozenset({"a.mssante.fr"}), own_names=(parse_dn(forge.DN),), citizen="b.mssante.fr")
    shapes = {"our domain bound to another certificate": ([("a.mssante.fr", forge.EVIL_DN), rows[1]], 1),
              "citizen domain gone": (rows[:1], 1), "every certificate changed": ([(one, forge.EVIL_DN) for one, _ in rows], 1),
              "twice as many domains": ([*rows, ("c.fr", forge.DN), ("d.fr", forge.DN)], 1),
              "ten days after the last": (rows, 240), "same date, other content": (rows[:1], 0)}
    for name, (changed, hours) in shapes.items():
        new = published(changed, hours)
        diff = diff_lists(current, new)
        alarms = shape_alarms(replace(new, sha256="n"), replace(current, sha256="c"),
                              (diff, consequences(diff, current, new, interest)), ShapePolicy())
        assert alarms, name
        stops = " (waits for a human)" if alarms[0].stops else " (alarm)"
        yield name, ", ".join(one.rule for one in alarms) + stops, alarms[0].text


def test_every_attack_is_refused_and_told() -> None:
    set_language("fr")
    found = [(name, *verdict(raw)) for name, raw in attacks()]
    assert len(found) > 90
    assert [name for name, rule, _ in found if rule == "accepted"] == []
    assert all(rule and text for _, rule, text in found)
    shown = list(abnormal())
    lines = [f"# Attacks on the white list: {len(found)} signatures and files, {len(shown)} abnormal lists well signed; all refused "
             "or told", "", "| attack | verdict | text shown |", "|---|---|---|"]
    lines += [f"| {name} | {rule} | {text} |" for name, rule, text in [*found, *shown]]
    report("list-attacks.md", "\n".join(lines))


def test_a_comment_cannot_split_a_name() -> None:
    """Not a refusal: the name that was signed is the name that is read."""
    forge = forgeries()
    split = forge.signed().replace(b"a.mssante.fr", b"a.mss<!-- x -->ante.fr", 1)
    assert forge.accept(split).domains() == {"a.mssante.fr", "b.mssante.fr"}
