"""SCIM 2.0 as text (RFC 7643, RFC 7644): filters, PATCH, schemas. Pure; what a resource means here is in `services/scim.py`."""
