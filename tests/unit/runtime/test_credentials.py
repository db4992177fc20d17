# SPDX-License-Identifier: Apache-2.0
"""Credentials: a kubeconfig, or a pod's own; a token file is read again each time."""

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from nopal_runtime.errors import TerminalError
from nopal_runtime.kube.credentials import from_kubeconfig, load_credentials


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    path = folder / "config"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [
                    {
                        "name": "k",
                        "cluster": {
                            "server": "https://api:6443/",
                            "insecure-skip-tls-verify": True,
                            **cluster,
                        },
                    }
                ],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return path


def test_a_token(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, {"token": "s3cr3t-token"}))
    assert found.server == "https://api:6443"
    assert found.headers() == {"Authorization": "Bearer s3cr3t-token"}
    assert "s3cr3t-token" not in repr(found)


def test_a_token_file_is_read_again_for_every_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    found = from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "token"}))
    assert found.headers() == {"Authorization": "Bearer one"}
    (tmp_path / "token").write_text("two\n")
    assert found.headers() == {"Authorization": "Bearer two"}
    (tmp_path / "token").unlink()
    with pytest.raises(TerminalError, match="TokenUnreadable"):
        found.headers()


def test_the_server_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {}, **{"insecure-skip-tls-verify": False})
    assert from_kubeconfig(path).ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert from_kubeconfig(kubeconfig(tmp_path, {})).ssl_context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("user", [{"exec": {"command": "aws"}}, {"auth-provider": {"name": "gcp"}}])
def test_a_login_plugin_is_refused_with_a_remedy(tmp_path: Path, user: dict[str, Any]) -> None:
    with pytest.raises(TerminalError, match="tokenFile or a client certificate"):
        from_kubeconfig(kubeconfig(tmp_path, user))


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="missing"):
        from_kubeconfig(tmp_path / "missing")
    (tmp_path / "empty").write_text("")
    with pytest.raises(TerminalError, match="NoCredentials"):
        from_kubeconfig(tmp_path / "empty")
    broken = {"certificate-authority-data": base64.b64encode(b"no certificate").decode()}
    with pytest.raises(TerminalError, match="certificates of kubeconfig"):
        from_kubeconfig(kubeconfig(tmp_path, {}, **broken))


def test_without_anything_the_message_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="Set KUBECONFIG"):
        load_credentials({}, pod=tmp_path)


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abc")
    plain = ssl.create_default_context()
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: plain)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = load_credentials(environ, pod=tmp_path)
    assert found.server == "https://[fd00::1]:443"
    assert found.token_file == tmp_path / "token"
