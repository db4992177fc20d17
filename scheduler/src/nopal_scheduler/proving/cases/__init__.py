# SPDX-License-Identifier: Apache-2.0
"""The exact form: one packing for every loss. For zones with few enough of them."""
