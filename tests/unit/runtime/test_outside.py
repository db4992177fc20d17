# SPDX-License-Identifier: Apache-2.0
"""What a process shows to the outside: health, figures, logs."""

import io
import json
import logging
from collections.abc import Iterator

import aiohttp
import pytest
import structlog

from nopal_runtime import logs
from nopal_runtime.health import HealthServer, not_older
from nopal_runtime.kube.client import Request
from nopal_runtime.metrics import Metrics


async def fetch(server: HealthServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}/{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_health_says_what_is_wrong() -> None:
    age = [float("inf")]
    checks = {"lists": not_older(lambda: age[0], 10, "the newest list"), "fine": lambda: None}
    async with HealthServer(0, checks, host="127.0.0.1") as server:
        assert await fetch(server, "healthz") == (200, "ok")
        age[0] = 10
        assert await fetch(server, "healthz") == (200, "ok")
        age[0] = 11
        status, words = await fetch(server, "healthz")
        assert status == 503
        assert words == "lists: the newest list is 11 s old, more than 10 s"


async def test_metrics_are_served() -> None:
    metrics = Metrics()
    metrics.watch_depth(lambda: 3)
    metrics.request(Request("create", "Host", "", "ok"))
    metrics.request(Request("apply_status", "Host", "m", "Conflict"))
    with metrics.reconcile("Disk"):
        pass
    with pytest.raises(KeyError), metrics.reconcile("Disk"):
        raise KeyError
    async with HealthServer(0, {}, metrics=metrics.text, host="127.0.0.1") as server:
        _, text = await fetch(server, "metrics")
    lines = text.splitlines()
    assert "nopal_queue_depth 3.0" in lines
    assert 'nopal_api_writes_total{kind="Host",manager="",verb="create"} 1.0' in lines
    assert not [line for line in lines if "nopal_api_writes_total" in line and "apply" in line]
    assert 'nopal_reconcile_seconds_count{kind="Disk",outcome="ok"} 1.0' in lines
    assert 'nopal_reconcile_seconds_count{kind="Disk",outcome="error"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_logs_are_json_one_line_an_event(stream: io.StringIO) -> None:
    structlog.get_logger("nopal.test").info("started\nhere", key="VirtualMachine a/b")
    logging.getLogger("kopf.x").warning("retry %d", 3)
    logging.getLogger("kopf.x").info("a step of its own")
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger("nopal.test").exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["started\nhere", "retry 3", "failed"]
    assert lines[0]["key"] == "VirtualMachine a/b"
    assert lines[0]["logger"] == "nopal.test"
    assert lines[0]["level"] == "info"
    assert "ValueError: why" in lines[2]["exception"]
