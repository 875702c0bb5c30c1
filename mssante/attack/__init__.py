"""`mssante attack`: a hostile peer that tries what must never work, and says who falls.

- It attacks what its user is responsible for: an address that is not loopback needs `--authorised`.
- It proves by the peer's own replies: an attack has succeeded only when the server said yes to what must be refused. Nothing is
  broken, flooded or kept: at most a short letter marked as a test is delivered where a server falls.
- `wire` speaks, `forge` makes certificates, `identities`, `dialogue`, `smuggling` and `sources` hold the attacks, `run` plays
  them in order, `values` and `report` say what came out. Called by `mssante.cli.attack`.
"""
