# SPDX-License-Identifier: Apache-2.0
"""What keeps a proof of N+k up to date while virtual machines come and go."""
