# SPDX-License-Identifier: Apache-2.0
"""Makes ``python -m nopal_dev`` work."""

import sys

from nopal_dev.cli import main

if __name__ == "__main__":
    sys.exit(main())
