"""Structured logs: one JSON line an event on standard output, context bound by contextvars.

- Never content, subject, INS, passwords; addresses do not stand in logs, the journal has them.
- Control characters in values are escaped by JSON: a peer cannot forge a line.
"""

from __future__ import annotations

import json
import logging
import sys

import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str) -> None:
    """Set up structlog once for the process. level: debug, info, warning or error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_LibraryFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class _LibraryFormatter(logging.Formatter):
    """What a library logs, as one JSON line: who and how grave, never its words, which may quote a message or a person."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line; of an exception, its class alone."""
        line = {"event": "library", "logger": record.name, "level": record.levelname.lower()}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)
