"""The codec against the golden vectors, byte for byte, and against bytes that make no sense."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from argon import _wire as wire

VECTORS = Path(__file__).parents[3] / "docs" / "vectors" / "frames.txt"


def blocks() -> List[Dict[str, str]]:
    text = VECTORS.read_text("utf-8")
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            found.append({line.split(" ", 1)[0]: (line.split(" ", 1) + [""])[1] for line in lines})
    return found


BLOCKS = blocks()


def flat(value: Any) -> Iterator[Any]:
    """The numbers, texts and bools of a message, in order."""
    if isinstance(value, (IntEnum, type(None))):
        return
    if isinstance(value, bytes):
        yield from value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from flat(each)
    else:
        yield value


def unescape(text: str) -> str:
    return re.sub(
        r'\\(u\{([0-9a-f]+)\}|.)',
        lambda m: chr(int(m[2], 16)) if m[2] else {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]),
        text,
    )


def flat_rust(text: str) -> Iterator[Any]:
    """The same of a message as Rust prints it."""
    pattern = r'"((?:[^"\\]|\\.)*)"|\b(true|false)\b|(?<![\w])(-?\d+)\b'
    for match in re.finditer(pattern, text):
        if match[3] is not None:
            yield int(match[3])
        elif match[2] is not None:
            yield match[2] == "true"
        else:
            yield unescape(match[1])


def test_there_are_vectors_of_every_message():
    seen = set()
    for block in BLOCKS:
        table = wire.NATIVE if block["name"].startswith("native/") else wire.POOL
        data = bytes.fromhex(block["frame"])
        seen.add(type(wire.decode(table, data, 0, len(data))[0]))
    everything = {make for table in (wire.NATIVE, wire.POOL) for make, _ in table.values()}
    assert seen == everything


@pytest.mark.parametrize("block", BLOCKS, ids=[block["name"] for block in BLOCKS])
def test_vector(block):
    table = wire.NATIVE if block["name"].startswith("native/") else wire.POOL
    data = bytes.fromhex(block["frame"])
    message, content, payload = wire.decode(table, data, 0, len(data))
    assert content == int(block["content"])
    assert payload == bytes.fromhex(block["payload"])
    assert wire.encode(message, content, payload) == data
    # What was read is what was written, and not only the same bytes again.
    assert type(message).__name__ == re.match(r"\w+", block["fields"])[0]
    assert list(flat(message)) == list(flat_rust(block["fields"]))


def test_the_variants_that_hold_no_number_are_the_right_ones():
    by_name = {block["name"]: block for block in BLOCKS}

    def read(name):
        data = bytes.fromhex(by_name[name]["frame"])
        return wire.decode(wire.NATIVE, data, 0, len(data))[0]

    assert read("native/hello_client").role.kind is wire.Role.CLIENT
    assert read("native/hello_worker_resuming").role == (wire.Role.WORKER, 8)
    assert read("native/hello_observer").role.kind is wire.Role.OBSERVER
    for index, reason in enumerate(wire.RefuseReason):
        assert read(f"native/refuse_{index}").reason.kind is reason
    for index, reason in enumerate(wire.Reason):
        printed = re.search(r"reason: (\w+)", by_name[f"native/reject_{index}"]["fields"])[1]
        assert read(f"native/reject_{index}").reason is reason
        assert printed.lower() == reason.name.replace("_", "").lower()
    lost = read("native/outcome_3").end.value
    assert [record.end.kind for record in lost] == list(wire.Loss)
    kinds = [read(f"native/finished_{index}").end.value.kind for index in range(1, 5)]
    assert [kind.kind for kind in kinds] == list(wire.Kind)[1:5]


def test_every_cut_is_an_error_and_never_a_message():
    for block in BLOCKS:
        table = wire.NATIVE if block["name"].startswith("native/") else wire.POOL
        data = bytes.fromhex(block["frame"])
        body = len(data) - len(bytes.fromhex(block["payload"]))
        for stop in range(body):
            with pytest.raises(wire.WireError):
                wire.decode(table, data, 0, stop)


@pytest.mark.parametrize(
    "frame",
    [
        "09000000 00 ff000000 00000000",  # no such tag
        "22000000 00 0c000000 0700000000000000 63000000 0000000000000000 00 0000000000000000",
        "22000000 00 0c000000 0700000000000000 00000000 0000000000000000 02 0000000000000000",
        "0f000000 00 19000000 0100000000000000 01 ff",  # a name that is not UTF-8
        "0f000000 00 19000000 0100000000000000 01 0a",  # a name with a control character
        "0e000000 00 19000000 0100000000000000 00",  # a name of no bytes
        "0d000000 00 0d000000 ffffffffffffff7f",  # a list longer than its frame
    ],
)
def test_nonsense(frame):
    data = bytes.fromhex(frame.replace(" ", ""))
    with pytest.raises(wire.WireError):
        wire.decode(wire.NATIVE, data, 0, len(data))


def test_random_bytes_are_errors_or_messages():
    import random

    rng = random.Random(7)
    frames = [bytes.fromhex(block["frame"]) for block in BLOCKS]
    for _ in range(20_000):
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(5, len(data))] = rng.randrange(256)
        for table in (wire.NATIVE, wire.POOL):
            try:
                wire.decode(table, bytes(data), 0, len(data))
            except wire.WireError:
                pass


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\x7f"])
def test_names_that_are_none(name):
    with pytest.raises(ValueError):
        wire.name_bytes(name)
    assert wire.name_bytes("é" * 127)


@pytest.mark.parametrize("make", [wire.Unknown, wire.Resume, lambda seqs: wire.AckOutcomes(0, seqs)])
def test_more_ids_than_a_message_may_have_are_refused(make):
    most = wire.encode(make(list(range(wire.IDS_MAX))))
    assert len(wire.decode(wire.NATIVE, most, 0, len(most))[0][-1]) == wire.IDS_MAX
    more = wire.encode(make(list(range(wire.IDS_MAX + 1))))
    with pytest.raises(wire.WireError, match="a list of 4097"):
        wire.decode(wire.NATIVE, more, 0, len(more))


def test_the_limits_in_the_protocols_description_are_ours() -> None:
    from argon import _link, _session, _status

    page = VECTORS.parents[1] / "protocol.md"
    rows = re.findall(r"^\| ([^|\n]+) \| (\d+)( bytes| ms)? \|", page.read_text("utf-8"), re.MULTILINE)
    stated = {limit: int(value) for limit, value, _ in rows}
    millisecond = _link.MILLISECOND
    ours = {
        "frame of the handshake": wire.HANDSHAKE_FRAME_MAX,
        "header": wire.HEADER_MAX,
        "payload, whatever `Welcome` says": _link.PAYLOAD_MAX_CEILING,
        "ids in one message": wire.IDS_MAX,
        "text of an error": wire.ERROR_TEXT_MAX,
        "shortest lease": _link.LEASE_MIN // millisecond,
        "longest lease": _link.LEASE_MAX // millisecond,
        "longest advice in `Reject`": _session.HINT_MAX // millisecond,
        "pages of status": _status.PAGES_MAX,
        "major version": wire.VERSION.major,
    }
    assert ours == {limit: stated.get(limit) for limit in ours}
