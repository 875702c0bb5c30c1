"""Structured health documents: CDA headers, IHE_XDM.ZIP archives, their metadata, and the letter that carries them.

Everything here works on bytes already in memory and gives values back: no file, no socket, no clock. The code tables of
the French nomenclature are package data, read once by `mssante.documents.codes`.
"""
