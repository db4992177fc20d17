# SPDX-License-Identifier: Apache-2.0
"""Short commands: run one, give its output, raise an error that shows what it said."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from nopal_dev.errors import CommandError


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 120.0,
    check: bool = True,
) -> str:
    """Run one command to its end and give its standard output.

    Args:
        argv: The command, never through a shell.
        env: What is added to this process's environment.
        stdin: What the command reads; nothing by default.
        timeout: Seconds; after them the command is killed.
        check: Whether a status other than 0 raises.

    Raises:
        CommandError: Not found, a status other than 0, or too slow.
    """
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(argv, "not found", str(error)) from error
    except subprocess.TimeoutExpired as error:
        output = error.stderr or error.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise CommandError(argv, f"not done after {timeout:.0f} s", text) from error
    if check and done.returncode != 0:
        raise CommandError(argv, f"status {done.returncode}", done.stderr or done.stdout)
    return done.stdout
