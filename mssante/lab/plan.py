"""Who lives in a lab and on which port: the constants of the lab, listed once.

- A listener stands at base port + a fixed offset, so that several labs run side by side.
- Identities are fictitious: structures carry SIRET of the unused 99 range with right check digits, professionals the
  RPPS range 99700 reserved for examples, citizens the public test matricules whose key is right (spec §9, F9.1, F9.14).
- Read by every other module of the lab; holds no behaviour beyond arithmetic on ports.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.mailbox import MailboxType

HOST = "127.0.0.1"
DEFAULT_BASE_PORT = 20000
HIGHEST_OFFSET = 910
SUFFIX = "mssante.test"  # RFC 6761 §6.2: `.test` never meets the real DNS
CITIZEN_DOMAIN = f"patient.{SUFFIX}"

INFRA_OFFSETS = {"whitelist": 10, "crl": 11, "ocsp": 12, "dns": 13, "directory": 14, "psc": 15}
PSC_REALM = "/auth/realms/esante-wallet"  # of the real one (spec §6.2)
PSC_ADMITTED = ("lab-lps", "lab-webmail")  # clients of the provider whose tokens the operators take
DOORS = ("smtp", "submission", "submissions", "imap", "imaps", "console", "metrics", "web", "managesieve", "ldaps")

MLLP_OFFSET = 130  # of alpha, then beta: outside the blocks of ten, which are full
HOSPITAL_OFFSET = 140  # where the little hospital is given messages (`lab up --hospital`)
HOSPITAL_OF = "alpha"  # whose application it is
HL7_NAMES = {"application": "MSSANTE", "facility": "MSSANTE", "sending_application": "DPI", "sending_facility": "HOPITAL LAB"}

LIST_SIGNER_CN = "Liste Blanche LAB"
LIST_PATH = "/listeblanchemssante.xml"


def luhn_digit(digits: str) -> str:
    """Give the check digit that makes `digits` + digit pass Luhn (RPPS, FINESS, SIREN and SIRET use it)."""
    total = 0
    for rank, character in enumerate(reversed(digits)):
        value = int(character) * (2 if rank % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def fictitious_siret(rank: int) -> str:
    """Give a 14-digit SIRET of the unused 99 range whose SIREN and SIRET check digits are right."""
    stem = f"990{rank:05d}"
    siren = stem + luhn_digit(stem)
    return siren + "0001" + luhn_digit(siren + "0001")


def fictitious_finess(rank: int) -> str:
    """Give a 9-digit FINESS of the unused department 99 with its check digit."""
    stem = f"990{rank:05d}"
    return stem + luhn_digit(stem)


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """A named mailbox of the lab. holder_id: `8`+RPPS for PER, `1`+FINESS for ORG and APP, empty for a citizen."""

    local_part: str
    type: MailboxType
    display_name: str
    holder_id: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class OperatorPlan:
    """One operator: its domain, its first port (base + offset) and its named mailboxes."""

    name: str
    domain: str
    offset: int
    rank: int
    organisation: str
    accounts: tuple[AccountPlan, ...]

    @property
    def host(self) -> str:
        """The MX host: CN of the operator's certificate (spec §1.3)."""
        return f"mta.{self.domain}"

    @property
    def structure(self) -> str:
        """The OU of its certificate: type digit 3 + SIRET (spec §3.4)."""
        return "3" + fictitious_siret(self.rank)

    @property
    def title(self) -> str:
        """The legal name, marked LAB."""
        return f"{self.organisation} LAB"

    def port(self, base: int, door: str) -> int:
        """Give the port of one of `DOORS`."""
        return base + self.offset + DOORS.index(door)

    @property
    def hl7_mailbox(self) -> str:
        """The mailbox of its HL7 application; empty for an operator without one (it then has no MLLP door)."""
        return next((f"{one.local_part}@{self.domain}" for one in self.accounts if one.type is MailboxType.APP), "")

    def mllp_port(self, base: int) -> int:
        """Give the port of its MLLP door."""
        return base + MLLP_OFFSET + self.rank - 1


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """A peer that tests play with its key. listed: its (domain, DN) stands on the list; listed_for: another domain does."""

    name: str
    domain: str
    offset: int
    rank: int
    why: str
    issuer: str = "organisations"
    listed: bool = True
    listed_for: str = ""
    revoked: bool = False
    expired: bool = False

    @property
    def host(self) -> str:
        """CN of its certificate."""
        return f"mta.{self.listed_for or self.domain}"

    @property
    def structure(self) -> str:
        """The OU of its certificate."""
        return "3" + fictitious_siret(self.rank)

    @property
    def title(self) -> str:
        """The legal name, marked LAB."""
        return f"OPERATEUR {self.name.replace('_', ' ').upper()} LAB"


OPERATORS = (
    OperatorPlan("alpha", f"alpha.{SUFFIX}", 100, 1, "OPERATEUR ALPHA", (
        AccountPlan("claire.martin", MailboxType.PER, "Claire MARTIN", "899700000011"),
        AccountPlan("secretariat.cardio", MailboxType.ORG, "Secrétariat de cardiologie",
                    "1" + fictitious_finess(1), "CARDIOLOGIE"),
        AccountPlan("resultats", MailboxType.APP, "Résultats alpha", "1" + fictitious_finess(1), "RESULTATS"),
    )),
    OperatorPlan("beta", f"beta.{SUFFIX}", 110, 2, "OPERATEUR BETA", (
        AccountPlan("paul.durand", MailboxType.PER, "Paul DURAND", "899700000773"),
        AccountPlan("labo.biologie", MailboxType.ORG, "Laboratoire de biologie",
                    "1" + fictitious_finess(2), "BIOLOGIE"),
        AccountPlan("resultats", MailboxType.APP, "Résultats beta", "1" + fictitious_finess(2), "RESULTATS"),
    )),
    OperatorPlan("citizen", CITIZEN_DOMAIN, 120, 3, "SERVICE CITOYEN", (
        AccountPlan("279035121518989", MailboxType.PER, "Usager fictif 1"),
        AccountPlan("162018885045327", MailboxType.PER, "Usager fictif 2"),
    )),
)

PEERS = (
    PeerPlan("gamma", f"gamma.{SUFFIX}", 900, 11,
             "listed, valid: nobody runs it; tests play it with its key, "
             "and alpha delivers its mail to this reserved address"),
    PeerPlan("unlisted", f"unlisted.{SUFFIX}", 901, 12, "valid certificate, domain not on the list", listed=False),
    PeerPlan("revoked", f"revoked.{SUFFIX}", 902, 13, "listed, certificate on the CRL", revoked=True),
    PeerPlan("expired", f"expired.{SUFFIX}", 903, 14, "listed, certificate past its end", expired=True),
    PeerPlan("foreign_ca", f"foreign-ca.{SUFFIX}", 904, 15, "listed subject, issued by another CA", issuer="foreign"),
    PeerPlan("personnes", f"personnes.{SUFFIX}", 905, 16, "listed subject, issued by ÉLÉMENTAIRE PERSONNES",
             issuer="personnes"),
    PeerPlan("other_name", f"other-name.{SUFFIX}", 906, 17, "valid, listed for another domain only",
             listed_for=f"delta.{SUFFIX}"),
)


def operator_plan(name: str) -> OperatorPlan:
    """Give the plan of `alpha`, `beta` or `citizen`; raises KeyError for any other name."""
    return {plan.name: plan for plan in OPERATORS}[name]


def infra_ports(base: int) -> dict[str, int]:
    """Give the port of each shared service by name."""
    return {name: base + offset for name, offset in INFRA_OFFSETS.items()}


def psc_issuer(base: int) -> str:
    """Give the issuer of a lab's Pro Santé Connect."""
    return f"https://{HOST}:{infra_ports(base)['psc']}{PSC_REALM}"


def all_ports(base: int) -> dict[str, int]:
    """Give every port that `lab up` opens, by `part.door`; the reserved ports of the peers are not in it."""
    ports = {f"infra.{name}": port for name, port in infra_ports(base).items()}
    for plan in OPERATORS:
        ports.update({f"{plan.name}.{door}": plan.port(base, door) for door in DOORS})
        if plan.hl7_mailbox:
            ports[f"{plan.name}.mllp"] = plan.mllp_port(base)
    ports["hospital"] = base + HOSPITAL_OFFSET
    return ports
