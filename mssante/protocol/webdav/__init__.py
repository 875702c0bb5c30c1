"""WebDAV and CardDAV as an address book that is only read needs them: requests read, filters matched, answers written. Pure.

Called by `mssante.endpoints.carddav` and `mssante.services.cardbooks`.
"""
