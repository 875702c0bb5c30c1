"""What is wrong with an HL7 v2 message, in the words of HL7 table 0357, so that the answer can name code and place.

- `Hl7Fault` carries the code, the place (segment, occurrence, field) and a text without any content of the message.
- Raised by every module of this package and by services.hl7gateway; turned into ACK and ERR by `writer.acknowledge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mssante.errors import MssFault


class Hl7Code(IntEnum):
    """The codes of table 0357 that the volets use (spec §7.4)."""

    ACCEPTED = 0
    SEGMENT_SEQUENCE = 100
    REQUIRED_FIELD = 101
    DATA_TYPE = 102
    TABLE_VALUE = 103
    CARDINALITY = 198
    OTHER = 199
    MESSAGE_TYPE = 200
    EVENT_CODE = 201
    PROCESSING_ID = 202
    VERSION_ID = 203
    INTERNAL = 207


LABELS: dict[Hl7Code, str] = {
    Hl7Code.ACCEPTED: "Message accepted",
    Hl7Code.SEGMENT_SEQUENCE: "Segment sequence error",
    Hl7Code.REQUIRED_FIELD: "Required field missing",
    Hl7Code.DATA_TYPE: "Data type error",
    Hl7Code.TABLE_VALUE: "Table value not found",
    Hl7Code.CARDINALITY: "Non-conformant cardinality",
    Hl7Code.OTHER: "Other HL7 error",
    Hl7Code.MESSAGE_TYPE: "Unsupported message type",
    Hl7Code.EVENT_CODE: "Unsupported event code",
    Hl7Code.PROCESSING_ID: "Unsupported processing id",
    Hl7Code.VERSION_ID: "Unsupported version id",
    Hl7Code.INTERNAL: "Application internal error",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where: segment name, its occurrence from 1, field and component from 1; 0 when it does not apply (HL7 v2 ERL)."""

    segment: str = ""
    occurrence: int = 0
    field: int = 0
    component: int = 0

    def __str__(self) -> str:
        """Give `OBX[2]-5.3`, or an empty text for no place."""
        occurrence = f"[{self.occurrence}]" if self.occurrence else ""
        field = f"-{self.field}" if self.field else ""
        return f"{self.segment}{occurrence}{field}{f'.{self.component}' if self.component else ''}"


NOWHERE = Place()


class Hl7Fault(MssFault):
    """A message that is not taken. code: of table 0357; place: where; temporary: the answer is AR, which the volets define as
    "rejected for a passing reason, may be sent again later", else AE."""

    kind = "hl7"
    temporary = False

    def __init__(self, code: Hl7Code, public: str, *, rule: str, place: Place = NOWHERE, remedy: str = "") -> None:
        super().__init__(public, rule=rule, remedy=remedy)
        self.code = code
        self.place = place


class Hl7Busy(Hl7Fault):
    """We cannot take the message now: AR, to be sent again later."""

    temporary = True
