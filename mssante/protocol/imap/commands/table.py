"""The one table of commands: name on the wire (upper-case, `UID x` counts as one name) to parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from mssante.protocol.imap.commands.any import parse_id, without_arguments
from mssante.protocol.imap.commands.append import parse_append_without_message
from mssante.protocol.imap.commands.copy import parse_copy, parse_move
from mssante.protocol.imap.commands.fetch import parse_fetch
from mssante.protocol.imap.commands.folders import (
    parse_create,
    parse_delete,
    parse_enable,
    parse_examine,
    parse_list,
    parse_lsub,
    parse_rename,
    parse_select,
    parse_status,
    parse_subscribe,
    parse_unsubscribe,
)
from mssante.protocol.imap.commands.nonauth import parse_authenticate, parse_login
from mssante.protocol.imap.commands.search import parse_search
from mssante.protocol.imap.commands.store import parse_store
from mssante.protocol.imap.commands.sync import parse_expunge, parse_uid_expunge
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import (
    Capability,
    Check,
    Close,
    CommandValue,
    Idle,
    Logout,
    Namespace,
    Noop,
    StartTls,
    Unselect,
)

PARSERS: Mapping[str, Callable[[Tokens], CommandValue]] = {
    "CAPABILITY": without_arguments(Capability()),
    "NOOP": without_arguments(Noop()),
    "LOGOUT": without_arguments(Logout()),
    "ID": parse_id,
    "STARTTLS": without_arguments(StartTls()),
    "AUTHENTICATE": parse_authenticate,
    "LOGIN": parse_login,
    "ENABLE": parse_enable,
    "SELECT": parse_select,
    "EXAMINE": parse_examine,
    "CREATE": parse_create,
    "DELETE": parse_delete,
    "RENAME": parse_rename,
    "SUBSCRIBE": parse_subscribe,
    "UNSUBSCRIBE": parse_unsubscribe,
    "LIST": parse_list,
    "LSUB": parse_lsub,
    "NAMESPACE": without_arguments(Namespace()),
    "STATUS": parse_status,
    "APPEND": parse_append_without_message,
    "IDLE": without_arguments(Idle()),
    "CHECK": without_arguments(Check()),
    "CLOSE": without_arguments(Close()),
    "UNSELECT": without_arguments(Unselect()),
    "EXPUNGE": parse_expunge,
    "UID EXPUNGE": parse_uid_expunge,
    "SEARCH": parse_search,
    "UID SEARCH": partial(parse_search, uid=True),
    "FETCH": parse_fetch,
    "UID FETCH": partial(parse_fetch, uid=True),
    "STORE": parse_store,
    "UID STORE": partial(parse_store, uid=True),
    "COPY": parse_copy,
    "UID COPY": partial(parse_copy, uid=True),
    "MOVE": parse_move,
    "UID MOVE": partial(parse_move, uid=True),
}
