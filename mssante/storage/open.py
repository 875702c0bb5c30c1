"""Opens all of storage from an address: the only constructor that `app.py` and the command line call.

- Order: lock, schema (created or upgraded when needed), writer and readers, blob folder.
- `Stores.close` flushes waiting units, closes connections, then lets the lock go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mssante.storage.blobs_file import FileBlobStore
from mssante.storage.interfaces import Stores, TextIndex
from mssante.storage.mirror import Mirror, MirrorPolicy
from mssante.storage.remotecache import AnswerCache
from mssante.storage.sql.accounts import SqlAccountStore
from mssante.storage.sql.annotations import SqlAnnotationStore
from mssante.storage.sql.apitokens import SqlApiTokenStore
from mssante.storage.sql.citizen import SqlCitizenStore
from mssante.storage.sql.credentials import SqlCredentialStore
from mssante.storage.sql.cursors import SqlCursorStore
from mssante.storage.sql.database import SqlDatabase
from mssante.storage.sql.delegations import SqlDelegationStore
from mssante.storage.sql.engine import engine_for
from mssante.storage.sql.exchanges import SqlExchangeStore
from mssante.storage.sql.feed import SqlFeedStore
from mssante.storage.sql.filters import SqlFilterStore
from mssante.storage.sql.folders import SqlFolderStore
from mssante.storage.sql.handover import SqlHandoverStore
from mssante.storage.sql.holds import SqlHoldStore
from mssante.storage.sql.identities import SqlIdentityStore
from mssante.storage.sql.imports import SqlImportStore
from mssante.storage.sql.interfacing import SqlInterfacingStore
from mssante.storage.sql.journal import SqlJournalStore
from mssante.storage.sql.life import SqlLifeStore
from mssante.storage.sql.messages import SqlMessageStore
from mssante.storage.sql.mirror import SqliteMirror
from mssante.storage.sql.opposition import SqlOppositionStore
from mssante.storage.sql.peek import SchemaState, peek_sqlite
from mssante.storage.sql.peercerts import SqlPeerCertificateStore
from mssante.storage.sql.publication import SqlPublicationStore
from mssante.storage.sql.queue import SqlQueueStore
from mssante.storage.sql.remotecache import SqliteAnswerCache
from mssante.storage.sql.rights import SqlRightStore
from mssante.storage.sql.schema import HandleLock, prepare
from mssante.storage.sql.smime import SqlSmimeStore
from mssante.storage.sql.textindex import SqliteTextIndex
from mssante.storage.sql.trust import SqlTrustStore
from mssante.storage.sql.twins import SqlTwinStore
from mssante.storage.sql.versions import SqlVersionStore
from mssante.storage.sql.webhooks import SqlWebhookStore

__all__ = ["SchemaState", "StorageOptions", "open_answer_cache", "open_stores", "open_text_index", "peek_sqlite"]


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How to open storage.

    reserve_bytes: below this free room no blob is staged; on_fatal: called from the writer thread when the disk or the
    engine failed and the process must stop; max_pages: a limit of the SQLite file for tests of a full disk (0: none).
    """

    readers: int = 4
    reserve_bytes: int = 0
    busy_seconds: float = 5.0
    on_fatal: Callable[[BaseException], None] | None = None
    max_pages: int = 0
    veil: Callable[[str], str] = str  # what the journal's texts go through before they are kept (services/privacy.py)


def open_stores(url: str, blob_dir: Path, options: StorageOptions | None = None) -> Stores:
    """Open `sqlite:///path` and the blob folder, creating what is missing.

    Raises OperatorFault: `STORE-URL`, `STORE-OPEN`, `STORE-NEWER` (a newer program wrote it), `STORE-LOCKED`.
    """
    chosen = options or StorageOptions()
    engine = engine_for(url, busy_seconds=chosen.busy_seconds, max_pages=chosen.max_pages)
    lock = HandleLock(engine.lock_path)
    try:
        prepare(engine, lock)
        blobs = FileBlobStore(blob_dir, reserve_bytes=chosen.reserve_bytes)
        database = SqlDatabase(engine, readers=chosen.readers, on_fatal=chosen.on_fatal)  # last: it starts threads
    except BaseException:
        lock.close()
        raise
    journal = SqlJournalStore(chosen.veil)
    return Stores(
        database=database, blobs=blobs, messages=SqlMessageStore(journal), folders=SqlFolderStore(),
        queue=SqlQueueStore(journal), journal=journal, accounts=SqlAccountStore(), trust=SqlTrustStore(),
        imports=SqlImportStore(), rights=SqlRightStore(),
        annotations=SqlAnnotationStore(), feed=SqlFeedStore(), holds=SqlHoldStore(),
        peer_certificates=SqlPeerCertificateStore(), identities=SqlIdentityStore(), credentials=SqlCredentialStore(),
        smime=SqlSmimeStore(), exchanges=SqlExchangeStore(), delegations=SqlDelegationStore(), filters=SqlFilterStore(),
        publication=SqlPublicationStore(), api_tokens=SqlApiTokenStore(), life=SqlLifeStore(),
        citizens=SqlCitizenStore(),
        cursors=SqlCursorStore(), handover=SqlHandoverStore(), oppositions=SqlOppositionStore(), webhooks=SqlWebhookStore(),
        twins=SqlTwinStore(), versions=SqlVersionStore(),
        interfacing=SqlInterfacingStore(), closers=[lock.close, database.close])


def open_answer_cache(path: Path, most: int) -> AnswerCache:
    """Give the cache of remote directory answers in a file of its own. Raises OperatorFault (`ANNUAIRE-CACHE`)."""
    return SqliteAnswerCache(path, most)


def open_mirror(folder: Path, policy: MirrorPolicy) -> Mirror:
    """Give the mirror of the national directory kept in a folder; nothing is opened yet."""
    return SqliteMirror(folder, policy)


def open_text_index(folder: Path) -> TextIndex:
    """Give the full-text index of a folder, made when something is first put in. Its caller closes it."""
    return SqliteTextIndex(folder)
