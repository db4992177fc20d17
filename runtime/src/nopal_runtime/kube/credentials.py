# SPDX-License-Identifier: Apache-2.0
"""How to reach and persuade kube-apiserver: from KUBECONFIG, or from inside a pod."""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nopal_runtime.errors import TerminalError

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API server and one identity there."""

    server: str
    """URL without a trailing slash."""
    ssl_context: ssl.SSLContext = field(repr=False)
    token: str = field(default="", repr=False)
    """A bearer token that does not change."""
    token_file: Path | None = None
    """A bearer token that the kubelet renews: read again for every request."""
    server_name: str | None = None
    """The name in the server's certificate, if it differs from the URL's."""

    def headers(self) -> dict[str, str]:
        """Return the Authorization header; empty with a client certificate.

        Raises:
            TerminalError: the token file cannot be read.
        """
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except OSError as error:
                raise TerminalError(
                    "TokenUnreadable", f"the token file cannot be read: {error}"
                ) from error
        return {"Authorization": f"Bearer {token}"} if token else {}


def load_credentials(environ: Mapping[str, str] = os.environ, *, pod: Path = _POD) -> Credentials:
    """Return the credentials that KUBECONFIG names, else the pod's own.

    Raises:
        TerminalError: there are none, or they cannot be used (NoCredentials).
    """
    if path := environ.get("KUBECONFIG"):
        return from_kubeconfig(Path(path).expanduser())
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if not host or not (pod / "token").exists():
        raise TerminalError(
            "NoCredentials",
            "neither KUBECONFIG is set nor is this a pod with a service account token."
            " Set KUBECONFIG to the path of a kubeconfig file.",
        )
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(pod / "ca.crt"))
    return Credentials(f"https://{host}:{port}", context, token_file=pod / "token")


def from_kubeconfig(path: Path) -> Credentials:
    """Return the credentials of the current context of a kubeconfig file.

    Understands a token, a token file, client certificates and a CA, each inline or as a path.

    Raises:
        TerminalError: the file cannot be read, or logs in by a plugin (NoCredentials).
    """
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config, "contexts", config["current-context"], "context")
        cluster = _named(config, "clusters", context["cluster"], "cluster")
        user = _named(config, "users", context["user"], "user") if "user" in context else {}
        server = cluster["server"].rstrip("/")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise TerminalError(
            "NoCredentials", f"kubeconfig {path} cannot be used: {type(error).__name__}: {error}"
        ) from error
    if "exec" in user or "auth-provider" in user:
        raise TerminalError(
            "NoCredentials",
            f"kubeconfig {path} logs in by a plugin. Use a token, a tokenFile or a client"
            " certificate.",
        )
    folder = path.parent
    try:
        tls = _tls(cluster, user, folder)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise TerminalError(
            "NoCredentials", f"certificates of kubeconfig {path} cannot be used: {error}"
        ) from error
    file = user.get("tokenFile")
    return Credentials(
        server,
        tls,
        token=user.get("token", "") if not file else "",
        token_file=folder / file if file else None,
        server_name=cluster.get("tls-server-name"),
    )


def _named(config: Any, section: str, name: str, inner: str) -> dict[str, Any]:
    for entry in config[section]:
        if entry["name"] == name:
            found: dict[str, Any] = entry[inner] or {}
            return found
    raise KeyError(f"no entry {name!r} in {section}")


def _tls(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    ca = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        # Python's ssl reads a certificate only from a file; this one lives for this block.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(section: dict[str, Any], name: str, folder: Path) -> bytes | None:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(str(data))
    if path := section.get(name):
        return (folder / str(path)).read_bytes()
    return None
