"""Which scan each sender means by a uid: two senders may use the same uid at the same time.

An arm message, or a ping with one, determines the scan of that sender's further frames. Senders that draw a number for
themselves send it with every message. Others are distinguished by their connections: libzmq gives the connection of
every message, as its file descriptor. Descriptors are reused while messages of the previous connection may still wait,
so every sender has a number here that is never reused. The socket's monitor reports connections made and lost.
"""

from __future__ import annotations

from collections import OrderedDict

from ptylive.streamer.progress import ScanProgress

_REMEMBERED = 4096


class Senders:
    """What connections have announced. For one thread."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        """Descriptor -> number of the connection that has it."""
        self._count = 0
        self._number_of: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """Number that a sender uses -> its number here, and that of the newest connection it was heard by."""
        self._scan_meant: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._early: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._lost: set[int] = set()
        self._doubtful: set[tuple[int, str]] = set()
        self._disputed: OrderedDict[str, None] = OrderedDict()

    def known(self, descriptor: int, sender: int = 0) -> int | None:
        """Return the number here of the sender of a message: identified by its own number or, where that is 0, by the
        connection that has the file descriptor now; None for a descriptor below 0: not known.
        """
        if descriptor >= 0 and descriptor not in self._numbers:
            self.accepted(descriptor)
        connection = self._numbers.get(descriptor)
        return self._by_name(sender, -1 if connection is None else connection) if sender else connection

    def _by_name(self, sender: int, connection: int) -> int:
        """Return a sender's number; it is present while its newest connection is, though older messages may come."""
        if sender not in self._number_of:
            self._count += 1
        number, newest = self._number_of.pop(sender, (self._count, -1))
        newest = max(newest, connection)
        self._number_of[sender] = number, newest
        if len(self._number_of) > _REMEMBERED:
            self._number_of.popitem(last=False)
        if newest in self._lost:
            self._lost.add(number)
        elif number in self._lost:
            self._readmit(number)
        return number

    def _readmit(self, source: int) -> None:
        """Let a returned sender's meaning of a uid count again."""
        self._lost.discard(source)
        for uid, name in [(uid, name) for (sender, uid), name in self._scan_meant.items() if sender == source]:
            self._compare(source, uid, name)

    def accepted(self, descriptor: int) -> None:
        """Note a new connection, maybe under the descriptor of a lost one: it has announced nothing."""
        self._count += 1
        self._numbers[descriptor] = self._count

    def lost(self, descriptor: int) -> None:
        """Note a lost connection; its messages may still lie in the socket."""
        if (source := self._numbers.get(descriptor)) is not None:
            self._lost.add(source)
            self._lost |= {number for number, newest in self._number_of.values() if newest == source}
        if len(self._lost) > _REMEMBERED:
            self._lost &= {source for source, _ in self._scan_meant} | {
                newest for _, newest in self._number_of.values()
            }

    def says(self, source: int | None, uid: str, name: str, *, doubtful: bool = False) -> None:
        """Note that a connection means the scan ``name`` by a uid; ``doubtful``: its frames have to confirm this.

        A uid by which two connections mean different scans is disputed from then on.
        """
        if source is None:
            return
        self._scan_meant[source, uid] = name
        self._scan_meant.move_to_end((source, uid))
        (self._doubtful.add if doubtful else self._doubtful.discard)((source, uid))
        while len(self._scan_meant) > _REMEMBERED:
            self._doubtful.discard(self._scan_meant.popitem(last=False)[0])
        self._compare(source, uid, name, doubtful=doubtful)

    def _compare(self, source: int, uid: str, name: str, *, doubtful: bool = False) -> None:
        """Mark a uid as disputed if two present senders mean different scans by it."""
        if doubtful or any(scan != name for scan in self._other_scans(source, uid)):
            self._disputed[uid] = None
            self._disputed.move_to_end(uid)
            while len(self._disputed) > _REMEMBERED:
                self._disputed.popitem(last=False)

    def took(self, source: int, uid: str, name: str) -> None:
        """Note that frames of a connection that has announced nothing, as after a reconnect, went to a scan."""
        self._early[source, uid] = name
        while len(self._early) > _REMEMBERED:
            self._early.popitem(last=False)

    def took_early(self, source: int | None, uid: str) -> str | None:
        """Return the scan that got frames of a connection before it announced one; the answer is given once."""
        return None if source is None else self._early.pop((source, uid), None)

    def of(self, source: int | None, uid: str) -> str | None:
        """Return the scan a connection means by a uid; None where it has announced none."""
        return None if source is None else self._scan_meant.get((source, uid))

    def share(self, source: int | None, uid: str) -> bool:
        """Whether another connection that is still present means the same scan."""
        own = self.of(source, uid)
        return source is not None and own is not None and own in self._other_scans(source, uid)

    def count(self, uid: str, name: str) -> int:
        """Number of present connections that mean a scan."""
        named = self._scan_meant.items()
        return sum(
            named_uid == uid and scan == name and source not in self._lost for (source, named_uid), scan in named
        )

    def is_doubtful(self, source: int | None, uid: str) -> bool:
        """Whether the frames of a connection have to show which scan of a uid they belong to."""
        return source is not None and (source, uid) in self._doubtful

    def is_news(self, source: int | None, uid: str) -> bool:
        """Whether it matters for frames which connections are present."""
        return uid in self._disputed or self.of(source, uid) is None

    def is_disputed(self, uid: str) -> bool:
        """Whether a uid was ever used for two scans at the same time."""
        return uid in self._disputed

    def are_in_question(self, scan: ScanProgress) -> bool:
        """Whether the connection of each message has to be checked; also until a scan taken up from the disk is
        announced, since two senders may come back to it.
        """
        uid = scan.sent_as
        return uid in self._disputed or (scan.resumed and not self.count(uid, scan.header.uid))

    def _other_scans(self, source: int, uid: str) -> list[str]:
        """Scans that the other present connections mean by a uid."""
        return [
            name
            for (sender, named_uid), name in self._scan_meant.items()
            if named_uid == uid and sender != source and sender not in self._lost
        ]
