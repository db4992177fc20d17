# SPDX-License-Identifier: Apache-2.0
"""Figures, each beside the limit of the machine, measured in the same run: `make bench`."""
