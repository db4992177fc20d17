# SPDX-License-Identifier: Apache-2.0
"""The form for large zones: every virtual machine has a list of hosts to go to."""
