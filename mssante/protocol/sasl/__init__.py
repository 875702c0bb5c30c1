"""SASL as pure exchanges, server side (RFC 4422), shared by IMAP and submission.

- An exchange has `start(initial)` then `respond(data)`; gives `Challenge`, `Credentials` or `Failure`.
- Octets are already out of base64: `decode_response` and `encode_challenge` in `sasl.base` do that part.
- It never checks a password: `services.accounts` does, with the credentials it is given.
- Mechanisms are one table, `sasl.mechanisms.MECHANISMS`; SCRAM, EXTERNAL and OAUTHBEARER have their place there.
"""
