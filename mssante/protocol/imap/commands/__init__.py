"""Grammar of each command: `parse_<command>(tokens) -> value`, by family; `commands.table.PARSERS` lists all of them.

A parser is called with `tokens` just after the command name; it reads to the end (nothing may be left), gives a value
of `protocol.imap.values`, or raises `ClientFault` (BAD) or `CommandRefused` (NO, for instance BADCHARSET). Adding an
extension means one line in that table, one in the state table of `protocol/imap/session.py`, and its name in
`protocol/imap/capabilities.py`; a test checks that the tables agree.
"""
