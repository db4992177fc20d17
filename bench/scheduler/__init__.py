# SPDX-License-Identifier: Apache-2.0
"""Figures of the scheduler, each beside Ganeti's htools or a bound: `make bench-scheduler`."""
