"""What one TLS connection of a user is offered to log in with: the same for IMAP and submission.

EXTERNAL is offered to a client whose certificate opens an account, channel binding with the certificate that it was shown.
Called by `imap_login` and `smtp_verbs` once TLS is up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mssante.endpoints.tls_context import bound
from mssante.protocol.sasl.mechanisms import ALL, Circumstances


@dataclass(frozen=True, slots=True)
class LoginOffer:
    """How one may log in at a listener.

    common: what all connections have; login_of: gives whose a client's certificate is (DER, peer), empty when it opens nothing
    (`services.client_certificates`); None: no certificate opens anything here.
    """

    common: Circumstances = field(default_factory=lambda: Circumstances(ALL))
    login_of: Callable[[bytes, str], str] | None = None

    def to(self, ssl_object: Any, peer: str = "") -> Circumstances:
        """Give what one TLS connection is offered. A resumed session shows the certificate of the first: it is judged again."""
        common = bound(self.common, ssl_object)
        certificate = ssl_object.getpeercert(True) if self.login_of is not None and ssl_object is not None else None
        if not certificate or self.login_of is None:
            return common
        login = self.login_of(certificate, peer)
        return replace(common, certificate_login=login) if login else common
