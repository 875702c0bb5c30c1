"""Made-up HL7 messages of a fictitious hospital, and the settings of a gateway for tests."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network
from typing import Any

from support.handing import INS, NAMES, PDF, cda

from mssante.documents.codes import Code
from mssante.documents.ins import OID_NIR_TEST
from mssante.documents.n1 import N1Structure
from mssante.protocol.hl7v2.er7 import Limits, Message, parse
from mssante.protocol.hl7v2.values import Correspondents
from mssante.services.hl7values import Application, Caller, GatewaySettings

FLAGS = {"MASQUE_PS": "N", "INVISIBLE_PATIENT": "N", "INVISIBLE_REP_LEGAUX": "N", "CONNEXION_SECRETE": "N", "MODIF_CONF_CODE": "N",
         "DESTDMP": "N", "DESTMSSANTEPS": "Y", "DESTMSSANTEPAT": "N", "ACK_RECEPTION": "Y", "ACK_LECTURE_MSS": "Y"}
HERE = Caller(ip_address("127.0.0.1"))


def order(recipients: tuple[str, ...], **changes: Any) -> bytes:
    """Give an ORU or MDM. Changes: kind, event, control, content (octets), subtype, flags, order, status, texts, extra, ins, head."""
    given: dict[str, Any] = {"kind": "MDM", "event": "T02", "control": "M0001", "content": None, "subtype": "XML", "flags": {},
                             "order": "NW", "status": "F", "texts": {}, "final": False, "reply": "", "ins": INS,
                             "charset": "UNICODE UTF-8", "date": "20260301120000", "application": "DPI", "sender": True}
    given |= changes
    kind, event = given["kind"], given["event"]
    content = given["content"] if given["content"] is not None else cda()
    document = base64.b64encode(content).decode()
    coded = "11488-4^CR de consultation^LN"
    lines = [rf"MSH|^~\&|{given['application']}|HOPITAL|MSSANTE|MSSANTE|{given['date']}||{kind}^{event}^{kind}_{event}|"
             f"{given['control']}|P|{'2.6' if kind == 'MDM' else '2.5'}|||||FRA|{given['charset']}|||2.1^CISIS_CDA_HL7_V2",
             *([f"EVN||{given['date']}"] if kind == "MDM" else []),
             f"PID|||{given['ins']}^^^ASIP-SANTE-INS-NIR&{OID_NIR_TEST}&ISO^INS~IPP42^^^HOPITAL&1.2.3.4.567&ISO^PI||"
             f"{NAMES[0]}^{NAMES[1]}^{NAMES[1]}^^^^L||19790328|F|||^^^^^^BDL^^75115", "PV1|1|I|UF",
             f"ORC|{given['order']}", f"OBR|1|||{coded}", *(["TXA|1|11488-4|TEXT|202602280930||||||||2.25.99001|||||AU"]
                                                            if kind == "MDM" else []),
             f"OBX|1|ED|{coded}||^TEXT^{given['subtype']}^Base64^{document}||||||{given['status']}|"]
    if given["sender"]:
        lines.append("PRT||UC||SB^^participation|899700000001^TESTMEDECIN^Camille^^^^^^ASIP-SANTE-PS&1.2.250.1.71.4.2.1&ISO^D^^^RPPS")
    lines += [f"PRT||UC||RCT^^participation|||||||||||^^X.400^{one}" for one in recipients]
    if given["reply"]:
        lines.append(f"PRT||UC||REPLY^^participation|||||||||||^^X.400^{given['reply']}")
    for number, (code, value) in enumerate({**FLAGS, **given["flags"]}.items(), 2):
        if value:
            lines.append(f"OBX|{number}|CWE|{code}^libelle^MetaDMPMSS||{value}^^expandedYes-NoIndicator||||||F|")
            if code == "DESTMSSANTEPAT" and given["final"]:
                lines.append("NTE|1|||FIN")
    for code, text in given["texts"].items():
        body = base64.b64encode(text.encode()).decode()
        lines.append(f"OBX|20|ED|{code}^corps^MetaDMPMSS||^TEXT^^Base64^{body}||||||F|")
    charset = {"8859/15": "iso-8859-15", "8859/1": "iso-8859-1"}.get(given["charset"], "utf-8")
    return ("\r".join(lines) + "\r").encode(charset)


def pdf_order(recipients: tuple[str, ...], **changes: Any) -> bytes:
    """Give an order with a PDF."""
    return order(recipients, **{"content": PDF, "subtype": "PDF", **changes})


def application(mailbox: str, **changes: Any) -> Application:
    """Give an application of the hospital."""
    given: dict[str, Any] = {
        "name": "dpi", "mailbox": mailbox, "sending_application": "DPI", "sending_facility": "",
        "networks": (ip_network("127.0.0.0/8"),), "certificates": frozenset(),
        "correspondents": Correspondents("MSSANTE", "MSSANTE", "DPI", "HOPITAL"), "gives": True, "deliver": True,
        "structure": N1Structure("1990000001", "Centre de test", Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9"),
                                 Code("SA01", "1.2.250.1.71.4.2.4"))}
    return Application(**{**given, **changes})


def settings(citizen: str = "patient.mssante.fr") -> GatewaySettings:
    """Give the settings of a gateway."""
    return GatewaySettings(("P",), "iso-8859-15", Limits(message=4 << 20), citizen)


def read(raw: bytes) -> Message:
    """Read a message."""
    return parse(raw, Limits())


def answer_to(raw: bytes, code: str = "AA", *, error: str = "") -> bytes:
    """Give the ACK of an application. error: an ERR segment as it stands."""
    header = read(raw).header
    lines = [rf"MSH|^~\&|{header.text(5)}|{header.text(6)}|{header.text(3)}|{header.text(4)}|20260301||ACK^{header.text(9, 2)}^ACK|"
             f"A{header.text(10)[1:]}|P|2.6|||||FRA|UNICODE UTF-8", f"MSA|{code}|{header.text(10)}", *([error] if error else [])]
    return ("\r".join(lines) + "\r").encode()
