# SPDX-License-Identifier: Apache-2.0
"""Where one virtual machine goes, or several together; and why not, in words."""
