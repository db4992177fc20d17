# SPDX-License-Identifier: Apache-2.0
"""The cloud-init seed: an ISO 9660 image that cloud-init's NoCloud data source finds by its label.

https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

import io
import json
import time
from dataclasses import dataclass, field
from typing import Any

import pycdlib
import pycdlib.headervd

LABEL = "cidata"


class _NoTimeOfDay:
    """Stands in for pycdlib's clock, which stamps everything: the same content is the same bytes.

    Otherwise the seed would be another one, and written anew, at every start of a guest.
    """

    def time(self) -> float:
        return 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


for _module in (pycdlib.pycdlib, pycdlib.headervd):
    vars(_module)["time"] = _NoTimeOfDay()


@dataclass(frozen=True, slots=True)
class NoCloudSeed:
    """What a guest's cloud-init is given."""

    instance_id: str
    """cloud-init runs its first-boot work once for each instance ID: the VM's UID."""
    hostname: str
    user_data: bytes = field(repr=False)
    network_data: str | None = None

    def iso(self) -> bytes:
        """Return the image's bytes: a function of what it holds."""
        # JSON is YAML: no string of a tenant can break out of its quotes.
        meta = json.dumps({"instance-id": self.instance_id, "local-hostname": self.hostname})
        files = {"meta-data": meta.encode(), "user-data": self.user_data}
        if self.network_data is not None:
            files["network-config"] = self.network_data.encode()
        iso = pycdlib.PyCdlib()
        iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
        for number, (name, content) in enumerate(files.items()):
            # Linux reads the Rock Ridge name; the ISO name is only a unique placeholder.
            iso.add_fp(
                io.BytesIO(content),
                len(content),
                f"/FILE{number}.;1",
                rr_name=name,
                joliet_path=f"/{name}",
            )
        out = io.BytesIO()
        iso.write_fp(out)
        iso.close()
        return out.getvalue()
