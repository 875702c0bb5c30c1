"""LDAPv3 of a read-only server: octets to requests, filters to answers (RFC 4511, RFC 4515, RFC 2696). Pure, no I/O.

Called by `mssante.endpoints.ldap`. The client's side is in `mssante.transport.ldap_wire`.
"""
