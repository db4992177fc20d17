# SPDX-License-Identifier: Apache-2.0
"""`python -m nopal_scheduler`: see `cli.main`."""

import sys

from .cli.main import main

sys.exit(main())
