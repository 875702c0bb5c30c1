"""Sieve filters as pure values: grammar, compiler, matching, interpreter (RFC 5228 and extensions), and ManageSieve's octets.

- `compile.compile_script(octets)` gives a `Script` or raises `SieveFault` with its line; `Script.run(view, surroundings)` gives
  an `Outcome`, whose actions are values. Nothing here files, sends, waits, reads a clock or a database.
- Bounded everywhere: octets, tokens, nesting, strings, variables, actions, and the work of matching (`faults.Limits`).
- A fault while running is `SieveRunFault`: whoever runs scripts then keeps the message in INBOX (`services.sieve`).
"""
