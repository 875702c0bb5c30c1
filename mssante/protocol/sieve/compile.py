"""Scripts compiled to what runs: control, actions, `require` in its place (RFC 5228 §3, §4, RFC 5229 §4, RFC 5230, RFC 5232 §3).

- All that can be wrong without a message is told here, with its line: unknown commands, arguments, extensions not required.
- `Script.run` is pure and may be called from any thread. Never raises anything but SieveRunFault.
Called by `services.sieve`, the ManageSieve door (CHECKSCRIPT, PUTSCRIPT) and `mssante sieve check`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mssante.errors import InputFault
from mssante.model.address import parse_envelope_address
from mssante.protocol.sieve.actions import Discard, FileInto, Keep, Outcome, Redirect, Vacation
from mssante.protocol.sieve.arguments import Context, Read, Spec, read_arguments
from mssante.protocol.sieve.conditions import Condition, compile_test
from mssante.protocol.sieve.faults import DEFAULT_LIMITS, Limits, SieveFault, SieveRunFault
from mssante.protocol.sieve.grammar import Node, Strings, parse_script
from mssante.protocol.sieve.interpreter import Run, Stop, Surroundings, joined_flags, read_flags
from mssante.protocol.sieve.message import MessageView

Step = Callable[[Run], None]
DAY = 86_400
_MODIFIERS = {"lower": 40, "upper": 40, "lowerfirst": 30, "upperfirst": 30, "quotewildcard": 20, "length": 10}


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be run. uses: extensions that it requires."""

    steps: tuple[Step, ...]
    uses: frozenset[str]

    def run(self, view: MessageView, around: Surroundings) -> Outcome:
        """Give what becomes of a message. Raises SieveRunFault, after which nothing was decided."""
        run = Run(view, around)
        try:
            for step in self.steps:
                step(run)
        except Stop:
            pass
        except SieveRunFault:
            raise
        except Exception as fault:  # the border: a defect of ours is a script that fails, and the mail stays
            kind = type(fault).__name__
            raise SieveRunFault(run.line, f"défaut interne ({kind})", f"internal defect ({kind})") from fault
        return run.outcome()


def compile_script(octets: bytes, limits: Limits = DEFAULT_LIMITS, *, redirects: bool = True) -> Script:
    """Give the script. redirects: False refuses `redirect`, which this operator then never does. Raises SieveFault."""
    context = Context(limits, redirects)
    nodes = parse_script(octets, limits)
    return Script(_block(nodes, context, top=True), frozenset(context.capabilities))


def _block(nodes: Sequence[Node], context: Context, *, top: bool = False) -> tuple[Step, ...]:
    steps: list[Step] = []
    opening, place = top, 0
    while place < len(nodes):
        node = nodes[place]
        place += 1
        if node.name == "require":
            if not opening:
                raise SieveFault(node.line, "require doit être en tête du script", "require must come first in the script")
            context.require(_strings(node, context))
            continue
        opening = False
        if node.name == "if":
            chain = [node]
            while place < len(nodes) and nodes[place].name in ("elsif", "else"):
                chain.append(nodes[place])
                place += 1
            steps.append(_if(chain, context))
        else:
            steps.append(_command(node, context))
    return tuple(steps)


def _strings(node: Node, context: Context) -> Strings:
    read = read_arguments(node, Spec("l"), context)
    value = read.places[0]
    if not isinstance(value, Strings) or node.block is not None:
        raise SieveFault(node.line, "require veut une liste", "require wants a list")
    return value


def _if(chain: Sequence[Node], context: Context) -> Step:
    branches: list[tuple[Condition | None, tuple[Step, ...]]] = []
    for rank, node in enumerate(chain):
        if rank and chain[rank - 1].name == "else":
            raise SieveFault(node.line, f"{node.name} après else", f"{node.name} after else")
        if node.block is None:
            raise SieveFault(node.line, f"{node.name} veut un bloc {{ }}", f"{node.name} wants a block {{ }}")
        read_arguments(node, Spec(tests=0 if node.name == "else" else 1), context)
        condition = None if node.name == "else" else compile_test(node.tests[0], context)
        branches.append((condition, _block(node.block, context)))

    def step(run: Run) -> None:
        for condition, steps in branches:
            if condition is None or condition(run):
                for one in steps:
                    one(run)
                return

    return step


def _flags(read: Read) -> Callable[[Run], tuple[str, ...]]:
    """Give the flags of an action: of `:flags`, else the internal variable (RFC 5232 §5)."""
    if "flags" not in read.tags:
        return lambda run: run.flags
    texts = read.strings(read.tags["flags"])
    return lambda run: read_flags([run.text(text) for text in texts])


def _keep(read: Read) -> Step:
    flags = _flags(read)

    def step(run: Run) -> None:
        run.implicit = False
        run.add(Keep(flags(run)))

    return step


def _discard(read: Read) -> Step:
    def step(run: Run) -> None:
        run.implicit = False
        run.add(Discard())

    return step


def _stop(read: Read) -> Step:
    def step(run: Run) -> None:
        raise Stop

    return step


def _file_into(read: Read) -> Step:
    folder, flags = read.string(read.places[0]), _flags(read)
    create, copy = "create" in read.tags, "copy" in read.tags
    if folder == "":
        raise SieveFault(read.node.line, "fileinto sans nom de dossier", "fileinto without a folder's name")

    def step(run: Run) -> None:
        run.implicit = run.implicit and copy
        run.add(FileInto(run.text(folder), flags(run), create))

    return step


def _redirect(read: Read) -> Step:
    if not read.context.redirects:
        raise SieveFault(read.node.line, "redirect n'est pas permis par cet opérateur", "this operator does not allow redirect",
                         rule="SIEVE-RENVOI", remedy="sieve.redirect")
    address, copy = read.string(read.places[0]), "copy" in read.tags
    if isinstance(address, str):
        _checked(address, read.node.line)

    def step(run: Run) -> None:
        run.implicit = run.implicit and copy
        run.add(Redirect(_checked(run.text(address), read.node.line, running=True), not copy, run.flags))

    return step


def _checked(address: str, line: int, *, running: bool = False) -> str:
    try:
        return parse_envelope_address(address).key
    except InputFault as fault:
        kind = SieveRunFault if running else SieveFault
        raise kind(line, "ce n'est pas une adresse nom@domaine", "this is not an address name@domain") from fault


def _vacation(read: Read) -> Step:
    if read.has("days", "seconds") and read.number(read.tags.get("days") or read.tags.get("seconds"), 0) < 0:
        raise SieveFault(read.node.line, "durée négative", "negative time")
    seconds = None
    if "days" in read.tags:
        seconds = max(1, read.number(read.tags["days"])) * DAY  # RFC 5230 §4.1: 0 is 1
    if "seconds" in read.tags:
        seconds = read.number(read.tags["seconds"])
    reason, subject = read.string(read.places[0]), read.string(read.tags.get("subject"))
    sender = read.string(read.tags.get("from"))
    addresses, handle = read.strings(read.tags.get("addresses")), read.string(read.tags.get("handle"))
    mime, plain, said = "mime" in read.tags, isinstance(subject, str), isinstance(reason, str)

    def step(run: Run) -> None:
        run.add(Vacation(run.text(reason), seconds, run.text(subject), run.text(sender),
                         tuple([run.text(address) for address in addresses]), mime, run.text(handle), plain, said))

    return step


def _set(read: Read) -> Step:
    name, value = _variable(read.constant(read.places[0]), read), read.string(read.places[1])
    chosen = sorted((one for one in _MODIFIERS if one in read.tags), key=lambda one: -_MODIFIERS[one])
    for one, other in pairwise(chosen):
        if _MODIFIERS[one] == _MODIFIERS[other]:
            raise SieveFault(read.node.line, f":{one} et :{other} s'excluent", f":{one} and :{other} exclude each other")

    def step(run: Run) -> None:
        text = run.text(value)
        run.spend(len(text) + 1)
        for modifier in chosen:
            text = _modified(modifier, text)
        _store(run, name, text)

    return step


def _store(run: Run, name: str, text: str) -> None:
    if name not in run.variables and len(run.variables) >= run.around.limits.variables:
        raise SieveRunFault(run.line, f"plus de {run.around.limits.variables} variables",
                            f"over {run.around.limits.variables} variables", rule="SIEVE-LIMITE")
    run.variables[name] = text[:run.around.limits.variable]


def _modified(modifier: str, text: str) -> str:
    match modifier:
        case "lower" | "upper":
            return _cased(text, modifier)
        case "lowerfirst" | "upperfirst":
            return _cased(text[:1], modifier[:5]) + text[1:]
        case "quotewildcard":
            return "".join("\\" + letter if letter in "*?\\" else letter for letter in text)
        case _:
            return str(len(text))


def _cased(text: str, way: str) -> str:
    """Change the case of ASCII letters only: the same on every machine (RFC 5229 §4.1 leaves the rest open)."""
    octets = text.encode("utf-8", "surrogatepass")
    return (octets.lower() if way == "lower" else octets.upper()).decode("utf-8", "surrogatepass")


def _variable(name: str, read: Read) -> str:
    if not (name.isascii() and name.replace("_", "a").isalnum() and not name[:1].isdigit() and len(name) <= 64):
        raise SieveFault(read.node.line, f"« {name[:40]} » n'est pas un nom de variable", f"'{name[:40]}' is no variable name")
    return name.lower()


def _flag_command(read: Read) -> Step:
    """setflag, addflag, removeflag (RFC 5232 §3)."""
    way = read.node.name
    texts = read.strings(read.places[-1])
    name = ""
    if len(read.places) > 1:
        read.context.need("variables", read.node.line, way)
        name = _variable(read.constant(read.places[0]), read)

    def step(run: Run) -> None:
        given = read_flags([run.text(text) for text in texts])
        before = read_flags([run.variables.get(name, "")]) if name else run.flags
        if way == "setflag":
            after = given
        elif way == "addflag":
            after = joined_flags(before, given)
        else:
            gone = {word.lower() for word in given}
            after = tuple(word for word in before if word.lower() not in gone)
        if name:
            _store(run, name, " ".join(after))
        else:
            run.flags = after

    return step


_FLAGS = {"flags": ("l", "imap4flags")}
_COMMANDS: dict[str, tuple[Spec, Callable[[Read], Step]]] = {
    "keep": (Spec("", _FLAGS), _keep),
    "discard": (Spec(), _discard),
    "stop": (Spec(), _stop),
    "fileinto": (Spec("s", {**_FLAGS, "copy": ("", "copy"), "create": ("", "mailbox")}, capability="fileinto"), _file_into),
    "redirect": (Spec("s", {"copy": ("", "copy")}), _redirect),
    "vacation": (Spec("s", {"days": ("n", ""), "seconds": ("n", "vacation-seconds"), "subject": ("s", ""), "from": ("s", ""),
                            "addresses": ("l", ""), "mime": ("", ""), "handle": ("s", "")}, capability="vacation"), _vacation),
    "set": (Spec("ss", dict.fromkeys(_MODIFIERS, ("", "")), capability="variables"), _set),
    "setflag": (Spec("l", optional="s", capability="imap4flags"), _flag_command),
    "addflag": (Spec("l", optional="s", capability="imap4flags"), _flag_command),
    "removeflag": (Spec("l", optional="s", capability="imap4flags"), _flag_command),
}


def _command(node: Node, context: Context) -> Step:
    known = _COMMANDS.get(node.name)
    if known is None:
        hint = "" if node.name not in ("elsif", "else") else " sans if / without if"
        raise SieveFault(node.line, f"commande « {node.name[:40]} » inconnue{hint}",
                         f"command '{node.name[:40]}' is unknown{hint}")
    if node.block is not None:
        raise SieveFault(node.line, f"{node.name} ne prend pas de bloc", f"{node.name} takes no block")
    inner = known[1](read_arguments(node, known[0], context))
    line, name = node.line, node.name

    def step(run: Run) -> None:
        run.line = line
        if run.around.traced:
            run.note(line, name)
        run.work += 1
        inner(run)

    return step
