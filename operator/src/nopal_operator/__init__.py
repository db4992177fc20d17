# SPDX-License-Identifier: Apache-2.0
"""The operator: it decides. Unprivileged, one active, no host access."""
