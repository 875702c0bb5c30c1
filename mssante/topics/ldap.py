"""The LDAP door of address books, over the directory that an earlier topic put on the ground."""

from __future__ import annotations

from mssante.endpoints.ldap import LdapDoor, LdapParts
from mssante.topics.base import Ground, Topic


class LdapTopic(Topic):
    """Opens the door when `listen.ldaps` is set."""

    def __init__(self, ground: Ground) -> None:
        self._address = ground.config.operator.listen.ldaps
        limits = ground.config.operator.limits
        self._door = LdapDoor(LdapParts(ground.directory, ground.accounts, ground.tls_implicit, limits.connections,
                                        limits.connections_per_address))

    async def open(self) -> None:
        """Open it. Raises OSError."""
        if self._address:
            await self._door.open(self._address)

    async def close(self) -> None:
        """Close it."""
        await self._door.close()
