"""NOTIFY (RFC 5465 §3.1): what the client wants to hear of replaces what it asked before.

- SET reads the folders twice, before and after the bells are heard, so that no change falls between; with STATUS the counters
  of each watched folder come at once.
- More folders than `notify_folders` is NO [NOTIFICATIONOVERFLOW], and what was asked before stays.
- NONE goes back to what a session without NOTIFY hears: updates at the end of its commands.
- A folder whose name may be seen but not its content is told with `\\NoAccess`.
Called through `dispatch.py`.
"""

from __future__ import annotations

from dataclasses import replace

from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.notifyvalues import Notify
from mssante.protocol.imap.values import Completion
from mssante.services.imap.list import Names, listed, read_names
from mssante.services.imap.notices import Notices, status_of
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.watching import Scope, first_items


async def notify(session: Session, value: Notify) -> Answer:
    """Begin to tell, or stop."""
    completion = Completion(text="NOTIFY completed")
    if value.groups is None:
        _stop(session)
        return Answer(completion=completion)
    scope = Scope(value.groups, session.shares.lead)
    most = session.services.settings.notify_folders
    names = await read_names(session)
    if len(scope.watched(names.folders.values())) > most:
        raise CommandRefused(f"at most {most} folders can be watched", code="NOTIFICATIONOVERFLOW", rule="RFC 5465 §3.1")
    _stop(session)
    session.notices = Notices(session, scope, names, session.wake)
    session.notices.begin()
    names = await session.notices.look_again()
    answer = Answer(completion=completion)
    answer.data += _no_access(session, scope, names)
    if value.status:
        answer.data += _statuses(session, scope, session.notices)
    return answer


def _stop(session: Session) -> None:
    if session.notices is not None:
        session.notices.end()
        session.notices = None


def _no_access(session: Session, scope: Scope, names: Names) -> list[bytes]:
    """Give LIST lines of folders that are asked of and may not be read (RFC 5465 §3.1, last case)."""
    hidden = [name for name, held in names.rights.items() if "r" not in held and scope.events(name, names.folders[name])]
    answers = (replace(answer, attributes=("\\NoAccess", *answer.attributes)) for answer in listed(session, names, hidden))
    return [encode.list_line(answer, utf8=session.wire.utf8) for answer in answers]


def _statuses(session: Session, scope: Scope, notices: Notices) -> list[bytes]:
    """Give the counters of the watched folders that are not open (RFC 5465 §3.1)."""
    selected = session.view.folder_id if session.view is not None else 0
    watched = scope.watched(notices.folders())
    return [encode.status_line(status_of(folder, first_items(watched[folder.id])), utf8=session.wire.utf8)
            for folder in notices.folders() if folder.id in watched and folder.id != selected]
