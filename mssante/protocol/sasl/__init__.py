"""SASL as pure exchanges, server side (RFC 4422), shared by IMAP and submission.

- An exchange has `start(initial)` then `respond(data)`; gives one of the answers of `sasl.base`.
- Octets are already out of base64: `decode_response` and `encode_challenge` in `sasl.base` do that part.
- It never looks anything up: `services.sasl` does, with the claims it is given.
- Mechanisms are one table, `sasl.mechanisms.MECHANISMS`.
"""
