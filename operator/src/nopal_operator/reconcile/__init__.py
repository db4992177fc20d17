# SPDX-License-Identifier: Apache-2.0
"""Pure planning: from what is known to the next steps."""
