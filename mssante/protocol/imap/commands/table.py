"""The one table of commands: name on the wire (upper-case, `UID x` counts as one name) to parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from mssante.protocol.imap.commands.acl import parse_deleteacl, parse_getacl, parse_listrights, parse_myrights, parse_setacl
from mssante.protocol.imap.commands.any import parse_id, without_arguments
from mssante.protocol.imap.commands.append import parse_append, parse_replace
from mssante.protocol.imap.commands.compress import parse_compress
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
from mssante.protocol.imap.commands.metadata import parse_getmetadata, parse_setmetadata
from mssante.protocol.imap.commands.multisearch import parse_multi_search
from mssante.protocol.imap.commands.nonauth import parse_authenticate, parse_login
from mssante.protocol.imap.commands.notify import parse_notify
from mssante.protocol.imap.commands.quota import parse_getquota, parse_getquotaroot, parse_setquota
from mssante.protocol.imap.commands.search import parse_search
from mssante.protocol.imap.commands.sort import parse_cancel_update, parse_sort, parse_thread
from mssante.protocol.imap.commands.store import parse_store
from mssante.protocol.imap.commands.sync import parse_expunge, parse_uid_batches, parse_uid_expunge
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
    Unauthenticate,
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
    "COMPRESS": parse_compress,
    "UNAUTHENTICATE": without_arguments(Unauthenticate()),
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
    "SETACL": parse_setacl,
    "DELETEACL": parse_deleteacl,
    "GETACL": parse_getacl,
    "LISTRIGHTS": parse_listrights,
    "MYRIGHTS": parse_myrights,
    "GETMETADATA": parse_getmetadata,
    "SETMETADATA": parse_setmetadata,
    "GETQUOTA": parse_getquota,
    "GETQUOTAROOT": parse_getquotaroot,
    "SETQUOTA": parse_setquota,
    "APPEND": parse_append,
    "IDLE": without_arguments(Idle()),
    "CHECK": without_arguments(Check()),
    "CLOSE": without_arguments(Close()),
    "UNSELECT": without_arguments(Unselect()),
    "EXPUNGE": parse_expunge,
    "UID EXPUNGE": parse_uid_expunge,
    "UIDBATCHES": parse_uid_batches,
    "SEARCH": parse_search,
    "UID SEARCH": partial(parse_search, uid=True),
    "SORT": parse_sort,
    "UID SORT": partial(parse_sort, uid=True),
    "THREAD": parse_thread,
    "UID THREAD": partial(parse_thread, uid=True),
    "CANCELUPDATE": parse_cancel_update,
    "ESEARCH": parse_multi_search,
    "FETCH": parse_fetch,
    "UID FETCH": partial(parse_fetch, uid=True),
    "STORE": parse_store,
    "UID STORE": partial(parse_store, uid=True),
    "COPY": parse_copy,
    "UID COPY": partial(parse_copy, uid=True),
    "MOVE": parse_move,
    "UID MOVE": partial(parse_move, uid=True),
    "NOTIFY": parse_notify,
    "REPLACE": parse_replace,
    "UID REPLACE": partial(parse_replace, uid=True),
}
