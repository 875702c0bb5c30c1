"""Reports about messages: delivery (dsn, RFC 3464) and disposition (mdn, RFC 8098). Strict writers, lenient readers."""
