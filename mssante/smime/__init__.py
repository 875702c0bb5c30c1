"""S/MIME (RFC 8551, CMS RFC 5652): sign, verify, encrypt, decrypt, on bytes.

Pure: keys, anchors, `now` and limits are arguments; nothing here reads a clock, a socket, a file or a database.
"""
