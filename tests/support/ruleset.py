"""A small folder of rules of our own, in the shape of the one of ANS: schema, engine of four steps, a schematron with a value set."""

from __future__ import annotations

from pathlib import Path

_XSL = 'xmlns:xsl="http://www.w3.org/1999/XSL/Transform"'
_SAME = (f'<xsl:stylesheet version="2.0" {_XSL}><xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/>'
         "</xsl:copy></xsl:template></xsl:stylesheet>")
_COMPILER = f"""<xsl:stylesheet version="2.0" {_XSL} xmlns:out="urn:out" xmlns:sch="http://purl.oclc.org/dsdl/schematron"
  xmlns:svrl="http://purl.oclc.org/dsdl/svrl" exclude-result-prefixes="sch">
<xsl:import href="skeleton.xsl"/>
<xsl:namespace-alias stylesheet-prefix="out" result-prefix="xsl"/>
<xsl:template match="/sch:schema">
 <out:stylesheet version="2.0" xmlns:hl7="urn:hl7-org:v3">
  <xsl:copy-of select="sch:raw/node()"/>
  <out:template match="/"><svrl:schematron-output><xsl:for-each select="sch:pattern/sch:rule"><xsl:variable name="rule" select="."/>
   <out:for-each select="{{@context}}"><svrl:fired-rule id="{{@id}}"/>
    <xsl:for-each select="sch:assert"><out:if test="not({{@test}})"><svrl:failed-assert role="{{@role}}" id="{{@id}}">
     <out:attribute name="location"><out:for-each select="ancestor-or-self::*">/*:<out:value-of select="local-name()"/>[namespace-uri()='<out:value-of
       select="namespace-uri()"/>'][<out:value-of select="1 + count(preceding-sibling::*[name() = name(current())])"/>]</out:for-each></out:attribute>
     <svrl:text><xsl:value-of select="."/></svrl:text></svrl:failed-assert></out:if></xsl:for-each>
   </out:for-each></xsl:for-each></svrl:schematron-output></out:template>
 </out:stylesheet>
</xsl:template></xsl:stylesheet>"""
_CODES = '<valueSet><concept code="11488-4"/><concept code="34112-3"/></valueSet>'
_PATTERN = """<pattern xmlns="http://purl.oclc.org/dsdl/schematron" id="tete">
<rule id="R-TETE" context="/hl7:ClinicalDocument">
<assert id="R-PAYS" role="error" test="hl7:realmCode/@code = 'FR'">Le pays (realmCode) vaut FR.</assert>
<assert id="R-LANGUE" role="warning" test="hl7:languageCode">La langue est dite.</assert></rule>
<rule id="R-CODES" context="/hl7:ClinicalDocument/hl7:code">
<assert id="R-TYPE" role="error" test="@code = doc('include/codes.xml')//concept/@code">Le type est au jeu de valeurs.</assert></rule>
</pattern>"""
_SCHEMA = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="urn:hl7-org:v3" targetNamespace="urn:hl7-org:v3"
 elementFormDefault="qualified"><xs:include schemaLocation="general/tete.xsd"/>
<xs:element name="ClinicalDocument" type="Tete"/></xs:schema>"""
_HEAD = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="urn:hl7-org:v3" targetNamespace="urn:hl7-org:v3"
 elementFormDefault="qualified"><xs:complexType name="Tete"><xs:sequence><xs:element name="realmCode" minOccurs="0"/>
<xs:element name="typeId"/><xs:any processContents="skip" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
<xs:anyAttribute processContents="skip"/></xs:complexType></xs:schema>"""


def schematron(*patterns: str, raw: str = "", include: str = '<include href="include/tete.sch"/>') -> str:
    """Give a main file. raw: XSLT put into the compiled stylesheet as it is."""
    return ('<schema xmlns="http://purl.oclc.org/dsdl/schematron" queryBinding="xslt2"><ns uri="urn:hl7-org:v3" prefix="hl7"/>'
            f"{f'<raw>{raw}</raw>' if raw else ''}{include}{''.join(patterns)}</schema>")


def rule(test: str, context: str = "/hl7:ClinicalDocument", ident: str = "R-ESSAI") -> str:
    """Give a pattern of one assertion."""
    test = test.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return (f'<pattern xmlns="http://purl.oclc.org/dsdl/schematron"><rule id="X" context="{context}">'
            f'<assert id="{ident}" role="error" test="{test}">essai</assert></rule></pattern>')


def write_rules(folder: Path, main: str | None = None) -> Path:
    """Write the folder and give it."""
    files = {"schematron/engine/iso_dsdl_include.xsl": _SAME, "schematron/engine/iso_abstract_expand.xsl": _SAME,
             "schematron/engine/iso_svrl_for_xslt2.xsl": _COMPILER,
             "schematron/engine/skeleton.xsl": f'<xsl:stylesheet version="2.0" {_XSL}/>',
             "schematron/tete/tete.sch": main or schematron(), "schematron/tete/include/tete.sch": _PATTERN,
             "schematron/tete/include/codes.xml": _CODES, "xsd/CDA.xsd": _SCHEMA, "xsd/general/tete.xsd": _HEAD}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
