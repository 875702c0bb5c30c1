"""The configuration folder of a lab operator: `operator.toml` and `domains.toml`, as an integrator would write them.

The lab has no private door into an operator: what differs from production is written here, in plain settings (loopback
addresses, short delays, the lab's authorities), and read by the ordinary loader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mssante.errors import InputFault
from mssante.lab.files import write_atomic
from mssante.lab.igc import ORGANISATIONS_NAME
from mssante.lab.plan import (
    CITIZEN_DOMAIN,
    DOORS,
    HL7_NAMES,
    HOSPITAL_OF,
    HOSPITAL_OFFSET,
    HOST,
    LIST_PATH,
    LIST_SIGNER_CN,
    OPERATORS,
    PEERS,
    PSC_ADMITTED,
    OperatorPlan,
    infra_ports,
    psc_issuer,
)
from mssante.lang import say
from mssante.model.mailbox import MailboxType

CITIZEN_MAX_BYTES = 25_000_000  # F2.16, F9.7
CITIZEN_TAKEN_BYTES = 40_000_000

Value = str | int | bool | list[str] | dict[str, str] | dict[str, int]
Section = dict[str, Value]


@dataclass(frozen=True, slots=True)
class LabSettings:
    """What the command line decides for every operator. storage: URL, `{operator}` in it becomes the operator's name; hospital:
    the little hospital runs beside alpha, which gives it what its application's mailbox receives."""

    base_port: int
    signer_structure: str
    storage: str = ""
    hospital: bool = False


def _toml_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string (TOML 1.0 §String)


def toml_text(comment: str, sections: dict[str, Section]) -> str:
    """Give a TOML text: `sections` by table name; a name in `[[ ]]` makes one element of an array of tables."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for name, section in sections.items():
        lines.append("")
        lines.append(name if name.startswith("[[") else f"[{name}]")
        lines.extend(f"{key} = {_toml_value(value)}" for key, value in section.items())
    return "\n".join(lines) + "\n"


def storage_url(template: str, operator: str) -> str:
    """Give the database URL of one operator: each needs its own (`{operator}`, or the name added to the last part)."""
    if not template:
        return "sqlite:///../data/mssante.db"
    if "{operator}" in template:
        return template.replace("{operator}", operator)
    if template.startswith("sqlite"):
        raise InputFault(say("un fichier SQLite ne peut servir trois opérateurs",
                             "one SQLite file cannot serve three operators"), rule="LAB-STORAGE",
                         remedy=say("mettez {operator} dans l'URL, ou retirez --storage",
                                    "put {operator} in the URL, or leave --storage out"))
    head, mark, options = template.partition("?")
    return f"{head}_{operator}{mark}{options}"


def _routes(plan: OperatorPlan, base: int) -> dict[str, str]:
    """Fixed routes (F2.10): MX records carry no port and the lab cannot listen on 25, so each domain gets host:port."""
    routes = {other.domain: f"{HOST}:{other.port(base, 'smtp')}" for other in OPERATORS if other.name != plan.name}
    routes.update({peer.domain: f"{HOST}:{base + peer.offset}" for peer in PEERS})
    return routes


def hl7_sections(plan: OperatorPlan, settings: LabSettings) -> dict[str, Section]:
    """Give the MLLP door of an operator and its one application; they stand last in the file, so that a test may replace them."""
    if not plan.hl7_mailbox:
        return {}
    base = settings.base_port
    structure = next(account.holder_id for account in plan.accounts if account.type is MailboxType.APP)
    one: Section = {"name": "dpi", "mailbox": plan.hl7_mailbox, "sending_application": HL7_NAMES["sending_application"],
                    "networks": ["127.0.0.0/8"], "structure_name": plan.title, "structure_number": structure}
    if settings.hospital and plan.name == HOSPITAL_OF:
        one |= {"connect": f"{HOST}:{base + HOSPITAL_OFFSET}", "deliver": True}
    return {"hl7": {"enabled": True, "listen": f"{HOST}:{plan.mllp_port(base)}", "application": HL7_NAMES["application"],
                    "facility": HL7_NAMES["facility"], "processing": ["P", "T", "D"], "poll_seconds": 1, "retry_seconds": 1,
                    "retry_most_seconds": 5}, "[[hl7.applications]]": one}


def operator_sections(plan: OperatorPlan, settings: LabSettings) -> dict[str, Section]:
    """Give `operator.toml` of one operator as tables."""
    base = settings.base_port
    ports = infra_ports(base)
    crl = f"http://{HOST}:{ports['crl']}"
    listen: Section = {door: f"{HOST}:{plan.port(base, door)}" for door in DOORS}
    limits: Section = {"connections": 5000, "connections_per_address": 5000}  # every peer of a lab is 127.0.0.1
    if plan.domain == CITIZEN_DOMAIN:
        limits["message_bytes"] = CITIZEN_TAKEN_BYTES  # what is too big is told by a later message (F9.7)
    return {
        "operator": {"name": plan.name, "hostname": plan.host, "contact": f"support@{plan.domain}"},
        "listen": listen,
        "login": {"connections_per_account": 5000, "client_anchors": "../certs/anchors.pem"},
        "psc": {"environment": "custom", "issuer": psc_issuer(base), "anchors": "../certs/anchors.pem",
                "audiences": list(PSC_ADMITTED)},
        "documents": {"twin": "web"},
        "tls": {"operator_certificate": "../certs/mta.pem", "operator_key": "../certs/mta.key"},
        "trust": {
            "anchors": "../certs/anchors.pem", "issuers": [ORGANISATIONS_NAME],
            "whitelist_url": f"https://{HOST}:{ports['whitelist']}{LIST_PATH}",
            "whitelist_anchors": "../certs/anchors.pem", "whitelist_folder": "../whitelist",
            "whitelist_refresh_seconds": 2, "signer_issuers": [ORGANISATIONS_NAME], "signer_cns": [LIST_SIGNER_CN],
            "signer_ous": [settings.signer_structure],
            "crl_urls": [f"{crl}/ACI-EL-ORG.crl", f"{crl}/ACR-EL.crl"], "crl_folder": "../data/crl",
            "crl_refresh_seconds": 2, "revocation": "both", "ocsp_refresh_seconds": 4,
            # one operator asks the authority itself, the others a responder that it named
            "ocsp_urls": {ORGANISATIONS_NAME: f"http://{HOST}:{ports['ocsp']}/" + ("" if plan.name == "alpha" else "delegated")},
        },
        "storage": {"url": storage_url(settings.storage, plan.name), "blobs": "../data/blobs"},
        "limits": limits,
        "relay": {
            "dns_servers": [f"{HOST}:{ports['dns']}"], "routes": _routes(plan, base), "allow_private": True,
            "first_retry_seconds": 2, "max_retry_seconds": 30, "size_limits": {CITIZEN_DOMAIN: CITIZEN_MAX_BYTES},
        },
        "holds": {"probe_seconds": 2},
        "directory": {"extraction_url": f"http://{HOST}:{ports['directory']}/extraction", "refresh_seconds": 30,
                      "fhir_url": f"http://{HOST}:{ports['directory']}/fhir/v2", "fhir_api_key_file": "../certs/annuaire.key",
                      "remote_found_hours": 1, "remote_absent_minutes": 1},
        "publication": {"driver": "none" if plan.domain == CITIZEN_DOMAIN else "fhir",
                        "url": f"http://{HOST}:{ports['directory']}/fhir/v2", "api_key_file": "../certs/annuaire.key",
                        "sweep_seconds": 2, "first_retry_seconds": 2, "longest_retry_seconds": 10, "per_second": 50},
        "citizen": {"role": "operator" if plan.domain == CITIZEN_DOMAIN else "bridge"},
        # the professionals have keys: what is encrypted for them is opened; what they send stays as it is, until told otherwise
        "smime": {"enabled": True, "incoming": "open", "issuers": [ORGANISATIONS_NAME], "keys_folder": "../certs"},
        **hl7_sections(plan, settings),
    }


def domains_sections(plan: OperatorPlan) -> dict[str, Section]:
    """Give `domains.toml` of one operator as tables."""
    return {
        "[[domain]]": {"name": plan.domain, "description": plan.title},
        "citizen": {"domain": CITIZEN_DOMAIN, "check_ins": "reject"},
    }


def write_config(folder: Path, plan: OperatorPlan, settings: LabSettings) -> None:
    """Write both files into `folder`."""
    comment = f"Laboratoire MSSanté : opérateur {plan.name}. Écrit par `mssante lab up`, relu au démarrage."
    write_atomic(folder / "operator.toml", toml_text(comment, operator_sections(plan, settings)).encode())
    write_atomic(folder / "domains.toml", toml_text(comment, domains_sections(plan)).encode())
