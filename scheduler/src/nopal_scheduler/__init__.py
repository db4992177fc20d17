# SPDX-License-Identifier: Apache-2.0
"""Placement of virtual machines on hosts. Pure: no Kubernetes, no clock, no I/O."""
