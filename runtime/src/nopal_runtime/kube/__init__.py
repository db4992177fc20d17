# SPDX-License-Identifier: Apache-2.0
"""Watch, cache, queue and write: the way to and from kube-apiserver."""
