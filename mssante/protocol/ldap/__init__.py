"""LDAPv3 of a read-only server and of a client, filters included (RFC 4511, RFC 4515, RFC 2696). Pure, no I/O.

Called by `mssante.endpoints.ldap` (server) and `mssante.transport.ldap_client` (client): one BER (`ber`) for both.
"""
