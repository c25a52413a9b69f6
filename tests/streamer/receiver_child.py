"""A receiver in a process of its own, to be killed: prints its address, then its safe ranges repeatedly.

usage: receiver_child.py FOLDER UID ADDRESS
"""

import json
import sys
import time
from pathlib import Path

from ptylive.streamer.patience import Patience
from ptylive.streamer.receiver import Receiver, ReceiverSettings


def main() -> None:
    folder, uid, address = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    receiver = Receiver(ReceiverSettings(address, folder, Patience(5.0, 20.0)), on_event=lambda event: None)
    receiver.start()
    print(json.dumps({"address": receiver.address}), flush=True)
    while True:
        print(json.dumps({"safe": receiver.safe_ranges(uid)}), flush=True)
        time.sleep(0.005)


if __name__ == "__main__":
    main()
