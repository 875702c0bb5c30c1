"""Alembic revisions, run by `mssante.storage.sql.schema`; nothing else reads them."""
