//! Both sides of the handshake, each with one that says anything at all, and with a true one on
//! whose bytes somebody sits.

use std::sync::LazyLock;

use argon::Keys;
use argon::testing;

use crate::stream::{Change, Edit, Met, Script, at_once, meet};

/// What handshakes of TLS are made of.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x16\x03\x03",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x17\x03\x03",
    b"\x01\x00",
    b"\x02\x00",
    b"\x00\x0d",
    b"\x00\x2b\x00\x03\x02\x03\x04",
    b"\x00\x33",
    b"\x00\x29",
    b"\x13\x01",
    b"ARGN",
];

/// Most changes of what passes.
const EDITS_MAX: usize = 8;

/// A manager's keys and those of peers: of its cluster, a lesser one of it, and of another one.
struct Material {
    ours: Keys,
    lesser: Keys,
    theirs: Keys,
}

static MATERIAL: LazyLock<Material> = LazyLock::new(|| {
    let keys = |text: &str| Keys::from_texts([text]).expect("a key of ours");
    Material {
        ours: keys(include_str!("../material/ours.pem")),
        lesser: keys(include_str!("../material/lesser.pem")),
        theirs: keys(include_str!("../material/theirs.pem")),
    }
});

/// What an input says: who shows which key, how bytes are cut, and what the rest of it is.
struct Plan<'a> {
    /// All bytes are the peer's, or changes to a true peer's.
    raw: bool,
    keys: u8,
    /// Which side's bytes are changed.
    side: bool,
    piece: usize,
    rest: &'a [u8],
}

impl<'a> Plan<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let (&[head, piece], rest) = input.split_first_chunk()?;
        Some(Self {
            raw: head & 1 == 0,
            keys: head >> 1 & 3,
            side: head & 8 != 0,
            // As often as not all that there is.
            piece: if piece & 1 == 0 {
                usize::MAX
            } else {
                usize::from(piece >> 1) + 1
            },
            rest,
        })
    }

    fn edits(&self) -> Vec<Edit> {
        let edits = self.rest.chunks_exact(4).take(EDITS_MAX);
        let edits = edits.map(|edit| Edit {
            at: usize::from(u16::from_le_bytes([edit[0], edit[1]])) % 2_048,
            change: match edit[2] % 8 {
                0..=2 => Change::Xor(edit[3]),
                3 => Change::Insert(edit[3]),
                4 | 5 => Change::Drop(edit[3]),
                6 => Change::Repeat(edit[3]),
                _ => Change::End,
            },
        });
        edits.collect()
    }

    fn peer(&self) -> &'static Keys {
        match self.keys {
            0 | 1 => &MATERIAL.ours,
            2 => &MATERIAL.lesser,
            _ => &MATERIAL.theirs,
        }
    }
}

/// A peer with `keys` at the door of a manager with ours, with changes to what one of them says.
fn through(plan: &Plan<'_>, peer: &'static Keys, manager: &'static Keys) {
    let edits = plan.edits();
    let is_true = edits.is_empty();
    let edits = if plan.side {
        [edits, Vec::new()]
    } else {
        [Vec::new(), edits]
    };
    let met = meet(
        |end| testing::connect(peer, end),
        |end| testing::accept(manager, end),
        edits,
        plan.piece,
    );
    let is_family = std::ptr::eq(peer, &MATERIAL.theirs) == std::ptr::eq(manager, &MATERIAL.theirs);
    match &met.right {
        Ok(access) => {
            assert!(is_family, "let in with a key of another cluster");
            assert_eq!(
                *access,
                peer.access(),
                "it may do what its key does not say"
            );
        }
        Err((_, reason)) => {
            assert!(!reason.is_empty(), "kept out without a reason");
            assert!(!(is_true && is_family), "{reason}");
        }
    }
    match &met.left {
        Ok(()) => assert!(
            is_family && met.right.is_ok(),
            "a manager that let nobody in"
        ),
        Err(error) => assert!(!(is_true && is_family), "{error}"),
    }
}

/// A manager's side.
pub(crate) fn accept(input: &[u8]) {
    let Some(plan) = Plan::read(input) else {
        return;
    };
    if !plan.raw {
        return through(&plan, plan.peer(), &MATERIAL.ours);
    }
    let accepted = at_once(testing::accept(
        &MATERIAL.ours,
        Script::new(plan.rest, plan.piece),
    ));
    let Err((was_costly, reason)) = accepted else {
        panic!("it let somebody in who has no key");
    };
    assert!(!reason.is_empty(), "kept out without a reason");
    let is_tls = plan.rest.starts_with(b"\x16\x03");
    assert_eq!(
        was_costly, is_tls,
        "{reason}: only TLS may cost a handshake"
    );
}

/// The other side.
pub(crate) fn connect(input: &[u8]) {
    let Some(plan) = Plan::read(input) else {
        return;
    };
    if !plan.raw {
        // Only managers' keys can be shown by managers.
        let manager = if plan.keys == 3 {
            &MATERIAL.theirs
        } else {
            &MATERIAL.ours
        };
        return through(&plan, &MATERIAL.lesser, manager);
    }
    let connected = at_once(testing::connect(
        plan.peer(),
        Script::new(plan.rest, plan.piece),
    ));
    let error = connected.expect_err("it believed somebody who has no key");
    assert!(!error.to_string().is_empty(), "refused without a reason");
}

/// What a true peer and a true manager say to each other.
fn said() -> (Vec<u8>, Vec<u8>) {
    let Met {
        left,
        right,
        left_said,
        right_said,
    } = meet(
        |end| testing::connect(&MATERIAL.ours, end),
        |end| testing::accept(&MATERIAL.ours, end),
        [Vec::new(), Vec::new()],
        usize::MAX,
    );
    assert!(left.is_ok() && right.is_ok(), "true keys open");
    (left_said, right_said)
}

/// Changes to a true peer's bytes, and none.
fn changed() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for head in [1, 1 | 8, 5, 5 | 8, 7, 7 | 8] {
        seeds.push(vec![head, 0]);
        seeds.push(vec![head, 1]);
        for at in [0, 5, 40, 200, 600, 1_000] {
            let [low, high] = u16::to_le_bytes(at);
            seeds.push(vec![head, 41, low, high, (at / 3) as u8, 1]);
        }
    }
    seeds
}

pub(crate) fn accept_seeds() -> Vec<Vec<u8>> {
    let (peer, _) = said();
    let plain = b"\x28\x00\x00\x00\x00\x00\x00\x00\x00ARGN\x01\x00\x00\x00";
    let mut seeds = changed();
    seeds.push([&[0, 0][..], &peer].concat());
    seeds.push([&[0, 9][..], &peer].concat());
    seeds.push([&[0, 0][..], plain].concat());
    seeds.push([&[0, 3][..], b"GET / HTTP/1.1\r\n\r\n"].concat());
    seeds
}

pub(crate) fn connect_seeds() -> Vec<Vec<u8>> {
    let (_, manager) = said();
    let mut seeds = changed();
    seeds.push([&[0, 0][..], &manager].concat());
    seeds.push([&[4, 9][..], &manager].concat());
    seeds.push([&[0, 0][..], b"HTTP/1.1 400 Bad Request\r\n\r\n"].concat());
    seeds.push(b"\x00\x00\x15\x03\x03\x00\x02\x02\x28".to_vec());
    seeds
}
