# SPDX-License-Identifier: Apache-2.0
"""The kinds of nopal.dev as pydantic models, and what is derived from them. Pure."""
