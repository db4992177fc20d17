# SPDX-License-Identifier: Apache-2.0
"""Logs: JSON, one line an event, the libraries' words in the same shape."""

import logging
import sys
from typing import TextIO

import structlog

_LIBRARIES = {
    # kopf tells every step of its own at INFO.
    "kopf": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}


def configure(level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    """Send everything that is logged to the stream, as JSON.

    Secrets never reach a log: nothing logs a Secret, a token or a user-data.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, floor in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(floor, root.level))
