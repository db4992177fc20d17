# SPDX-License-Identifier: Apache-2.0
"""A real Nopal cluster on one machine: what the demo, the e2e tests and the bench run on."""
