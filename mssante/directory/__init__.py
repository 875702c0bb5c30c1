"""The national directory (Annuaire Santé): entries, its formats, decisions on entries. Pure."""
