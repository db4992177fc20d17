# SPDX-License-Identifier: Apache-2.0
"""Which virtual machines should move: to balance, to empty a host, to make room."""
