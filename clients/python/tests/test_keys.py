"""Keys, against the real program: who is let in over TLS, who is not, and what each is told."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import argon
import argon.aio
import remote_tasks
from conftest import until

SRC = Path(__file__).parent.parent / "src"
_BLOCK = re.compile(r"-----BEGIN .*?-----END [A-Z ]+-----\n", re.DOTALL)


@pytest.fixture(scope="module")
def keygen(program, tmp_path_factory):
    """Makes key files: keygen() is a cluster's own, keygen(of, "submit") a lesser one of it."""

    def make(of=None, *roles, name=None):
        options = [] if of is None else ["--from", str(of)]
        options += [option for role in roles for option in ("--role", role)]
        options += [] if name is None else ["--name", name]
        made = subprocess.run([program, "keygen", *options], stdout=subprocess.PIPE, check=True)
        path = tmp_path_factory.mktemp("keys") / "some.key"
        return write(path, made.stdout.decode())

    return make


def write(path, text):
    """Puts a key into a file as a tool would: whole, and for nobody else."""
    fresh = Path(f"{path}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.rename(path)
    return path


def blocks(path):
    """The certificate, its key, the authority's certificate, and maybe that's key."""
    return _BLOCK.findall(Path(path).read_text())


@pytest.fixture(scope="module")
def own(keygen):
    return keygen()


@pytest.fixture(scope="module")
def alice(keygen, own):
    return keygen(own, "submit", name="alice")


@pytest.fixture
def guarded(cluster, own):
    """A cluster that speaks TLS only."""
    cluster.manager("--key", own)
    cluster.worker("--key", own)
    return cluster


def blocking_problem(address, **options):
    """What a blocking client is told that cannot get in."""
    with pytest.raises(argon.NotConnected) as told:
        with argon.Client(address, connect_timeout=0.5, **options) as client:
            client.call("operator:add", 4, 7)
    return str(told.value)


def asyncio_problem(address, **options):
    """The same of an asyncio client."""

    async def main():
        async with argon.aio.Client(address, connect_timeout=0.5, **options) as client:
            await client.call("operator:add", 4, 7)

    with pytest.raises(argon.NotConnected) as told:
        asyncio.run(main())
    return str(told.value)


either = pytest.mark.parametrize("problem", [blocking_problem, asyncio_problem])


# What works.


def test_tasks_of_all_sizes_complete(guarded, alice):
    with argon.Client(guarded.address, key=alice) as client:
        assert client.call(remote_tasks.add, 4, 7) == 11
        assert list(client.map(remote_tasks.add, range(3000), range(3000))) == [
            2 * number for number in range(3000)
        ]
        large = os.urandom(6 << 20)
        futures = [client.submit(remote_tasks.same, large) for _ in range(4)]
        assert all(future.result() == large for future in futures)


def test_tasks_of_all_sizes_complete_with_asyncio(guarded, alice):
    async def main():
        async with argon.aio.Client(guarded.address, key=alice) as client:
            assert await client.call(remote_tasks.add, 4, 7) == 11
            found = [each async for each in client.map(remote_tasks.add, range(3000), range(3000))]
            assert found == [2 * number for number in range(3000)]
            large = os.urandom(6 << 20)
            calls = [client.call(remote_tasks.same, large) for _ in range(4)]
            assert all(each == large for each in await asyncio.gather(*calls))

    asyncio.run(main())


def test_an_executor_takes_a_key(guarded, alice):
    with argon.Executor(guarded.address, key=[alice]) as executor:
        assert list(executor.map(remote_tasks.add, [1, 2], [3, 4])) == [4, 6]


def test_the_environment_names_keys(guarded, alice, keygen, monkeypatch):
    monkeypatch.setenv("ARGON_KEY", f"{alice},{keygen()}")
    with argon.Client(guarded.address) as client:
        assert client.call(remote_tasks.add, 4, 7) == 11
    assert "it wants a key" in blocking_problem(guarded.address, key=[])
    monkeypatch.setenv("ARGON_KEY", "")
    assert "it wants a key" in blocking_problem(guarded.address)


def test_a_host_may_have_any_name(guarded, alice):
    port = guarded.address.rpartition(":")[2]
    with argon.Client(f"localhost:{port}", key=alice) as client:
        assert client.call(remote_tasks.add, 4, 7) == 11


def test_status_says_whose_key_it_is(guarded, own, alice, keygen):
    bob = keygen(own, "submit", "observe", name="bob")
    with argon.Client(guarded.address, key=alice) as one:
        one.call(remote_tasks.add, 4, 7)
        assert (one.status().manager.clients, one.status().clients) == (1, [])
        with argon.Client(guarded.address, key=bob) as other:
            status = other.status()
    assert sorted(row.holder for row in status.clients) == ["alice", "bob"]
    assert [row.holder for row in status.workers] == [None]


def test_what_runs_is_not_cancelled_where_a_key_does_not_show_it(guarded, own, alice, tmp_path):
    with argon.Executor(guarded.address, key=alice) as executor:
        go = tmp_path / "go"
        running = executor.submit(remote_tasks.wait_for, str(go))
        until("it runs", lambda: executor.client.status().manager.assigned == 1)
        threading.Thread(target=lambda: executor.shutdown(cancel_futures=True), daemon=True).start()
        # Its answer comes after that of the shutdown before it, on the same connection.
        until("it was asked", lambda: executor._shut and executor.client.status())
        go.touch()
        assert running.result() == "done"


def test_what_is_said_cannot_be_read_on_the_way(guarded, alice):
    secret = b"nobody else is to read this" * 1000
    with Relay(guarded.address) as relay:
        with argon.Client(relay.address, key=alice) as client:
            assert client.call(remote_tasks.same, secret) == secret
        assert len(relay.seen) > len(secret)
        assert secret[:27] not in relay.seen
        assert b"remote_tasks" not in relay.seen


class Relay:
    """Stands between a client and its manager, and keeps what it sees."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.target = host, int(port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.seen = bytearray()
        self.sockets = []

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    def pass_on(self, one, other):
        try:
            while True:
                data = one.recv(65536)
                if not data:
                    other.shutdown(socket.SHUT_WR)
                    return
                self.seen += data
                other.sendall(data)
        except OSError:
            pass

    def cut(self):
        for each in self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __exit__(self, *exception):
        self.listener.close()
        self.cut()


def test_a_restart_of_the_manager_is_survived(cluster, own, alice):
    first = cluster.manager("--key", own)
    port = first.address.rpartition(":")[2]
    cluster.worker("--key", own)
    with argon.Client(first.address, key=alice) as client:
        futures = [client.submit(remote_tasks.slow_add, number, 1) for number in range(300)]
        assert futures[20].result() == 21
        cluster.kill(first)
        cluster.manager("--key", own, port=port)
        assert [future.result() for future in futures] == list(range(1, 301))


def test_keys_are_exchanged_under_load_and_nothing_is_lost(cluster, keygen, tmp_path):
    old, new = keygen(), keygen()
    old_submit, new_submit = keygen(old, "submit"), keygen(new, "submit")

    def put(name, source):
        return write(tmp_path / name, source.read_text())

    theirs = [put("manager.first", old), put("manager.second", new)]
    ours = [put("client.first", old_submit), put("client.second", new_submit)]
    options = ["--key", theirs[0], "--key", theirs[1]]
    manager = cluster.manager(*options)
    worker = cluster.worker(*options)
    with Relay(manager.address) as relay, argon.Client(relay.address, key=ours) as client:
        futures = [client.submit(remote_tasks.slow_add, number, 1) for number in range(1000)]
        assert futures[20].result() == 21
        # Both know both; then the new one is shown, and at last nobody knows the old one.
        for first, second in ((new, old), (new, new)):
            put("manager.first", first)
            put("manager.second", second)
            put("client.first", new_submit)
            for process in (manager, worker):
                process.send_signal(signal.SIGHUP)
            cluster.until_logged("keys were read again", times=2)
            relay.cut()
            done = sum(future.done() for future in futures)
            assert done < 900, "too late to prove anything"
            until("it goes on", lambda: sum(future.done() for future in futures) > done + 20)
        assert [future.result() for future in futures] == list(range(1, 1001))
        # The old key does not open it any more.
        write(tmp_path / "client.first", old_submit.read_text())
        told = blocking_problem(relay.address, key=ours)
        assert "the manager refused our key" in told


def test_a_half_written_key_leaves_the_one_before(guarded, alice, tmp_path, caplog):
    mine = write(tmp_path / "mine.key", alice.read_text())
    with Relay(guarded.address) as relay, argon.Client(relay.address, key=mine) as client:
        assert client.call(remote_tasks.add, 4, 7) == 11
        write(mine, alice.read_text()[:500])
        relay.cut()
        assert client.call(remote_tasks.add, 4, 8) == 12
        assert "mine.key has" in caplog.text and "the keys stay as they were" in caplog.text


# Who is not let in, and is told why.


@either
def test_a_key_of_another_authority(guarded, keygen, problem):
    told = problem(guarded.address, key=keygen())
    assert "we refused the manager: its key comes from another authority than ours" in told


@either
def test_a_key_that_the_manager_does_not_trust(guarded, alice, keygen, problem):
    told = problem(guarded.address, key=[keygen(), alice])
    assert "the manager refused our key: it comes from an authority that the manager" in told


@either
def test_no_key(guarded, problem):
    assert "it wants a key, and this client has none" in problem(guarded.address)


@either
def test_a_manager_without_a_key(address, alice, problem):
    told = problem(address, key=alice)
    assert "it was started without" in told


@either
def test_something_that_does_not_speak_tls(alice, problem):
    with Impostor(lambda sock: sock.sendall(b"220 mail.example ESMTP\r\n")) as impostor:
        told = problem(impostor.address, key=alice)
    assert "the manager does not speak TLS: it was started without a key" in told


@either
def test_a_key_without_the_role_submit(guarded, own, keygen, problem):
    told = problem(guarded.address, key=keygen(own, "observe"))
    assert "key does not have the role `submit`" in told


@either
def test_a_lesser_key_is_no_manager(alice, problem):
    with Impostor(tls_with(alice)) as impostor:
        told = problem(impostor.address, key=alice)
    assert "its key does not have the role `manage`, so it is not the manager" in told


@either
def test_a_server_by_another_name_is_no_manager(own, alice, tmp_path, problem):
    with Impostor(tls_with(server_named("other.argon", own, tmp_path))) as impostor:
        told = problem(impostor.address, key=alice)
    assert "its key does not have the role `manage`, so it is not the manager" in told
    named = server_named("manager.argon", own, tmp_path)
    with Impostor(tls_with(named, b"no")) as impostor:
        told = problem(impostor.address, key=alice)
    assert "what answers is no Argon manager" in told, "but by this name it would be"


def server_named(name, authority, directory):
    """The key of a server that this authority vouches for, as no `argon keygen` makes it."""
    parts = blocks(authority)
    write(directory / "authority.pem", "".join(parts[2:]))
    (directory / "extensions").write_text(
        f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n"
    )

    def openssl(command):
        run = ["openssl", *command.split()]
        subprocess.run(run, cwd=directory, check=True, stderr=subprocess.DEVNULL)

    openssl("req -new -newkey ed25519 -nodes -keyout its.pem -subj /CN=it -out request")
    openssl(
        "x509 -req -in request -CA authority.pem -CAkey authority.pem -set_serial 7 -days 2 "
        "-extfile extensions -out certificate.pem"
    )
    text = (directory / "certificate.pem").read_text() + (directory / "its.pem").read_text()
    return write(directory / "server.pem", text)


@either
def test_a_server_that_is_no_manager_of_argon(own, alice, problem):
    with Impostor(tls_with(own, b"HTTP")) as impostor:
        told = problem(impostor.address, key=alice)
    assert "what answers is no Argon manager, although it has a manager's key" in told


@either
def test_a_manager_that_closes_when_it_has_seen_the_key(own, alice, problem):
    with Impostor(tls_with(own)) as impostor:
        told = problem(impostor.address, key=alice)
    assert "closed the connection when it had seen our key" in told


@either
def test_the_managers_own_certificate_is_no_authority(guarded, own, alice, tmp_path, problem):
    leaf, key, _ = blocks(alice)
    mixed = write(tmp_path / "mixed.key", leaf + key + blocks(own)[0])
    told = problem(guarded.address, key=mixed)
    assert "we refused the manager" in told


@either
def test_nothing_but_the_authority_is_trusted(keygen, own, tmp_path, problem):
    # An authority's own certificate as what is shown: whoever has its key is not trusted for that.
    other = keygen()
    authority, authority_key = blocks(other)[2:]
    mixed = write(tmp_path / "mixed.key", authority + authority_key + blocks(own)[2])
    with Impostor(tls_with(other)) as impostor:
        told = problem(impostor.address, key=mixed)
    assert "we refused the manager: its key comes from another authority" in told


@either
def test_a_manager_that_says_nothing(alice, problem):
    with Impostor(lambda sock: sock.recv(1)) as impostor:
        impostor.hold = True
        told = problem(impostor.address, key=alice)
    assert "no answer in time" in told or "no connection was tried yet" in told


class Impostor:
    """Stands where a manager should, and treats all who come alike."""

    def __init__(self, treat):
        self.treat = treat
        self.hold = False
        self.held = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            try:
                self.treat(sock)
                if self.hold:
                    self.held.append(sock)
                    continue
                # What the client had to say is read, so that closing resets nothing.
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:
                pass
            sock.close()

    def __exit__(self, *exception):
        self.listener.close()
        for sock in self.held:
            sock.close()


def tls_with(key, says=b""):
    """Treats whoever comes as a server that has this key, and takes any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)

    def treat(sock):
        with context.wrap_socket(sock.dup(), server_side=True) as wrapped:
            wrapped.sendall(says)

    return treat


# Files that are no keys: the client is not made.


def refused(make=argon.Client, **options):
    with pytest.raises(argon.KeyFileError) as told:
        make("127.0.0.1:1", **options)
    return str(told.value)


@pytest.mark.parametrize("make", [argon.Client, argon.aio.Client, argon.Executor])
def test_a_file_that_others_can_read(alice, tmp_path, make):
    for mode in (0o640, 0o604, 0o620, 0o777):
        bare = write(tmp_path / "bare.key", alice.read_text())
        bare.chmod(mode)
        told = refused(make, key=bare)
        assert f"key file {bare} can be read by other users (mode {mode:03o})" in told
        assert f"`chmod 600 {bare}`" in told


def test_a_file_with_a_part_missing(alice, own, tmp_path):
    leaf, key, authority = blocks(alice)
    for text, missing in (
        ("", "no certificate"),
        ("hello\n", "no certificate"),
        (key, "no certificate"),
        (leaf, "no private key"),
        (leaf + authority, "no private key"),
        (leaf + key, "no authority's certificate"),
    ):
        path = write(tmp_path / "part.key", text)
        assert f"key file {path} has {missing}; " in refused(key=path)


def test_a_file_with_a_broken_part(alice, own, keygen, tmp_path):
    leaf, key, authority = blocks(alice)
    broken = "-----BEGIN {0}-----\nMIIBbroken\n-----END {0}-----\n"
    for text, part in (
        (leaf + key + authority[:200], "block of PEM"),
        (leaf + key + authority.replace("CERTIFICATE", "X509 CRL"), "block of another kind"),
        (leaf + key + authority + authority, "block too many"),
        (broken.format("CERTIFICATE") + key + authority, "certificate"),
        (leaf + broken.format("PRIVATE KEY") + authority, "private key"),
        (leaf + blocks(own)[1] + authority, "private key"),
        (leaf + key + broken.format("CERTIFICATE"), "authority's certificate"),
    ):
        path = write(tmp_path / "broken.key", text)
        assert f"key file {path} has a {part} that cannot be used" in refused(key=path)
        # A key that is only trusted is held to the same.
        assert f"key file {path} has a {part} that cannot be used" in refused(key=[alice, path])


def test_a_file_that_is_not_there_and_one_that_is_too_long(alice, tmp_path, monkeypatch):
    assert "nowhere.key cannot be read (No such file" in refused(key=str(tmp_path / "nowhere.key"))
    assert "cannot be read (Is a directory)" in refused(key=tmp_path)
    long = write(tmp_path / "long.key", alice.read_text() + "#" * 65536)
    assert f"key file {long} has more than 65536 bytes, so it is no key" in refused(key=long)
    assert "at most 16 keys" in refused(key=[alice] * 17)
    monkeypatch.setenv("ARGON_KEY", str(long))
    assert "has more than 65536 bytes" in refused()


def test_a_pipe_will_do(guarded, alice):
    reader, writer = os.pipe()
    os.write(writer, alice.read_bytes())
    os.close(writer)
    with Relay(guarded.address) as relay:
        with argon.Client(relay.address, key=f"/dev/fd/{reader}") as client:
            assert client.call(remote_tasks.add, 4, 7) == 11
            relay.cut()
            assert client.call(remote_tasks.add, 4, 8) == 12
    os.close(reader)


def test_a_python_without_ssl_says_so_only_if_there_is_a_key(address, alice):
    script = (
        "import sys; sys.modules['ssl'] = None; import argon\n"
        "with argon.Client(sys.argv[1]) as client: print(client.call('python:operator:add', 4, 7))\n"
        "argon.Client(sys.argv[1], key=sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, address, alice],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        text=True,
    )
    assert done.stdout == "11\n"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: a key needs TLS, and this Python was built without")
    assert "libssl-dev" in last
