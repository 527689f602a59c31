"""Keys: who may connect. The key files of a client, and the TLS that follows from them.

Owns: key files, and what TLS says of a connection. Has no socket: bytes go in and come out, so that the
blocking and the asyncio client drive the same code. What goes over the wire is in docs/protocol.md,
"Keys".
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import tempfile
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Union

from . import _wire as wire
from .errors import KeyFileError

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("argon")

KeyFile = Union[str, "os.PathLike[str]"]

#: What names the key files of a program that is not told otherwise, with commas between.
ENVIRONMENT = "ARGON_KEY"
#: What a manager's certificate is for. Hosts' names play no part.
MANAGER_NAME = "manager.argon"
#: What a manager says first when it has accepted a certificate.
READY = wire.MAGIC
#: Bytes; some forty times what a key has, so that what is none is not read whole.
KEY_FILE_MAX = 64 * 1024
#: Keys of one process: the one in use, and those that are on their way in or out.
KEYS_MAX = 16
# The most that one record holds, in bytes.
_RECORD = 16 * 1024

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_UNCHANGED = "it should be what `argon keygen` wrote, unchanged"


class Bundle(NamedTuple):
    """The parts of a key file that a client uses, as PEM."""

    certificate: str
    private_key: str
    authority: str


def keys_of(given: Union[None, KeyFile, Sequence[KeyFile]]) -> "Optional[Keys]":
    """The keys that a client was given, or those of the environment; None if there are none."""
    if given is None:
        given = [name for name in os.environ.get(ENVIRONMENT, "").split(",") if name]
    elif isinstance(given, (str, os.PathLike)):
        given = [given] if os.fspath(given) else []
    files = [os.fspath(each) for each in given]
    return Keys(files) if files else None


class Keys:
    """Key files. The first is shown to managers; the authorities of all are trusted."""

    def __init__(self, files: List[str]) -> None:
        if len(files) > KEYS_MAX:
            raise KeyFileError(f"a process has at most {KEYS_MAX} keys")
        self._files = files
        self._pipes: Dict[str, str] = {}
        self._texts: List[str] = []
        self._told = ""
        self._context = self._load()

    def open(self) -> "Tls":
        """TLS for one more connection, with what is in the files by now.

        If that cannot be used (it may be half written), what was there before stays.
        """
        try:
            self._context = self._load()
            self._told = ""
        except KeyFileError as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.warning("%s; the keys stay as they were", error)
        return Tls(self._context)

    def _load(self) -> "ssl.SSLContext":
        texts = [self._read(file) for file in self._files]
        if texts == self._texts:
            return self._context
        bundles = [_parse(file, text) for file, text in zip(self._files, texts)]
        context = _context(self._files, bundles)
        self._texts = texts
        return context

    def _read(self, file: str) -> str:
        if file in self._pipes:
            return self._pipes[file]
        try:
            with open(file, "rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                regular = stat.S_ISREG(mode)
                if regular and mode & 0o077:
                    raise KeyFileError(
                        f"key file {file} can be read by other users (mode {mode & 0o777:03o}), so it "
                        f"is no secret; run `chmod 600 {file}`, and make a new one if somebody else "
                        "may have read it"
                    )
                data = opened.read(KEY_FILE_MAX + 1)
        except OSError as error:
            raise KeyFileError(f"key file {file} cannot be read ({error.strerror})") from error
        if len(data) > KEY_FILE_MAX:
            raise KeyFileError(
                f"key file {file} has more than {KEY_FILE_MAX} bytes, so it is no key; make one with "
                "`argon keygen`"
            )
        text = data.decode("ascii", "replace")
        if not regular:
            # A pipe says it once, and is for its two ends alone, whatever its mode.
            self._pipes[file] = text
        return text


def _parse(file: str, text: str) -> Bundle:
    """Takes a key apart: a certificate, its key, the authority's certificate, and maybe that's key."""
    certificates: List[str] = []
    private_keys: List[str] = []
    found = list(_BLOCK.finditer(text))
    if len(found) != text.count("-----BEGIN "):
        raise _broken(file, "block of PEM")
    for block in found:
        if block.group(1) == "CERTIFICATE":
            certificates.append(block.group() + "\n")
        elif block.group(1) == "PRIVATE KEY":
            private_keys.append(block.group() + "\n")
        else:
            raise _broken(file, "block of another kind")
    if len(certificates) > 2 or len(private_keys) > 2:
        raise _broken(file, "block too many")
    for part, there in (
        ("certificate", certificates),
        ("private key", private_keys),
        ("authority's certificate", certificates[1:]),
    ):
        if not there:
            raise KeyFileError(
                f"key file {file} has no {part}; it should be what `argon keygen` wrote, whole"
            )
    return Bundle(certificates[0], private_keys[0], certificates[1])


def _broken(file: str, part: str) -> KeyFileError:
    return KeyFileError(f"key file {file} has a {part} that cannot be used; {_UNCHANGED}")


def _context(files: List[str], bundles: List[Bundle]) -> "ssl.SSLContext":
    try:
        import ssl
    except ImportError as error:
        raise ImportError(
            "a key needs TLS, and this Python was built without the module ssl: build it again where "
            "OpenSSL's headers are (libssl-dev on Debian), or use the python3 of your system"
        ) from error
    if not ssl.HAS_TLSv1_3:
        raise ImportError(
            f"a key needs TLS 1.3, and this Python's {ssl.OPENSSL_VERSION} does not have it; use a "
            "Python with OpenSSL 1.1.1 or later"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for file, bundle in zip(files, bundles):
        for part, pem in (
            ("certificate", bundle.certificate),
            ("authority's certificate", bundle.authority),
        ):
            # The certificate goes only where nobody trusts it: to see whether it is one.
            trusting = context if pem is bundle.authority else ssl.SSLContext(context.protocol)
            try:
                trusting.load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError) as error:
                raise _broken(file, part) from error
    # A key that is only trusted must be whole as well: it is to be shown some day.
    for number in reversed(range(len(files))):
        shown = ssl.SSLContext(context.protocol) if number else context
        try:
            with _file_of(bundles[number].certificate + bundles[number].private_key) as name:
                # Whoever has encrypted it is not asked for the password on a terminal.
                shown.load_cert_chain(name, password="")
        except (ssl.SSLError, ValueError) as error:
            raise _broken(files[number], "private key") from error
    return context


@contextlib.contextmanager
def _file_of(text: str) -> Iterator[str]:
    """A file that only this process can read: TLS takes its own key from nowhere else. What was checked
    and what is used are so the same bytes, whatever happens to the key file meanwhile."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("argon-key")
        name = f"/proc/self/fd/{number}"
        try:
            if os.path.exists(name):
                os.write(number, text.encode())
                yield name
                return
        finally:
            os.close(number)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        yield file.name


class Tls:
    """TLS of one connection: bytes of the network on one side, those of the protocol on the other."""

    def __init__(self, context: "ssl.SSLContext") -> None:
        import ssl

        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=MANAGER_NAME)
        self._again = ssl.SSLWantReadError
        self._error = ssl.SSLError
        self._shaken = False
        self._said = b""
        #: The manager has let this key in: from now on it listens.
        self.ready = False
        self.receive(b"")

    def take(self) -> bytes:
        """What is to be sent."""
        return self._out.read()

    def send(self, data: bytes) -> bytes:
        """What is to be sent for these bytes of the protocol."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        return self.take()

    def receive(self, data: bytes) -> bytes:
        """Takes in what came; returns what it says. Raises OSError with the reason if that is an end."""
        self._in.write(data)
        parts = []
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while True:
                part = self._tls.read(_RECORD)
                if not part:
                    break
                parts.append(part)
        except self._again:
            pass
        except self._error as error:
            raise ConnectionError(self._explained(error)) from error
        said = b"".join(parts)
        if self.ready:
            return said
        self._said += said
        # Before the hello a manager has nothing else to say.
        if not READY.startswith(self._said):
            raise ConnectionError(
                "what answers is no Argon manager, although it has a manager's key"
            )
        self.ready = self._said == READY
        return b""

    def farewell(self) -> bytes:
        """What is to be sent last."""
        try:
            self._tls.unwrap()
        except self._error:
            pass  # It wants to read the other's farewell; nobody waits for that.
        return self.take()

    def cut(self) -> str:
        """What it means that the connection has ended."""
        if self.ready:
            return "the manager closed the connection"
        if self._shaken:
            return "the manager closed the connection when it had seen our key; its log says why"
        return (
            "the manager closed the connection before it had shown a key: it was started without one, "
            "or has too many strangers at its door"
        )

    def _explained(self, error: "ssl.SSLError") -> str:
        """Which side refused the other, and what to do."""
        reason = error.reason or ""
        verified = getattr(error, "verify_code", None)
        if verified is not None:
            return _NO_MANAGER if verified in _NOT_FOR_THIS else _NOT_OURS
        if reason.endswith(_NOT_THEIRS_ALERTS):
            return _NOT_THEIRS
        if not self._shaken and reason in _NO_TLS_REASONS:
            return _NO_TLS
        return str(error)


_NO_TLS = (
    "the manager does not speak TLS: it was started without a key; start it with --key, or leave the "
    "key out here"
)
_NOT_OURS = (
    "we refused the manager: its key comes from another authority than ours; both need keys that come "
    "from the same `argon keygen`"
)
_NO_MANAGER = (
    "we refused what answers: its key does not have the role `manage`, so it is not the manager"
)
_NOT_THEIRS = (
    "the manager refused our key: it comes from an authority that the manager does not trust (any "
    "more); get a key that was made from the manager's, or add ours to the manager's --key"
)
# As OpenSSL numbers them: a certificate for another purpose, and one for other names.
_NOT_FOR_THIS = (26, 62)
_NOT_THEIRS_ALERTS = (
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_DECRYPT_ERROR",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)
# What OpenSSL makes of bytes that are no record, by its release.
_NO_TLS_REASONS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
)
