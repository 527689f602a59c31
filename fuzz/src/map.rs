//! What `argon map` makes of its input, its command, and its log.

#[expect(dead_code, reason = "the command uses all of it")]
#[path = "../../bin/src/map/items.rs"]
mod items;
#[expect(dead_code, reason = "the command uses all of it")]
#[path = "../../bin/src/map/joblog.rs"]
mod joblog;
#[path = "../../bin/src/map/template.rs"]
mod template;

use std::io::BufReader;
use std::time::{Duration, UNIX_EPOCH};

use self::items::{ITEM_MAX, Item, read_item};
use self::joblog::{Done, Entry, HEADER, read, write_entry};
use self::template::{Template, quoted};

fn read_items(bytes: &[u8], buffer: usize, delimiter: u8) -> Vec<Item> {
    let mut input = BufReader::with_capacity(buffer, bytes);
    std::iter::from_fn(|| read_item(&mut input, delimiter).expect("bytes can be read")).collect()
}

/// The first byte says where the delimiter is one of zero and how the bytes are read, the second
/// where an item becomes as long as one may be, about.
pub(crate) fn items(input: &[u8]) {
    let Some((&[head, at], rest)) = input.split_first_chunk() else {
        return;
    };
    let delimiter = if head & 1 == 0 { b'\n' } else { 0 };
    let mut bytes = rest.to_vec();
    if head & 6 == 6 {
        let at = usize::from(at).min(bytes.len());
        let length = ITEM_MAX - 8 + (at & 15);
        bytes.splice(at..at, std::iter::repeat_n(b'x', length));
    }
    let whole = read_items(&bytes, bytes.len().max(1), delimiter);
    let pieces = read_items(&bytes, usize::from(head >> 3) + 1, delimiter);
    assert_eq!(whole, pieces, "it depends on how the bytes come");
    let mut expected = bytes.split(|byte| *byte == delimiter);
    let mut whole = whole.iter();
    for expected in &mut expected {
        match whole.next() {
            Some(Item::Whole(item)) => {
                assert!(item.len() <= ITEM_MAX, "an item that is too long");
                assert_eq!(item, expected);
            }
            Some(Item::TooLong(start)) => {
                assert!(expected.len() > ITEM_MAX && start.len() < 100);
                assert!(expected.starts_with(start));
            }
            None => assert!(expected.is_empty(), "an item is lost"),
        }
    }
    assert!(expected.next().is_none() && whole.next().is_none());
}

pub(crate) fn items_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x00\x00a\nb c\n\nd"[..],
        b"\x01\x00a\nb\0c\0\0",
        b"\xfe\x02a\nb\n",
        b"\x0f\x07a\nb\0c",
        b"\x06\x0f\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

pub(crate) const PLACEHOLDERS: &[&[u8]] = &[
    b"{}", b"{.}", b"{/}", b"{/.}", b"{//}", b"{#}", b"{", b"}", b"/", b".", b"'", b"\\", b" ",
    b"\0", b"=",
];

/// What a POSIX shell makes of a line of plain and single-quoted text.
fn unquoted(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = line.iter();
    while let Some(&byte) = bytes.next() {
        let word = words.last_mut().expect("one to begin with");
        match byte {
            b' ' => words.push(Vec::new()),
            b'\\' => word.push(*bytes.next().expect("something behind a backslash")),
            b'\'' => loop {
                match bytes.next().expect("the end of a quotation") {
                    b'\'' => break,
                    other => word.push(*other),
                }
            },
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => word.push(byte),
            other => {
                assert!(b"_@%+:,./-=".contains(&other), "a shell acts on {other}");
                word.push(byte);
            }
        }
    }
    words
}

fn replaced(word: &[u8], item: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"{}") {
            out.extend_from_slice(item);
            rest = tail;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// Words of a command with zeros between them; the last one is the item.
pub(crate) fn template(input: &[u8]) {
    let mut words: Vec<&[u8]> = input.split(|byte| *byte == 0).collect();
    let item = words.pop().unwrap_or_default();
    let argv = Template::new(&words).expand(item, 1);
    let all = words.concat();
    let other = [&b"{."[..], b"{/", b"{#"];
    let is_simple = !other
        .iter()
        .any(|start| all.windows(2).any(|two| two == *start));
    if is_simple {
        let mut expected: Vec<Vec<u8>> = words.iter().map(|word| replaced(word, item)).collect();
        if words
            .iter()
            .all(|word| !word.windows(2).any(|two| two == b"{}"))
        {
            expected.push(item.to_vec());
        }
        assert_eq!(argv, expected);
    }
    let more = argv.len() - words.len();
    assert!(more <= 1, "an item is taken apart");
    assert!(more == 0 || argv.last().is_some_and(|last| last == item));
    assert_eq!(
        unquoted(&quoted(&argv)),
        argv,
        "a shell runs something else"
    );
}

pub(crate) fn template_seeds() -> Vec<Vec<u8>> {
    [
        &b"wc\0-l\0a b"[..],
        b"convert\0{}\0{.}.png\0{/}\0{//}\0{/.}\0n{#}\0d/e.f/g.h.jpg",
        b"sh\0-c\0echo '{}'\0it's",
        b"{}{}\0a{}b\0/",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

pub(crate) const LOG_WORDS: &[&[u8]] = &[
    b"\t",
    b"\n",
    b"\\",
    b"\\x",
    b"\\t",
    b"\\n",
    b"\\\\",
    b"\\x00",
    b"\t0\t-\t1\tcompleted\n",
    b"completed",
    HEADER,
];

fn read_log(bytes: &[u8], buffer: usize) -> Result<(Done, u64), String> {
    read(BufReader::with_capacity(buffer, bytes)).map_err(|error| error.to_string())
}

/// A log of any bytes; then a true one whose items, and where it was cut, the same bytes choose.
pub(crate) fn joblog(input: &[u8]) {
    let Some((&head, rest)) = input.split_first() else {
        return;
    };
    let buffer = usize::from(head) + 1;
    let bytes = if head & 1 == 0 {
        rest.to_vec()
    } else {
        [HEADER, rest].concat()
    };
    let whole = read_log(&bytes, bytes.len().max(1));
    assert_eq!(
        whole,
        read_log(&bytes, buffer),
        "it depends on how the bytes come"
    );
    if let Ok((done, length)) = whole {
        let kept = &bytes[..length as usize];
        assert!(kept.is_empty() || kept.ends_with(b"\n"));
        assert!(
            !bytes[kept.len()..].contains(&b'\n'),
            "a whole line is cut off"
        );
        assert_eq!(
            read_log(kept, buffer),
            Ok((done, length)),
            "cut, it says something else"
        );
    }

    let mut log = HEADER.to_vec();
    let mut ends = Vec::new();
    let mut taken = Vec::new();
    for (number, item) in (1..).zip(rest.split(|byte| *byte == b'|')) {
        let completed = item.len() % 3 != 0;
        write_entry(
            &mut log,
            &Entry {
                seq: number,
                item,
                worker: (number % 2 == 0).then_some("w\t1"),
                start: UNIX_EPOCH + Duration::from_millis(1_500),
                runtime: completed.then_some(Duration::from_millis(20)),
                exit: Some(i32::from(!completed)),
                signal: None,
                attempts: 1,
                outcome: if completed { "completed" } else { "failed" },
            },
        );
        ends.push(log.len());
        taken.push((item, completed));
    }
    let lines = log.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, taken.len() + 1, "an entry is not one line");
    let cut = log.len() - (usize::from(head) * 3).min(log.len());
    let (mut done, _) = read_log(&log[..cut], buffer).expect("a log that was cut is one");
    for ((item, completed), end) in taken.iter().zip(ends) {
        if *completed && end <= cut {
            assert!(done.take(item), "an item that was done is done again");
        }
    }
    assert_eq!(
        done,
        Done::default(),
        "an item that was not done is left out"
    );
}

pub(crate) fn joblog_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x00seq\titem\tworker\tstart\truntime\texit\tsignal\tattempts\toutcome\n1\ta\tw\t1.500\t0.020000\t0\t-\t1\tcompleted\n"[..],
        b"\x011\ta\\tb\t-\t1.500\t0.020000\t0\t-\t1\tcompleted\n2\t\\x00\t-\t1.500\t-\t1\t-\t1\tfailed\n3\ttorn",
        b"\x05a|b\\|c\td|e\nf||g",
    ]
    .map(<[u8]>::to_vec)
    .into()
}
