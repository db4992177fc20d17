# SPDX-License-Identifier: Apache-2.0
"""What libvirt says of processors: the words of a real libvirt 9.0, made short."""

import pytest

from nopal_node.hypervisor.cpu_features import host_model, refuse_lacking, required
from nopal_runtime.errors import TransientError

CAPABILITIES = """<domainCapabilities>
  <cpu>
    <mode name='host-passthrough' supported='no'/>
    <mode name='maximum' supported='yes'/>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>EPYC</model>
      <vendor>AMD</vendor>
      <feature policy='require' name='erms'/>
      <feature policy='disable' name='sha-ni'/>
    </mode>
    <mode name='custom' supported='yes'><model usable='yes'>qemu64</model></mode>
  </cpu>
  <features><gic supported='no'/></features>
</domainCapabilities>"""
EXPANDED = """<cpu mode='custom' match='exact'>
  <model fallback='forbid'>EPYC</model>
  <vendor>AMD</vendor>
  <feature policy='require' name='sse4.2'/>
  <feature policy='require' name='avx2'/>
  <feature policy='require' name='svme-addr-chk'/>
  <feature policy='require' name='Not A Name'/>
  <feature policy='disable' name='sha-ni'/>
</cpu>"""


def test_the_model_is_given_back_to_libvirt_as_a_processor() -> None:
    model = host_model(CAPABILITIES)
    assert model is not None
    assert model.startswith("<cpu>")
    assert "EPYC</model>" in model
    assert required(model) == ("erms",), "what differs from the model, and no more"


@pytest.mark.parametrize(
    "capabilities",
    [
        CAPABILITIES.replace("name='host-model' supported='yes'", "name='host-model'"),
        CAPABILITIES.replace("host-model", "host-model-of-tomorrow"),
        "<domainCapabilities/>",
    ],
)
def test_no_model_is_none(capabilities: str) -> None:
    assert host_model(capabilities) is None


def test_only_what_a_guest_has_counts_in_order() -> None:
    """A name that kube-apiserver would refuse would cost the host its whole status."""
    assert required(EXPANDED) == ("avx2", "sse4.2", "svme-addr-chk")


def test_what_is_lacking_is_named_with_what_to_do() -> None:
    refuse_lacking(("avx2",), ("sse4.2", "avx2"))
    with pytest.raises(TransientError, match=r"any more: aes, vaes\. Set powerState") as refused:
        refuse_lacking(("vaes", "avx2", "aes"), ("avx2",))
    assert refused.value.reason == "StartFailed"
