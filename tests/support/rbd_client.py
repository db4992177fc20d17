# SPDX-License-Identifier: Apache-2.0
"""A client of its own, as a guest's QEMU is: opens an image and keeps it open until it ends.

Run as a script: orders as JSON on standard input, "open" on standard output when it is.
"""

import json
import sys


def main() -> None:
    import rados
    import rbd

    orders = json.loads(sys.stdin.readline())
    cluster = rados.Rados(name=orders["user"], conf=orders["conf"])
    cluster.connect()
    ioctx = cluster.open_ioctx(orders["pool"])
    image = rbd.Image(ioctx, orders["image"])
    if written := orders["written"].encode():
        image.write(written, image.size() - len(written))
        image.flush()
    print("open", flush=True)
    sys.stdin.readline()  # until the parent closes it
    image.close()
    ioctx.close()
    cluster.shutdown()


if __name__ == "__main__":
    main()
