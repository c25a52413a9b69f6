"""Keys: who may talk to this program's sockets (CURVE, `security.keys`).

A key folder, in the files of ``zmq.auth``::

    server.key            public key of the server: clients need it
    server.key_secret     made at the first run, readable by its owner only
    client.key[_secret]   key of whoever uses this folder as a client
    clients/*.key         public keys of the clients that are let in; read again when it changes

At its first run the server also makes a client's key and lets it in, so that the dashboard and the same person's
commands work with the same folder. On another machine: copy ``server.key`` into a folder there, run any command with
``--keys``, and copy the ``client.key`` it makes into ``clients/`` here.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

from ptylive.schema import PtyliveError
from ptylive.streamer.sockets.connection import Peer

KEYS_VARIABLE = "PTYLIVE_KEYS"
"""Environment variable with the key folder of a client that is given none."""
_DOMAIN = "ptylive"
_KEY_LENGTH = 40  # Z85 of 32 bytes
_SAID_AGAIN_S = 60.0
_MOST_SAID = 256
"""A client that is refused tries again several times a second: each key is reported once a minute."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerKeys:
    """The key of a server and its list of clients."""

    folder: Path
    public: bytes
    secret: bytes = field(repr=False)
    _said: dict[bytes, float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path) -> ServerKeys:
        """Read the folder, or fill it at the first run. Raises PtyliveError when it cannot be used safely."""
        try:
            allowed = folder / "clients"
            first_run = not (folder / "server.key_secret").exists()
            allowed.mkdir(mode=0o700, parents=True, exist_ok=True)
            public, secret = _pair(folder, "server")
            if first_run and not any(allowed.glob("*.key")):
                _write(allowed / "this_machine.key", _pair(folder, "client")[0])
        except OSError as error:
            raise _unusable(folder, error) from None
        return cls(folder, public, secret)

    def allows(self, key: bytes) -> bool:
        """Whether a client with this public key (Z85) is let in; files that hold no key are skipped."""
        return any(_public(path) == key for path in sorted((self.folder / "clients").glob("*.key")))

    def callback(self, _domain: str, key: bytes) -> bool:
        """Authenticator callback for each connection; on an error the connection is refused."""
        try:
            allowed = self.allows(key)
        except OSError as error:
            log.error("no client is accepted: %s", error)
            return False
        if not allowed:
            self._report(key)
        return allowed

    def _report(self, key: bytes) -> None:
        now = time.monotonic()
        if now - self._said.get(key, -_SAID_AGAIN_S) < _SAID_AGAIN_S:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[key] = now
        log.warning("a client with the unknown key %s was refused", key.decode("ascii", "replace"))


@dataclass(frozen=True)
class ClientKeys:
    """A client's key and the key of the server it trusts."""

    folder: Path
    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> ClientKeys:
        """Read the folder; create the client's key if there is none.

        Raises PtyliveError when the server's key is missing or the folder cannot be used safely.
        """
        try:
            server = _public(folder / "server.key")
            if server is None:
                path = folder / "server.key"
                problem = f"{path} does not hold a key" if path.exists() else f"{folder} holds no server.key"
                raise PtyliveError(problem, "copy it from the server's key folder")
            public, secret = _pair(folder, "client")
        except OSError as error:
            raise _unusable(folder, error) from None
        return cls(folder, server, public, secret)

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket encrypt, authenticate itself, and talk to that server only. Call it before connecting."""
        socket.curve_publickey, socket.curve_secretkey = self.public, self.secret
        socket.curve_serverkey = self.server


def client_keys(folder: Path | None = None) -> ClientKeys | None:
    """Return the keys in ``folder``, or else in the folder named by $PTYLIVE_KEYS; None: no encryption."""
    given = folder or os.environ.get(KEYS_VARIABLE)
    return ClientKeys.open(Path(given).expanduser()) if given else None


def hint_for(peer: Peer, keys: ClientKeys | None) -> str:
    """What to do if nobody answers, given who is at the address."""
    if peer is Peer.REFUSES and keys is not None:
        return f"it refuses {keys.folder / 'client.key'}: copy that file to the folder clients in its key folder"
    if peer is Peer.AGREES:
        return "it is connected but busy: try again, or look at its log"
    if peer is Peer.NOBODY:
        return "start one with ptylive serve"
    if keys is None:
        return "a program there ends the connection: a server that requires keys (--keys), or a tunnel without a server"
    return (
        f"a program there ends the connection: a server whose key is not {keys.folder / 'server.key'}, a server "
        "without keys, or a tunnel without a server"
    )


class Gate:
    """Lets only known clients in at the sockets of one context; without keys it does nothing.

    Create it before the sockets are bound and close it before the context is destroyed. Once it is closed, nobody new
    is let in: the sockets require an answer from an authenticator that no longer exists.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys | None) -> None:
        self._keys = keys
        self._authenticator: ThreadAuthenticator | None = None
        if keys is not None:
            self._authenticator = ThreadAuthenticator(context)
            self._authenticator.configure_curve_callback(_DOMAIN, keys)
            self._authenticator.start()

    def protect(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket refuse clients that are not on the list. Call it before binding."""
        if self._keys is None:
            return
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._keys.public, self._keys.secret
        socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def close(self) -> None:
        """End the authenticator's thread."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None


def _pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    """Return public and secret key ``name`` of a folder, created when missing. Raises OSError, PtyliveError."""
    path = folder / f"{name}.key_secret"
    if not path.exists():
        public, secret = zmq.curve_keypair()
        _write(path, public, secret)
    if path.stat().st_mode & _OTHERS:
        raise PtyliveError(f"{path} can be read by others", f"chmod 600 {path}, or make new keys")
    try:
        found, hidden = load_certificate(path)
    except ValueError:
        found, hidden = b"", None
    if len(found) != _KEY_LENGTH or hidden is None or len(hidden) != _KEY_LENGTH:
        raise PtyliveError(f"{path} does not hold a pair of keys", "remove it, and a new one is created")
    if not (folder / f"{name}.key").exists():
        _write(folder / f"{name}.key", found)
    return found, hidden


def _public(path: Path) -> bytes | None:
    """The public key in a file; None when there is no such file or no key in it."""
    try:
        key, _ = load_certificate(path)
    except (OSError, ValueError):
        return None
    return key if len(key) == _KEY_LENGTH else None


def _write(path: Path, public: bytes, secret: bytes | None = None) -> None:
    """Write a key file whole or not at all; an existing one is kept. Raises OSError."""
    lines = ["#   CURVE key of ptylive" + (": SECRET, keep it to yourself" if secret else ""), "metadata", "curve"]
    lines.append(f'    public-key = "{public.decode()}"')
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _unusable(folder: Path, error: OSError) -> PtyliveError:
    return PtyliveError(f"key folder {folder}: {error.strerror or error}", "check security.keys or --keys")
