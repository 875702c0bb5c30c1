"""Asking clients for a certificate without breaking the handshake of those whose certificate is no good (docs/adr/0018).

OpenSSL ends a handshake when the certificate that a client shows does not verify, unless the server gave a verify callback that
goes on; Python's `ssl` has no such callback. This module sets it through the C functions of the very OpenSSL that Python's `ssl`
module is linked to. TLS still proves that the client holds the key of what it shows (CertificateVerify, RFC 8446 §4.4.3);
issuer, dates, usage and revocation are for `services.client_certificates` to judge, and a certificate that it does not know is
as good as none.

- The names of our authorities go with the request (RFC 8446 §4.2.4), so that mail programs and browsers offer only a
  certificate of these, and ask their user nothing.
- The address of the C structure is read from the Python object. It is used only when what its functions tell agrees with what
  Python says of the same context, on a Python whose layout was looked at; otherwise the context stays as OpenSSL makes it,
  which refuses strangers in the handshake, and `False` tells so.
- The callback is one C function pointer, kept for the life of the process.
"""

from __future__ import annotations

import ctypes
import re
import ssl
import sys
from functools import lru_cache
from typing import Any

KNOWN = ((3, 11), (3, 15))  # Pythons, last excluded, whose `ssl.SSLContext` begins with its SSL_CTX

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)




def _always(_verified: int, _store: int | None) -> int:
    """SSL_verify_cb: 1 lets the handshake go on; the result of the verification stays in the session."""
    return 1


_go_on = _Callback(_always)


@lru_cache(maxsize=1)
def _library() -> Any:
    """Give the OpenSSL that `_ssl` is linked to, None when its functions cannot be reached."""
    try:
        import _ssl

        library = ctypes.CDLL(_ssl.__file__)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "SSL_CTX_get_verify_mode": (number, [pointer]), "SSL_CTX_get_options": (ctypes.c_uint64, [pointer]),
            "SSL_CTX_set_verify": (None, [pointer, number, _Callback]), "SSL_CTX_add_client_CA": (number, [pointer, pointer]),
            "d2i_X509": (pointer, [pointer, pointer, ctypes.c_long]), "X509_free": (None, [pointer])}
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (ImportError, AttributeError, OSError):
        return None
    return library


def _address(context: ssl.SSLContext) -> int:
    """Give the address of the SSL_CTX of a context, 0 when it cannot be told for sure."""
    library = _library()
    if library is None or sys.implementation.name != "cpython" or not KNOWN[0] <= sys.version_info[:2] < KNOWN[1]:
        return 0
    address = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value or 0
    if not address:
        return 0
    agrees = (library.SSL_CTX_get_verify_mode(address) == int(context.verify_mode)
              and library.SSL_CTX_get_options(address) == int(context.options))
    return address if agrees else 0


def ask_anybody(context: ssl.SSLContext, anchors: str) -> bool:
    """Ask clients of a server's context for a certificate, and let the handshake go on whatever comes. anchors: PEM text of the
    authorities named in the request. Gives False, and leaves the context as it is, where that cannot be done."""
    address = _address(context)
    if not address:
        return False
    library = _library()
    for der in _certificates(anchors):
        buffer = ctypes.create_string_buffer(der, len(der))
        start = ctypes.c_void_p(ctypes.addressof(buffer))
        certificate = library.d2i_X509(None, ctypes.byref(start), len(der))
        if certificate:
            library.SSL_CTX_add_client_CA(address, certificate)  # it copies the name
            library.X509_free(certificate)
    library.SSL_CTX_set_verify(address, int(ssl.CERT_OPTIONAL), _go_on)
    return True


def _certificates(pem: str) -> list[bytes]:
    return [ssl.PEM_cert_to_DER_cert(one)
            for one in re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)]
