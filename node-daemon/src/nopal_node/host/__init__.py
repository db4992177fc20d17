# SPDX-License-Identifier: Apache-2.0
"""Facts, preflight and heartbeat of this host."""
