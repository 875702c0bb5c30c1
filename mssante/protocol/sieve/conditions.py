"""Tests of scripts compiled to functions of a `Run` (RFC 5228 §5, RFC 5229 §5, RFC 5231, RFC 5232 §4, RFC 5260, RFC 5490 §3.1).

- Keys without variables are prepared once: `:is` looks into a set, `:matches` holds its pieces.
- All matching spends work from the run's budget, by the size of what is looked at.
Called by `compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from mssante.protocol.sieve.arguments import Context, Read, Spec, read_arguments
from mssante.protocol.sieve.dates import PARTS, read_header_date, read_zone
from mssante.protocol.sieve.faults import SieveFault
from mssante.protocol.sieve.grammar import Node, Strings
from mssante.protocol.sieve.interpreter import Run, joined_flags, read_flags
from mssante.protocol.sieve.match import CASEMAP, COMPARATORS, NUMERIC, RELATIONS, fold, glob, order
from mssante.protocol.sieve.strings import Text

Condition = Callable[[Run], bool]

_MATCH = {"is": ("", ""), "contains": ("", ""), "matches": ("", ""), "count": ("s", "relational"), "value": ("s", "relational"),
          "comparator": ("s", "")}
_PART = {"all": ("", ""), "localpart": ("", ""), "domain": ("", ""), "user": ("", "subaddress"), "detail": ("", "subaddress")}
_INDEX = {"index": ("n", "index"), "last": ("", "index")}
_ZONES = {"zone": ("s", ""), "originalzone": ("", "")}
_ADDRESS_FIELDS = frozenset((
    "from", "to", "cc", "bcc", "sender", "reply-to", "resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-sender",
    "return-path", "delivered-to", "x-original-to", "disposition-notification-to"))
_MAX_TEXT = 8_192


class Matcher:
    """One match: type, comparator, keys."""

    __slots__ = ("_comparator", "_constant", "_keys", "_kind", "_relation", "_set")

    def __init__(self, read: Read, keys: Sequence[Text]) -> None:
        self._kind = read.has("is", "contains", "matches", "count", "value") or "is"
        self._comparator = _comparator(read, self._kind)
        relation = read.constant(read.tags[self._kind]).lower() if self._kind in ("count", "value") else "eq"
        if relation not in RELATIONS:
            raise SieveFault(read.node.line, f"relation « {relation[:20]} » inconnue", f"relation '{relation[:20]}' is unknown")
        self._relation = RELATIONS[relation]
        self._keys = tuple(keys)
        self._constant = all(isinstance(key, str) for key in keys)
        if self._kind == "matches" and any(isinstance(key, str) and len(key) > read.context.limits.pattern for key in keys):
            raise SieveFault(read.node.line, f"motif de plus de {read.context.limits.pattern} caractères",
                             f"pattern of over {read.context.limits.pattern} characters", rule="SIEVE-LIMITE")
        self._set: frozenset[str] | None = None
        if self._constant and self._kind == "is" and self._comparator != NUMERIC:
            self._set = frozenset(self._fold(str(key)) for key in keys)

    def _fold(self, text: str) -> str:
        return fold(text) if self._comparator == CASEMAP else text

    @property
    def counts(self) -> bool:
        """It counts values instead of looking at them."""
        return self._kind == "count"

    def test(self, run: Run, values: Iterable[str]) -> bool:
        """Tell if one of the values matches one of the keys."""
        if self._kind == "count":
            total = str(sum(1 for _ in values))
            return any(self._relation(order(total, run.text(key), self._comparator)) for key in self._keys)
        if self._set is not None:
            for value in values:
                run.spend(len(value) + 1)
                if self._fold(value) in self._set:
                    return True
            return False
        keys = [run.text(key) for key in self._keys]
        if self._kind == "matches":
            return self._globs(run, values, keys)
        return self._others(run, values, keys)

    def _others(self, run: Run, values: Iterable[str], keys: Sequence[str]) -> bool:
        if self._kind == "contains":
            folded = [self._fold(key) for key in keys]
            for value in values:
                run.spend((len(value) + 1) * len(folded))
                text = self._fold(value)
                if any(key in text for key in folded):
                    return True
            return False
        for value in values:
            run.spend((len(value) + 1) * len(keys))
            if any(self._relation(order(value, key, self._comparator)) for key in keys):
                return True
        return False

    def _globs(self, run: Run, values: Iterable[str], keys: Sequence[str]) -> bool:
        patterns = [glob(key[:run.around.limits.pattern], self._comparator == CASEMAP) for key in keys]
        for value in values:
            for pattern in patterns:
                run.spend(pattern.cost(len(value)) + 1)
                found = pattern.match(value)
                if found is not None:
                    run.matched = found  # RFC 5229 §3.2
                    return True
        return False


def _comparator(read: Read, kind: str) -> str:
    name = read.constant(read.tags.get("comparator"), CASEMAP)
    if name not in COMPARATORS:
        raise SieveFault(read.node.line, f"comparateur « {name[:30]} » inconnu", f"comparator '{name[:30]}' is unknown")
    if name == NUMERIC:
        read.context.need("comparator-i;ascii-numeric", read.node.line, name)
        if kind in ("contains", "matches"):
            raise SieveFault(read.node.line, f"{name} ne sait pas :{kind}", f"{name} has no :{kind}")
    return name


def _names(read: Read, texts: Sequence[Text]) -> Callable[[Run], list[str]]:
    """Give what makes field names, lower case."""
    if all(isinstance(text, str) for text in texts):
        fixed = [str(text).lower() for text in texts]
        return lambda run: fixed
    return lambda run: [run.text(text).lower() for text in texts]


def _indexed(read: Read) -> Callable[[Sequence[str]], Sequence[str]]:
    """Give the choice of one value by `:index` and `:last` (RFC 5260 §6)."""
    if "index" not in read.tags:
        if "last" in read.tags:
            raise SieveFault(read.node.line, ":last demande :index", ":last needs :index")
        return lambda values: values
    rank = read.number(read.tags["index"])
    if rank < 1:
        raise SieveFault(read.node.line, ":index commence à 1", ":index begins at 1")
    if "last" in read.tags:
        return lambda values: values[-rank:len(values) - rank + 1] if rank <= len(values) else ()
    return lambda values: values[rank - 1:rank]


def _header(read: Read) -> Condition:
    names, chosen = _names(read, read.strings(read.places[0])), _indexed(read)
    matcher = Matcher(read, read.strings(read.places[1]))

    def condition(run: Run) -> bool:
        return matcher.test(run, (value for name in names(run) for value in chosen(run.view.values(name))))

    return condition


def _part(read: Read) -> Callable[[str, str], str | None]:
    """Give the part of an address that is compared (RFC 5228 §2.7.4, RFC 5233 §4)."""
    part = read.has("all", "localpart", "domain", "user", "detail") or "all"
    return {
        "all": lambda local, domain: f"{local}@{domain}" if domain else local, "localpart": lambda local, domain: local,
        "domain": lambda local, domain: domain, "user": lambda local, domain: local.partition("+")[0],
        "detail": lambda local, domain: local.partition("+")[2] if "+" in local else None,
    }[part]


def _parts(part: Callable[[str, str], str | None], addresses: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (value for value in (part(local, domain) for local, domain in addresses) if value is not None)


def _address(read: Read) -> Condition:
    texts = read.strings(read.places[0])
    for text in texts:
        if isinstance(text, str) and text.lower() not in _ADDRESS_FIELDS:
            raise SieveFault(read.node.line, f"address : {text[:40]} ne porte pas d'adresses",
                             f"address: {text[:40]} holds no address")
    names, matcher, part = _names(read, texts), Matcher(read, read.strings(read.places[1])), _part(read)
    chosen = _indexed(read)

    def condition(run: Run) -> bool:
        found = (pair for name in names(run) if name in _ADDRESS_FIELDS for pair in _pick(chosen, run.view.addresses(name)))
        return matcher.test(run, _parts(part, found))

    return condition


def _pick(chosen: Callable[[Sequence[str]], Sequence[str]], pairs: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return chosen(pairs)  # type: ignore[arg-type, return-value]  # it slices, whatever the items


def _envelope(read: Read) -> Condition:
    texts, matcher, part = read.strings(read.places[0]), Matcher(read, read.strings(read.places[1])), _part(read)
    for text in texts:
        if isinstance(text, str) and text.lower() not in ("from", "to"):
            raise SieveFault(read.node.line, f"envelope : {text[:20]} inconnu (from, to)",
                             f"envelope: {text[:20]} unknown (from, to)")
    names = _names(read, texts)

    def condition(run: Run) -> bool:
        found = [run.view.sender if name == "from" else run.view.recipient for name in names(run) if name in ("from", "to")]
        if matcher.counts:
            found = [address for address in found if address]
        pairs = ((local, domain) for local, _, domain in (address.rpartition("@") for address in found))
        return matcher.test(run, _parts(part, pairs))

    return condition


def _exists(read: Read) -> Condition:
    names = _names(read, read.strings(read.places[0]))
    return lambda run: all(run.view.has(name) for name in names(run))


def _size(read: Read) -> Condition:
    kind, limit = read.has("over", "under"), read.number(read.places[0])
    if not kind:
        raise SieveFault(read.node.line, "size veut :over ou :under", "size wants :over or :under")
    return (lambda run: run.view.size > limit) if kind == "over" else (lambda run: run.view.size < limit)


def _date_part(read: Read, rank: int) -> Callable[[datetime], str]:
    name = read.constant(read.places[rank]).lower()
    if name not in PARTS:
        raise SieveFault(read.node.line, f"partie de date « {name[:20]} » inconnue", f"part of date '{name[:20]}' is unknown")
    return PARTS[name]


def _zone(read: Read) -> Callable[[datetime], datetime]:
    if read.has("zone", "originalzone") == "originalzone":
        return lambda at: at
    if "zone" not in read.tags:
        return lambda at: _moved(at, None)
    zone = read_zone(read.constant(read.tags["zone"]))
    if zone is None:
        raise SieveFault(read.node.line, ":zone s'écrit +hhmm", ":zone is written +hhmm")
    return lambda at: _moved(at, zone)


def _moved(at: datetime, zone: object) -> datetime:
    try:
        return at.astimezone(zone)  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return at


def _date(read: Read) -> Condition:
    name, part, zone = read.constant(read.places[0]).lower(), _date_part(read, 1), _zone(read)
    matcher, chosen = Matcher(read, read.strings(read.places[2])), _indexed(read)

    def condition(run: Run) -> bool:
        values = chosen(run.view.values(name)) if "index" in read.tags else run.view.values(name)[:1]
        moments = (read_header_date(value[:_MAX_TEXT]) for value in values)
        return matcher.test(run, [part(zone(moment)) for moment in moments if moment is not None])

    return condition


def _current_date(read: Read) -> Condition:
    part, zone, matcher = _date_part(read, 0), _zone(read), Matcher(read, read.strings(read.places[1]))
    return lambda run: matcher.test(run, (part(zone(run.around.now)),))


def _string(read: Read) -> Condition:
    sources, matcher = read.strings(read.places[0]), Matcher(read, read.strings(read.places[1]))

    def condition(run: Run) -> bool:
        values = [run.text(text) for text in sources]
        return matcher.test(run, [value for value in values if value] if matcher.counts else values)

    return condition


def _has_flag(read: Read) -> Condition:
    variables = read.strings(read.places[0]) if len(read.places) > 1 else ()
    if variables:
        read.context.need("variables", read.node.line, "hasflag")
    names = [str(name).lower() for name in variables]
    matcher = Matcher(read, read.strings(read.places[-1]))

    def condition(run: Run) -> bool:
        flags = joined_flags(*[read_flags([run.variables.get(name, "")]) for name in names]) if names else run.flags
        return matcher.test(run, flags)

    return condition


def _mailbox_exists(read: Read) -> Condition:
    names = read.strings(read.places[0])
    return lambda run: all(run.around.exists(run.text(name)) for name in names)


_LEAVES: dict[str, tuple[Spec, Callable[[Read], Condition]]] = {
    "header": (Spec("ll", {**_MATCH, **_INDEX}), _header),
    "address": (Spec("ll", {**_MATCH, **_PART, **_INDEX}), _address),
    "envelope": (Spec("ll", {**_MATCH, **_PART}, capability="envelope"), _envelope),
    "exists": (Spec("l"), _exists),
    "size": (Spec("n", {"over": ("", ""), "under": ("", "")}), _size),
    "date": (Spec("ssl", {**_MATCH, **_ZONES, **_INDEX}, capability="date"), _date),
    "currentdate": (Spec("sl", {**_MATCH, "zone": ("s", "")}, capability="date"), _current_date),
    "string": (Spec("ll", _MATCH, capability="variables"), _string),
    "hasflag": (Spec("l", _MATCH, optional="l", capability="imap4flags"), _has_flag),
    "mailboxexists": (Spec("l", capability="mailbox"), _mailbox_exists),
    "true": (Spec(), lambda read: lambda run: True),
    "false": (Spec(), lambda read: lambda run: False),
}


def compile_test(node: Node, context: Context) -> Condition:
    """Give the function of a test. Raises SieveFault."""
    if node.name in ("allof", "anyof"):
        read_arguments(node, Spec(tests=-1), context)
        inner = [compile_test(one, context) for one in node.tests]
        if node.name == "allof":
            return lambda run: all(test(run) for test in inner)
        return lambda run: any(test(run) for test in inner)
    if node.name == "not":
        read_arguments(node, Spec(tests=1), context)
        negated = compile_test(node.tests[0], context)
        return lambda run: not negated(run)
    known = _LEAVES.get(node.name)
    if known is None:
        raise SieveFault(node.line, f"test « {node.name[:40]} » inconnu", f"test '{node.name[:40]}' is unknown")
    read = read_arguments(node, known[0], context)
    _check_fields(read)
    return _traced(node, known[1](read))


def _check_fields(read: Read) -> None:
    """A field name must be one (RFC 5228 §2.4.2.2)."""
    if read.node.name not in ("header", "address", "exists", "date") or not isinstance(names := read.places[0], Strings):
        return
    for name in names.values:
        if "${" not in name and (not name or not name.isascii() or not name.isprintable() or ":" in name or " " in name):
            raise SieveFault(read.node.line, f"« {name[:40]!r} » n'est pas un nom de champ", f"{name[:40]!r} is no field name")


def _traced(node: Node, condition: Condition) -> Condition:
    line, name = node.line, node.name

    def traced(run: Run) -> bool:
        run.line = line
        result = condition(run)
        if run.around.traced:
            run.note(line, f"{name} : {'vrai / true' if result else 'faux / false'}")
        return result

    return traced
