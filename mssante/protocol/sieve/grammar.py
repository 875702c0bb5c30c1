"""Lexer and parser: octets of a script to commands, tests and arguments, each with its line (RFC 5228 §8).

- Linear: one regular expression without backtracking (possessive) for tokens, one recursion for blocks and tests, whose depth is
  bounded (`Limits.nesting`), so that 10,000 nested tests are a fault and not an overflow.
- UTF-8 is required (RFC 5228 §2.1); NUL is refused; CRLF and LF both end a line.
- Knows no command: what may stand where is `compile`'s business. Never raises anything but `SieveFault`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from mssante.protocol.sieve.faults import DEFAULT_LIMITS, Limits, SieveFault, shown

MAX_NUMBER = 2_147_483_647  # RFC 5228 §2.4.1
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TOKEN = re.compile(r'''
    (?P<blank>(?:[ \t\r\n]++|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)++)
  | (?P<multi>[Tt][Ee][Xx][Tt]:[ \t]*+(?:\#[^\r\n]*+)?\r?\n)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
  | (?P<tag>:[A-Za-z_][A-Za-z0-9_]*+)
  | (?P<number>[0-9]++[KMGkmg]?+(?![A-Za-z0-9_]))
  | "(?P<quoted>(?:[^"\\]++|\\.)*+)"
  | (?P<mark>[\[\](){},;])
''', re.VERBOSE | re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_BARE = re.compile(r"(?<!\r)\n")
_MULTI_END = re.compile(r"(?m)^\.\r?$")
_STUFFED = re.compile(r"(?m)^\.\.")


@dataclass(frozen=True, slots=True)
class Tag:
    """`:name`, lower-case, without its colon."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its quantifier applied."""

    value: int
    line: int


@dataclass(frozen=True, slots=True)
class Strings:
    """A string or a list of strings. single: it was written without brackets."""

    values: tuple[str, ...]
    single: bool
    line: int


Argument = Tag | Number | Strings


@dataclass(frozen=True, slots=True)
class Node:
    """A command or a test. block None: it ended with a semicolon (a command) or is a test."""

    name: str
    arguments: tuple[Argument, ...]
    tests: tuple[Node, ...]
    block: tuple[Node, ...] | None
    line: int
    listed: bool = False  # its tests stood in parentheses


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_script(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[Node, ...]:
    """Give the commands of a script. Raises SieveFault (`SIEVE-FORME`, `SIEVE-LIMITE`)."""
    if len(octets) > limits.script_octets:
        raise SieveFault(1, f"le script dépasse {limits.script_octets} octets",
                         f"the script is over {limits.script_octets} octets",
                         rule="SIEVE-LIMITE")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise SieveFault(octets.count(b"\n", 0, fault.start) + 1, "ce n'est pas de l'UTF-8", "this is not UTF-8",
                         rule="SIEVE-FORME") from fault
    if "\x00" in text:
        raise SieveFault(text.count("\n", 0, text.index("\x00")) + 1, "octet nul", "NUL octet", rule="SIEVE-FORME")
    text = _BARE.sub("\r\n", text.removeprefix("\ufeff"))  # RFC 5228 §8.1: lines end with CRLF; LF alone means it
    return _Parser(_tokens(text, limits), limits).script()


def _tokens(text: str, limits: Limits) -> list[_Token]:
    found: list[_Token] = []
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise SieveFault(line, f"texte inattendu « {shown(text[place:place + 20])} »",
                             f"unexpected text '{shown(text[place:place + 20])}'", rule="SIEVE-FORME")
        kind = match.lastgroup or ""
        end = match.end()
        if kind == "multi":
            value, end = _multi_line(text, end, line)
            found.append(_Token("string", value, line))
        elif kind == "quoted":
            inner = match.group("quoted")
            found.append(_Token("string", _ESCAPE.sub(r"\1", inner) if "\\" in inner else inner, line))
        elif kind != "blank":
            found.append(_Token(kind, match.group(), line))
        if len(found) > limits.tokens:
            raise SieveFault(line, f"plus de {limits.tokens} mots", f"over {limits.tokens} tokens", rule="SIEVE-LIMITE")
        line += text.count("\n", place, end)
        place = end
    found.append(_Token("end", "", line))
    return found


def _multi_line(text: str, start: int, line: int) -> tuple[str, int]:
    """Read up to the line that holds one dot alone; give the text, dots unstuffed, and where it ends (RFC 5228 §8.1)."""
    over = _MULTI_END.search(text, start)
    if over is None:
        raise SieveFault(line, "ce texte n'a pas de fin (une ligne « . »)", "this text has no end (a line with one dot)",
                         rule="SIEVE-FORME")
    return _STUFFED.sub(".", text[start:over.start()]), over.end()


class _Parser:
    """One pass over the tokens."""

    def __init__(self, tokens: list[_Token], limits: Limits) -> None:
        self._tokens = tokens
        self._limits = limits
        self._place = 0

    def script(self) -> tuple[Node, ...]:
        commands = self._commands(0)
        if self._next.kind != "end":
            self._unexpected("une commande", "a command")
        return commands

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, mark: str) -> bool:
        token = self._tokens[self._place]
        if token.kind == "mark" and token.text == mark:
            self._place += 1
            return True
        return False

    def _unexpected(self, french: str, english: str) -> NoReturn:
        token = self._next
        seen = "fin du script / end of script" if token.kind == "end" else shown(token.text)
        raise SieveFault(token.line, f"{french} attendu(e), trouvé « {seen} »", f"{english} expected, found '{seen}'",
                         rule="SIEVE-FORME")

    def _deeper(self, depth: int) -> int:
        if depth >= self._limits.nesting:
            raise SieveFault(self._next.line, f"plus de {self._limits.nesting} niveaux", f"over {self._limits.nesting} levels",
                             rule="SIEVE-LIMITE")
        return depth + 1

    def _commands(self, depth: int) -> tuple[Node, ...]:
        found = []
        while self._next.kind == "word":
            found.append(self._command(depth))
        return tuple(found)

    def _command(self, depth: int) -> Node:
        name = self._next
        self._place += 1
        arguments, tests, listed = self._arguments(depth)
        if self._take(";"):
            return Node(name.text.lower(), arguments, tests, None, name.line, listed)
        if not self._take("{"):
            self._unexpected("« ; » ou « { »", "';' or '{'")
        block = self._commands(self._deeper(depth))
        if not self._take("}"):
            self._unexpected("une commande ou « } »", "a command or '}'")
        return Node(name.text.lower(), arguments, tests, block, name.line, listed)

    def _arguments(self, depth: int) -> tuple[tuple[Argument, ...], tuple[Node, ...], bool]:
        found: list[Argument] = []
        while (argument := self._argument()) is not None:
            found.append(argument)
        if self._next.kind == "word":
            return tuple(found), (self._test(self._deeper(depth)),), False
        if not self._take("("):
            return tuple(found), (), False
        inside = self._deeper(depth)
        tests = [self._test(inside)]
        while self._take(","):
            tests.append(self._test(inside))
        if not self._take(")"):
            self._unexpected("« , » ou « ) »", "',' or ')'")
        return tuple(found), tuple(tests), True

    def _test(self, depth: int) -> Node:
        name = self._next
        if name.kind != "word":
            self._unexpected("un test", "a test")
        self._place += 1
        arguments, tests, listed = self._arguments(depth)
        return Node(name.text.lower(), arguments, tests, None, name.line, listed)

    def _argument(self) -> Argument | None:
        token = self._next
        if token.kind == "string":
            self._place += 1
            return Strings((token.text,), True, token.line)
        if token.kind == "tag":
            self._place += 1
            return Tag(token.text[1:].lower(), token.line)
        if token.kind == "number":
            self._place += 1
            return Number(_number(token), token.line)
        return self._list(token.line) if self._take("[") else None

    def _list(self, line: int) -> Strings:
        values: list[str] = []
        while True:
            if self._next.kind != "string":
                self._unexpected("une chaîne", "a string")
            values.append(self._next.text)
            self._place += 1
            if len(values) > self._limits.list_items:
                raise SieveFault(line, f"liste de plus de {self._limits.list_items} chaînes",
                                 f"list of over {self._limits.list_items} strings", rule="SIEVE-LIMITE")
            if self._take("]"):
                return Strings(tuple(values), False, line)
            if not self._take(","):
                self._unexpected("« , » ou « ] »", "',' or ']'")


def _number(token: _Token) -> int:
    digits = token.text.rstrip("KMGkmg")
    unit = token.text[len(digits):].upper()
    value = int(digits) * _UNITS[unit] if len(digits) <= 10 else MAX_NUMBER + 1
    if value > MAX_NUMBER:
        raise SieveFault(token.line, f"nombre au-delà de {MAX_NUMBER}", f"number over {MAX_NUMBER}", rule="SIEVE-LIMITE")
    return value
