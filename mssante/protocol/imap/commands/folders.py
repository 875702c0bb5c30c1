"""Commands on folders: ENABLE, SELECT, CREATE, LIST, STATUS and kin (RFC 9051 §6.3, RFC 5258, RFC 5819, RFC 6154).

Names come decoded and checked (`Tokens.folder`); what only matters for new names (levels, length of a level) is checked
here for CREATE and RENAME, as a NO [CANNOT].
"""

from __future__ import annotations

from mssante.protocol.imap.commands.metadata import read_entries
from mssante.protocol.imap.commands.sync import read_select_parameters
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import (
    Create,
    Delete,
    Enable,
    List,
    ListReturn,
    ListSelect,
    Lsub,
    Rename,
    Select,
    Status,
    StatusItem,
    Subscribe,
)

MAX_NAMES = 50
MAX_PATTERNS = 100
MAX_LEVELS = 20
SEPARATOR = "/"
_SPECIAL_USES = {name.upper(): name for name in (
    "\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash")}  # RFC 6154 §2
_SELECTIONS = {"SUBSCRIBED": ListSelect.SUBSCRIBED, "REMOTE": ListSelect.REMOTE,
               "RECURSIVEMATCH": ListSelect.RECURSIVEMATCH, "SPECIAL-USE": ListSelect.SPECIAL_USE}
_RETURNS = {"SUBSCRIBED": ListReturn.SUBSCRIBED, "CHILDREN": ListReturn.CHILDREN,
            "SPECIAL-USE": ListReturn.SPECIAL_USE, "MYRIGHTS": ListReturn.MYRIGHTS}
_STATUS = {item.value: item for item in StatusItem}


def parse_enable(tokens: Tokens) -> Enable:
    """Read capability names (RFC 5161 §3.1). Raises ClientFault."""
    names: list[str] = []
    while not names or not tokens.ended:
        tokens.space()
        names.append(tokens.atom().decode("ascii").upper())
        if len(names) > MAX_NAMES:
            tokens.fault(f"more than {MAX_NAMES} names")
    return Enable(tuple(names))


def parse_select(tokens: Tokens, *, examine: bool = False) -> Select:
    """Read a folder, `(CONDSTORE)` and `(QRESYNC (…))` (RFC 9051 §6.3.2, RFC 7162 §3.1.8, §3.2.5). Raises ClientFault."""
    folder = _folder(tokens)
    condstore, resync = (False, None) if tokens.ended else read_select_parameters(tokens)
    return Select(folder, examine=examine, condstore=condstore, resync=resync)


def parse_examine(tokens: Tokens) -> Select:
    """Read EXAMINE (RFC 9051 §6.3.3). Raises ClientFault."""
    return parse_select(tokens, examine=True)


def parse_create(tokens: Tokens) -> Create:
    """Read a folder and `(USE (\\Sent …))` (RFC 6154 §3). Raises ClientFault, CommandRefused CANNOT or USEATTR."""
    folder = _folder(tokens)
    uses: list[str] = []
    if not tokens.ended:
        tokens.space()
        tokens.expect(b"(", "a list of parameters")
        if tokens.word() != "USE":
            tokens.fault("unknown CREATE parameter")
        tokens.space()
        tokens.expect(b"(", "a list of special uses")
        while not tokens.skip(b")"):
            if uses:
                tokens.space()
            uses.append(_special_use(tokens))
        tokens.expect(b")", "a closing parenthesis")
        tokens.end()
    return Create(_new_name(folder), tuple(dict.fromkeys(uses)))


def _special_use(tokens: Tokens) -> str:
    """Read one special use attribute."""
    tokens.expect(b"\\", "a special use attribute")
    name = _SPECIAL_USES.get("\\" + tokens.atom().decode("ascii").upper())
    if name is None:
        raise CommandRefused("special use not supported", code="USEATTR")  # RFC 6154 §3
    return name


def _new_name(name: str) -> str:
    """Check a name to create; a last separator says that children will come (RFC 9051 §6.3.4) and is cut."""
    name = name[:-1] if name.endswith(SEPARATOR) else name
    levels = name.split(SEPARATOR)
    if any(level in ("", ".", "..") or level != level.strip() for level in levels):
        raise CommandRefused("folder name with an empty, dotted or padded level", code="CANNOT")
    if len(levels) > MAX_LEVELS:
        raise CommandRefused(f"folder name with more than {MAX_LEVELS} levels", code="CANNOT")
    if "*" in name or "%" in name:
        raise CommandRefused("folder name with a wildcard", code="CANNOT")  # RFC 9051 §5.1
    return name


def parse_delete(tokens: Tokens) -> Delete:
    """Read DELETE. Raises ClientFault."""
    folder = _folder(tokens)
    tokens.end()
    return Delete(folder)


def parse_rename(tokens: Tokens) -> Rename:
    """Read old and new name. Raises ClientFault, CommandRefused CANNOT."""
    folder = _folder(tokens)
    new_name = _folder(tokens)
    tokens.end()
    return Rename(folder, _new_name(new_name))


def parse_subscribe(tokens: Tokens, *, on: bool = True) -> Subscribe:
    """Read SUBSCRIBE. Raises ClientFault."""
    folder = _folder(tokens)
    tokens.end()
    return Subscribe(folder, on)


def parse_unsubscribe(tokens: Tokens) -> Subscribe:
    """Read UNSUBSCRIBE. Raises ClientFault."""
    return parse_subscribe(tokens, on=False)


def parse_lsub(tokens: Tokens) -> Lsub:
    """Read LSUB (RFC 3501 §6.3.9). Raises ClientFault."""
    tokens.space()
    reference = tokens.reference()
    tokens.space()
    pattern = tokens.list_pattern()
    tokens.end()
    return Lsub(reference, pattern)


def parse_list(tokens: Tokens) -> List:
    """Read LIST with its options (RFC 9051 §6.3.9, RFC 5258 §3, RFC 5819 §2). Raises ClientFault."""
    tokens.space()
    extended = tokens.peek() == 0x28
    select = ListSelect.NONE
    if extended:
        select = _selections(tokens)
        tokens.space()
    reference = tokens.reference()
    tokens.space()
    several = tokens.peek() == 0x28
    patterns = _patterns(tokens) if several else (tokens.list_pattern(),)
    returns = ListReturn.NONE
    status: tuple[StatusItem, ...] = ()
    metadata: tuple[str, ...] = ()
    with_return = not tokens.ended
    if with_return:
        tokens.space()
        if tokens.word() != "RETURN":
            tokens.fault("expected RETURN")
        tokens.space()
        returns, status, metadata = _returns(tokens)
        tokens.end()
    return List(reference, patterns, select, returns, status, extended or several or with_return, metadata)


def _selections(tokens: Tokens) -> ListSelect:
    """Read `(SUBSCRIBED …)`. RECURSIVEMATCH needs another one that selects (RFC 5258 §3.1)."""
    tokens.expect(b"(", "selection options")
    found = ListSelect.NONE
    first = True
    while not tokens.skip(b")"):
        if not first:
            tokens.space()
        first = False
        option = _SELECTIONS.get(tokens.word())
        if option is None:
            tokens.fault("unknown selection option")
        found |= option
    if found & ListSelect.RECURSIVEMATCH and not found & (ListSelect.SUBSCRIBED | ListSelect.SPECIAL_USE):
        tokens.fault("RECURSIVEMATCH needs another selection option")
    return found


def _patterns(tokens: Tokens) -> tuple[str, ...]:
    """Read `(pattern …)`, at least one."""
    tokens.expect(b"(", "patterns")
    found = [tokens.list_pattern()]
    while not tokens.skip(b")"):
        tokens.space()
        found.append(tokens.list_pattern())
        if len(found) > MAX_PATTERNS:
            tokens.fault(f"more than {MAX_PATTERNS} patterns")
    return tuple(found)


def _returns(tokens: Tokens) -> tuple[ListReturn, tuple[StatusItem, ...], tuple[str, ...]]:
    """Read `(CHILDREN STATUS (…) METADATA (…) …)`."""
    tokens.expect(b"(", "return options")
    found, first = ListReturn.NONE, True
    status: tuple[StatusItem, ...] = ()
    metadata: tuple[str, ...] = ()
    while not tokens.skip(b")"):
        if not first:
            tokens.space()
        first = False
        word = tokens.word()
        if word == "STATUS":
            tokens.space()
            status = _status_items(tokens)
            continue
        if word == "METADATA":  # RFC 9590 §5
            tokens.space()
            metadata = read_entries(tokens)
            continue
        option = _RETURNS.get(word)
        if option is None:
            tokens.fault("unknown return option")
        found |= option
    return found, status, metadata


def parse_status(tokens: Tokens) -> Status:
    """Read a folder and the items asked (RFC 9051 §6.3.11). Raises ClientFault."""
    folder = _folder(tokens)
    tokens.space()
    items = _status_items(tokens)
    tokens.end()
    return Status(folder, items)


def _status_items(tokens: Tokens) -> tuple[StatusItem, ...]:
    """Read `(MESSAGES …)`, at least one, each once."""
    tokens.expect(b"(", "a list of status items")
    found: list[StatusItem] = []
    while not found or not tokens.skip(b")"):
        if found:
            tokens.space()
        word = tokens.word()
        item = _STATUS.get(word)
        if item is None:
            tokens.fault("unknown status item")
        found.append(item)
    return tuple(dict.fromkeys(found))


def _folder(tokens: Tokens) -> str:
    """Read a space and a folder name."""
    tokens.space()
    return tokens.folder()
