# SPDX-License-Identifier: Apache-2.0
"""What the operator and the node daemon both stand on."""
