# SPDX-License-Identifier: Apache-2.0
"""HTTP to kube-apiserver through kubernetes.aio; nothing outside this module imports it."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from nopal_runtime.kube.credentials import Credentials


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Import kubernetes, or what imports it, without the words of libraries Nopal does not use.

    It imports requests, which warns beside Debian's chardet.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with quiet_imports():
    from kubernetes.aio.client.configuration import Configuration
    from kubernetes.aio.client.rest import RESTClientObject

_NO_LIMIT = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read whole."""

    status: int
    data: bytes


class _RestClient(RESTClientObject):
    """The library's own, with our TLS context: it can only make one from files."""

    def __init__(self, configuration: Configuration, credentials: Credentials) -> None:
        super().__init__(configuration)
        self.ssl_context = credentials.ssl_context


class Transport:
    """Sends requests with the credentials of the moment. The caller sets the time-out."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        configuration = Configuration(host=credentials.server)
        configuration.tls_server_name = credentials.server_name
        configuration.retries = None  # 0 and False would retry 5xx for minutes
        self._client = _RestClient(configuration, credentials)

    async def send(
        self, method: str, target: str, body: Mapping[str, Any] | None, content_type: str
    ) -> Response:
        """Send one request and read its answer. Raises what aiohttp raises."""
        headers = {
            **self._credentials.headers(),
            "User-Agent": "nopal",
            "Accept": "application/json",
            "Content-Type": content_type,
        }
        answer = await self._client.request(  # type: ignore[no-untyped-call]
            method,
            self._credentials.server + target,
            headers=headers,
            body=body,
            _request_timeout=_NO_LIMIT,
        )
        try:
            return Response(answer.status, await answer.read())
        finally:
            answer.response.release()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
