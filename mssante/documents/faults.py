"""The fault of work on documents that could not be done: too long, too large, a rule file that is not usable.

A *finding* says what is wrong in a document; a `DocumentFault` says that we cannot tell. Whoever asked decides what follows: a
mail that was accepted is never blocked by it (spec §8.6). Raised by `services.workshop` and by the readers of rule files.
"""

from __future__ import annotations

from mssante.errors import MssFault


class DocumentFault(MssFault):
    """Work on a document was not done. rule: `DOC-TEMPS`, `DOC-MEMOIRE`, `DOC-PANNE`, `DOC-FILE`, `DOC-TAILLE`, `DOC-REGLES`."""

    kind = "document"
    temporary = True
