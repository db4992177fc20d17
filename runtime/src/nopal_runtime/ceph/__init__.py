# SPDX-License-Identifier: Apache-2.0
"""A thin adapter over rados and rbd."""
