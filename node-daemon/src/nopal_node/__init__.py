# SPDX-License-Identifier: Apache-2.0
"""The node daemon: it acts and observes. It never decides a placement."""
