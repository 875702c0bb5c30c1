"""The command line: one module a subject, one function a command. Every command calls `mssante.services.admin` or a floor below.

- French texts with English beside them; `--json` gives one JSON object on standard output and nothing else there.
- Exit codes: 0 done, 1 a fault (refused, not found, broken), 2 wrong usage, 3 a check failed, 130 stopped by Ctrl-C.
- A fault is one text on standard error, with its rule and its remedy; never a traceback.
"""
