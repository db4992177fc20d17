# SPDX-License-Identifier: Apache-2.0
"""Bridges: the networks that this host realizes."""
