# SPDX-License-Identifier: Apache-2.0
"""What the command line reads and writes: cluster files, Ganeti's text files, proofs."""
