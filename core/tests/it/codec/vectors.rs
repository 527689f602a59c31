//! The golden vectors in docs/vectors/frames.txt: the bytes of every message, for every
//! implementation to check itself with. `UPDATE=1 cargo test -p argon-core --test it codec` rewrites
//! them; a change of an existing line is a change of the protocol.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::path::PathBuf;

use argon_core::codec;
use bytes::BytesMut;

use super::examples::{self, Example};
use super::frame;

const HEAD: &str = "\
# Golden vectors of both protocols: whole frames, the length in front included.
# docs/protocol.md and docs/pool-protocol.md explain the bytes.
#
# One block of five lines a frame, then an empty line:
#   name     the protocol (native or pool), a slash, and a name of its own
#   fields   the message as Rust prints it; for people, not for programs
#   content  what the payload holds, as a number
#   payload  the payload in hexadecimal; may be empty
#   frame    the whole frame in hexadecimal
#
# Written by core/tests/it/codec/vectors.rs.
";

fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(docs(file)).expect("the file is in the repository")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hexadecimal"))
        .collect()
}

fn write<B: bincode::Encode + Debug>(protocol: &str, all: &[Example<B>], out: &mut String) {
    for (name, message) in all {
        let _ = write!(
            out,
            "\nname {protocol}/{name}\nfields {:?}\ncontent {}\npayload {}\nframe {}\n",
            message.body,
            message.payload.content().0,
            hex(&message.payload),
            hex(&frame(message)),
        );
    }
}

#[test]
fn golden_vectors_have_not_moved() {
    let mut text = String::from(HEAD);
    write("native", &examples::native(), &mut text);
    write("pool", &examples::pool(), &mut text);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(docs("vectors/frames.txt"), &text).expect("can be written");
    }
    for (written, golden) in text.lines().zip(read("vectors/frames.txt").lines()) {
        assert_eq!(written, golden, "the wire format has changed");
    }
    assert_eq!(text.len(), read("vectors/frames.txt").len());
}

#[test]
fn golden_vectors_decode_to_what_they_say() {
    fn check<B>(protocol: &str, all: &[Example<B>], golden: &str)
    where
        B: bincode::Decode<()> + Debug + PartialEq,
    {
        for (name, message) in all {
            let start = golden
                .find(&format!("\nname {protocol}/{name}\n"))
                .expect("every example has its vector");
            let line = golden[start..]
                .lines()
                .find_map(|line| line.strip_prefix("frame "))
                .expect("with its bytes");
            let mut buffer = BytesMut::from(&unhex(line)[..]);
            let back = codec::decode::<B>(&mut buffer, 1 << 20).expect("a frame of ours");
            assert_eq!(back.as_ref(), Some(message));
            assert!(buffer.is_empty());
        }
    }
    let golden = read("vectors/frames.txt");
    check("native", &examples::native(), &golden);
    check("pool", &examples::pool(), &golden);
}

/// The tag and the variant's name of each message, as they are in code.
fn tags<B: bincode::Encode + Debug>(all: &[Example<B>]) -> BTreeSet<(u32, String)> {
    all.iter()
        .map(|(_, message)| {
            let bytes = frame(message);
            let tag = u32::from_le_bytes(bytes[5..9].try_into().expect("four bytes"));
            let debug = format!("{:?}", message.body);
            let name = debug.split([' ', '(', '{']).next().expect("a name");
            (tag, name.to_owned())
        })
        .collect()
}

/// Every message has an example, and a heading with its tag in the document.
fn documented<B: bincode::Encode + bincode::Decode<()> + Debug>(all: &[Example<B>], file: &str) {
    let tags = tags(all);
    for (at, (tag, _)) in tags.iter().enumerate() {
        assert_eq!(at, *tag as usize, "a message has no example");
    }
    let text = read(file);
    for (tag, name) in &tags {
        let heading = format!("### {tag} {name}");
        assert!(
            text.lines().any(|line| line == heading),
            "{file} has no heading \"{heading}\""
        );
    }
    let headings = text
        .lines()
        .filter(|line| line.starts_with("### ") && line.as_bytes()[4].is_ascii_digit())
        .count();
    assert_eq!(headings, tags.len(), "{file} describes what there is not");
    let golden = read("vectors/frames.txt");
    for block in text
        .split("\n\n")
        .filter_map(|block| block.strip_prefix("    hex "))
    {
        let bytes: String = block.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(
            golden.contains(&format!("frame {bytes}\n")),
            "{file} shows bytes that are no vector: {bytes}"
        );
    }
}

#[test]
fn the_documents_name_every_message_by_its_tag() {
    documented(&examples::native(), "protocol.md");
    documented(&examples::pool(), "pool-protocol.md");
}
