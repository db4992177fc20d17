# SPDX-License-Identifier: Apache-2.0
"""A live zone as a cluster file: the same zone, for who has no access to it."""

import pytest

from nopal_api.kinds import NODE
from nopal_operator.export import export_zone
from nopal_operator.places import premises_of
from nopal_runtime.errors import NotFoundError
from nopal_scheduler.files.cluster_yaml import read_cluster
from support.operatorlab import Lab


async def test_a_zone_is_exported_as_the_operator_sees_it(lab: Lab) -> None:
    lab.zone(redundancy={"failures": 1, "topologyKey": "rack"})
    for name in ("n1", "n2"):
        await lab.host(
            name, features=["avx2", "sse4.2"], networks=["lan"], resources={"example.com/a": 3}
        )
        labels = {"zone": "z1", "rack": f"rack-of-{name}"}
        lab.put(NODE, {"metadata": {"name": name, "labels": labels}})
    apart = [{"matchLabels": {"app": "db"}}]
    for name in ("vm1", "vm2"):
        lab.vm(
            name,
            cpu={"cores": 1, "features": ["avx2"]},
            resources={"example.com/a": 1},
            placement={"antiAffinity": apart},
            availability={"priority": 5},
        )
    lab.vm("large", memory={"size": "1Ti"})
    await lab.act_all()

    text = await export_zone(lab.kube, "z1")
    found = read_cluster(text).to_cluster()

    zone = lab.world.zone("z1")
    assert zone is not None
    premises = premises_of(lab.world, zone)
    assert found.hosts == premises.hosts
    assert all(host.capacity.more == {"example.com/a": 3} for host in found.hosts)
    assert all(host.cpu_features == {"avx2", "sse4.2"} for host in found.hosts)
    assert found.redundancy == premises.redundancy
    known = {vm.name: vm for vm in lab.world.schedulers.cluster(premises).vms}
    told = {vm.name: vm for vm in found.vms}
    assert set(told) == {"default/vm1", "default/vm2", "default/large"}
    assert {vm.host for vm in told.values()} == {"n1", "n2", None}
    for vm in known.values():
        same = next(each for each in told.values() if each.host == vm.host)
        assert (same.needs, same.rules, same.labels) == (vm.needs, vm.rules, vm.labels)
        assert same.priority == 5
        assert same.cpu_features == {"avx2"}
        assert same.needs.more == {"example.com/a": 1}


async def test_a_zone_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="there are: z1"):
        await export_zone(lab.kube, "nowhere")
