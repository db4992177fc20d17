# SPDX-License-Identifier: Apache-2.0
"""A client of its own, as a guest's QEMU is: opens images and keeps them open until it ends.

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
    image, *more = (rbd.Image(ioctx, name) for name in orders["images"])
    if written := orders["written"].encode():
        image.write(written, image.size() - len(written))
        image.flush()
    print("open", flush=True)
    sys.stdin.readline()  # until the parent closes it
    for each in (image, *more):
        each.close()
    ioctx.close()
    cluster.shutdown()


if __name__ == "__main__":
    main()
