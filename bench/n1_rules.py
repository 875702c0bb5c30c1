"""Holds the CDA that we make of a PDF (documents/n1.py) against the ANS header schematron and the CDA schema.

Run: `python bench/n1_rules.py RULES` where RULES is a folder as `documents.rules_directory` (schemas, schematrons, stylesheets of
the engine). Prints one line for each case: rules fired, rules failed, verdict of the schema. Not a test: compiling takes 15 s.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from lxml import etree

from mssante.documents.cda import InstanceId
from mssante.documents.codes import Code
from mssante.documents.ins import OID_NIR_TEST
from mssante.documents.n1 import LOINC_OID, SPECIALTY_OID, N1Facts, N1Patient, N1Person, N1Structure, n1_document
from mssante.documents.schematron import Schematron, compile_schematron
from mssante.services.rulefiles import read_rules

PATIENT = N1Patient("TESTPATIENT", "ALIXTEST", date(1979, 3, 28), "F", "279035121518989", OID_NIR_TEST, birth_place="51215")
LEAST = N1Facts(
    PATIENT, N1Person("899700000001", "TESTMEDECIN", "Camille", "M", "DR",
                      Code("G15_10/SM26", SPECIALTY_OID, "Médecine générale")),
    N1Structure("1990000001", "Centre de test", Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9"),
                Code("SA01", "1.2.250.1.71.4.2.4")),
    Code("11488-4", LOINC_OID), "CR de consultation", datetime(2026, 2, 28, 9, 30, tzinfo=UTC), InstanceId("2.25.99001"))
CASES = {
    "least": LEAST,
    "full": replace(LEAST, set_id=InstanceId("2.25.5"), version=3, confidentiality="R", started=datetime(2026, 2, 27, tzinfo=UTC),
                    stopped=datetime(2026, 2, 28, tzinfo=UTC), encounter=InstanceId("1.2.3.4", "SEJ1"),
                    replaces=(InstanceId("2.25.4"),), act=Code("24727-0", LOINC_OID, "Scanner"),
                    patient=replace(PATIENT, family_used="TESTUSAGE", given_used="ALIX", telecoms=("tel:0100000000",))),
    "without INS": replace(LEAST, patient=replace(PATIENT, ins="", local_id=InstanceId("1.2.3.4.567", "IPP42"))),
}


def main(folder: Path) -> int:
    """Print the table; 1 when something failed."""
    schema_file = next(iter(sorted(folder.rglob("CDA.xsd"))), None)
    schema = etree.XMLSchema(etree.parse(str(schema_file))) if schema_file is not None else None
    failed = 0
    for one in read_rules(folder).schematrons:
        rules = Schematron(one.name, compile_schematron(one))
        for name, facts in CASES.items():
            root = etree.fromstring(n1_document(b"%PDF-1.4\n%%EOF\n", facts))
            verdict = rules.run(root, name)
            valid = schema is None or schema.validate(root)
            failed += verdict.failed + (not valid)
            print(f"{one.name}  {name:12} fired {verdict.fired:4} failed {verdict.failed} schema {'ok' if valid else 'NO'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
