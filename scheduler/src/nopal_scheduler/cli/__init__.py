# SPDX-License-Identifier: Apache-2.0
"""The command line, the one place in this package that reads and writes files."""
