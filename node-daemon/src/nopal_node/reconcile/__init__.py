# SPDX-License-Identifier: Apache-2.0
"""Pure planning: from desired and observed to the next steps and the status."""
