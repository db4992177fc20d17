# SPDX-License-Identifier: Apache-2.0
"""Disks, images and seeds: the pools that this host reaches."""
