"""Arguments of commands and tests, read by their specification: tags in any order, then what must stand (RFC 5228 §2.6).

A specification names each tag with the kind of its value (`""` none, `s` string, `l` list, `n` number) and the extension that it
needs, and the kinds of the positional arguments. Called by `conditions` and `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mssante.protocol.sieve.faults import Limits, SieveFault
from mssante.protocol.sieve.grammar import Argument, Node, Number, Strings, Tag
from mssante.protocol.sieve.strings import Text, decode_encoded, template

CAPABILITIES = (
    "fileinto", "envelope", "encoded-character", "copy", "imap4flags", "vacation", "vacation-seconds", "date", "index",
    "variables", "relational", "mailbox", "subaddress", "comparator-i;octet", "comparator-i;ascii-casemap",
    "comparator-i;ascii-numeric")
# Known and declined: what is told instead of "unknown".
DECLINED = {
    "reject": ("un courrier accepté dans l'espace de confiance n'est pas refusé après coup",
               "mail accepted in the trust space is not refused afterwards"),
    "ereject": ("un courrier accepté dans l'espace de confiance n'est pas refusé après coup",
                "mail accepted in the trust space is not refused afterwards"),
    "body": ("les filtres ne lisent pas le corps des messages", "filters do not read the bodies of messages"),
}


@dataclass(slots=True)
class Context:
    """What a compilation knows. redirects: `redirect` may be used here; capabilities: those required so far."""

    limits: Limits
    redirects: bool = False
    capabilities: set[str] = field(default_factory=set)

    @property
    def offered(self) -> tuple[str, ...]:
        """Names that `require` accepts."""
        return CAPABILITIES

    def need(self, capability: str, line: int, what: str) -> None:
        """Raise SieveFault (`SIEVE-EXTENSION`) unless a capability was required."""
        if capability and capability not in self.capabilities:
            raise SieveFault(line, f"{what} demande require \"{capability}\"", f"{what} needs require \"{capability}\"",
                             rule="SIEVE-EXTENSION", remedy=f'require ["{capability}"];')

    def require(self, names: Strings) -> None:
        """Take a `require`. Raises SieveFault for what is not offered."""
        for name in names.values:
            if name not in CAPABILITIES:
                why = DECLINED.get(name, ("", ""))
                raise SieveFault(names.line, f"extension « {name[:40]} » non offerte" + (f" ({why[0]})" if why[0] else ""),
                                 f"extension '{name[:40]}' is not offered" + (f" ({why[1]})" if why[1] else ""),
                                 rule="SIEVE-EXTENSION")
            self.capabilities.add("vacation" if name == "vacation-seconds" else name)
            self.capabilities.add(name)

    def text(self, value: str, line: int) -> Text:
        """Give a string as it is used: encoded characters decoded, variables marked."""
        if "encoded-character" in self.capabilities:
            try:
                value = decode_encoded(value)
            except ValueError as fault:
                raise SieveFault(line, "caractère Unicode impossible", "impossible Unicode character",
                                 rule="SIEVE-FORME") from fault
        return template(value) if "variables" in self.capabilities else value


@dataclass(frozen=True, slots=True)
class Spec:
    """What a command or test takes. tags: name -> (kind, extension); optional: kinds that may stand before the positional ones;
    tests: how many, -1 a list in parentheses."""

    positional: str = ""
    tags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    optional: str = ""
    tests: int = 0
    capability: str = ""


@dataclass(slots=True)
class Read:
    """Arguments by name and place."""

    node: Node
    context: Context
    tags: dict[str, Argument | None]
    places: list[Argument]

    def has(self, *names: str) -> str:
        """Give which of these tags stands, empty when none does. Raises SieveFault when two do."""
        found = [name for name in names if name in self.tags]
        if len(found) > 1:
            raise SieveFault(self.node.line, f":{found[0]} et :{found[1]} s'excluent",
                             f":{found[0]} and :{found[1]} exclude each other")
        return found[0] if found else ""

    def strings(self, value: Argument | None) -> tuple[Text, ...]:
        """Give the strings of an argument."""
        return tuple([self.context.text(one, value.line) for one in value.values]) if isinstance(value, Strings) else ()

    def string(self, value: Argument | None, default: str = "") -> Text:
        """Give the one string of an argument."""
        found = self.strings(value)
        return found[0] if found else default

    def constant(self, value: Argument | None, default: str = "") -> str:
        """Give a string that may hold no variable. Raises SieveFault."""
        found = self.string(value, default)
        if not isinstance(found, str):
            raise SieveFault(self.node.line, "pas de variable ici", "no variable here")
        return found

    def number(self, value: Argument | None, default: int = 0) -> int:
        """Give a number."""
        return value.value if isinstance(value, Number) else default


def _is(kind: str, argument: Argument) -> bool:
    if kind == "n":
        return isinstance(argument, Number)
    return isinstance(argument, Strings) and (kind == "l" or argument.single)


_KINDS = {"n": ("un nombre", "a number"), "s": ("une chaîne", "a string"), "l": ("une liste de chaînes", "a list of strings")}


def read_arguments(node: Node, spec: Spec, context: Context) -> Read:
    """Give the arguments of a node. Raises SieveFault for what does not fit."""
    context.need(spec.capability, node.line, node.name)
    tags: dict[str, Argument | None] = {}
    places: list[Argument] = []
    rest = iter(node.arguments)
    for argument in rest:
        if not isinstance(argument, Tag):
            places.append(argument)
            continue
        if places:
            raise SieveFault(argument.line, f":{argument.name} doit précéder les autres arguments de {node.name}",
                             f":{argument.name} must come before the other arguments of {node.name}")
        known = spec.tags.get(argument.name)
        if known is None or argument.name in tags:
            word = "inconnu" if known is None else "répété"
            raise SieveFault(argument.line, f"argument :{argument.name[:40]} {word} pour {node.name}",
                             f":{argument.name[:40]} is {'unknown' if known is None else 'repeated'} for {node.name}")
        kind, capability = known
        context.need(capability, argument.line, f":{argument.name}")
        tags[argument.name] = _value(argument, kind, next(rest, None)) if kind else None
    _check_places(node, spec, places)
    _check_tests(node, spec)
    return Read(node, context, tags, places)


def _value(tag: Tag, kind: str, value: Argument | None) -> Argument:
    if value is None or isinstance(value, Tag) or not _is(kind, value):
        raise SieveFault(tag.line, f":{tag.name} veut {_KINDS[kind][0]}", f":{tag.name} wants {_KINDS[kind][1]}")
    return value


def _check_places(node: Node, spec: Spec, places: list[Argument]) -> None:
    wanted = spec.positional
    if len(places) > len(wanted):
        wanted = spec.optional + wanted
    if len(places) != len(wanted):
        raise SieveFault(node.line, f"{node.name} : {len(spec.positional)} argument(s) attendu(s), {len(places)} trouvé(s)",
                         f"{node.name}: {len(spec.positional)} argument(s) expected, {len(places)} found")
    for kind, argument in zip(wanted, places, strict=True):
        if not _is(kind, argument):
            raise SieveFault(argument.line, f"{node.name} veut {_KINDS[kind][0]}", f"{node.name} wants {_KINDS[kind][1]}")


def _check_tests(node: Node, spec: Spec) -> None:
    wrong = not (node.tests and node.listed) if spec.tests == -1 else len(node.tests) != spec.tests or node.listed
    if wrong:
        french = "une liste de tests" if spec.tests == -1 else f"{spec.tests} test"
        english = "a list of tests" if spec.tests == -1 else f"{spec.tests} test"
        raise SieveFault(node.line, f"{node.name} veut {french}", f"{node.name} wants {english}")
