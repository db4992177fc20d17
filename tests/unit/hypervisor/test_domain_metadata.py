# SPDX-License-Identifier: Apache-2.0
"""Reading whose a domain is, from whatever libvirt holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nopal_node.hypervisor.base import Ownership
from nopal_node.hypervisor.domain_metadata import parse_ownership

WHOLE = 'vmUID="u" epoch="7" clusterUID="c" hostUID="h" namespace="team-a" name="web"'
OWNER = Ownership(
    vm_uid="u", epoch=7, cluster_uid="c", host_uid="h", namespace="team-a", name="web"
)


@pytest.mark.parametrize(
    "metadata",
    [
        # As virDomainGetMetadata gives it: without the prefix.
        f"<owner {WHOLE}/>",
        f'<nopal:owner xmlns:nopal="https://nopal.dev/xmlns/domain/1" {WHOLE}/>',
        # As in a domain's XML, with any prefix, beside others' metadata.
        "<domain><name>x</name><metadata>"
        '<libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/"/>'
        f'<n:owner xmlns:n="https://nopal.dev/xmlns/domain/1" {WHOLE} later="more"/>'
        "</metadata></domain>",
    ],
)
def test_ours(metadata: str) -> None:
    assert parse_ownership(metadata) == OWNER


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "<",
        "<domain/>",
        "<domain><metadata/></domain>",
        f'<domain><metadata><owner xmlns="https://example.org/" {WHOLE}/></metadata></domain>',
        f'<owner xmlns="https://example.org/" {WHOLE}/>',
        "<owner/>",
        f"<owner {WHOLE.replace('7', 'seven')}/>",
        f"<owner {WHOLE.replace('vmUID', 'uid')}/>",
    ],
)
def test_not_ours(metadata: str) -> None:
    assert parse_ownership(metadata) is None


@given(st.text())
def test_nothing_breaks_it(metadata: str) -> None:
    assert parse_ownership(metadata) is None
