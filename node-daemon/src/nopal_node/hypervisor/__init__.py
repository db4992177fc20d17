# SPDX-License-Identifier: Apache-2.0
"""Domains: the hypervisor of this host."""
