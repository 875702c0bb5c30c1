"""What every section of the configuration stands on: the strict base model and the shape of `host:port`.

Called by `config.model` and by the modules that hold the sections of one topic (`config.directory`, `config.mailboxes`, …).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Hostport = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):\d{1,5}$")]


def split_hostport(text: str) -> tuple[str, int]:
    """Give (host, port) of `host:port` or `[v6]:port`; raises ValueError when the port is above 65535."""
    host, _, port = text.rpartition(":")
    if int(port) > 65535:
        raise ValueError("port is above 65535")
    return host.strip("[]"), int(port)


class Section(BaseModel):
    """Base of every section: frozen, and a key that we do not know is an error (typos are caught)."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
