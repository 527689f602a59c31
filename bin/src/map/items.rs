//! The items of `map`: from arguments, or from standard input as they come.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::thread;

use tokio::sync::mpsc;

/// Longest item. Linux refuses longer arguments, so nothing could run with it.
pub(crate) const ITEM_MAX: usize = 128 * 1024 - 1;
/// Items read ahead of their use.
const AHEAD: usize = 1_024;

/// Bytes that are kept of an item that is too long.
const START: usize = 40;

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Whole(Vec<u8>),
    /// Longer than [`ITEM_MAX`]: its start.
    TooLong(Vec<u8>),
}

/// What is wrong with an item that is too long.
pub(crate) fn too_long() -> String {
    format!("longer than {ITEM_MAX} bytes, more than an argument can be")
}

/// Where items come from.
#[derive(Debug)]
pub(crate) enum Items {
    Given(VecDeque<Vec<u8>>),
    Read(mpsc::Receiver<io::Result<Item>>),
}

impl Items {
    /// Items from the command line.
    pub(crate) fn given(items: impl IntoIterator<Item = OsString>) -> Self {
        Self::Given(items.into_iter().map(OsString::into_vec).collect())
    }

    /// Items from standard input, each ended by `delimiter`. A thread reads them, and waits when
    /// it is [`AHEAD`] of their use, so that any number of items takes little memory. It may sit
    /// in a read when the command ends, and ends with it.
    pub(crate) fn from_stdin(delimiter: u8) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(item) = read_item(&mut input, delimiter).transpose() {
                let last = item.is_err();
                if sender.blocking_send(item).is_err() || last {
                    return;
                }
            }
        });
        Self::Read(receiver)
    }

    /// The next item; `None` after the last. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Item>> {
        match self {
            Self::Given(items) => Ok(items.pop_front().map(Item::Whole)),
            Self::Read(receiver) => receiver.recv().await.transpose(),
        }
    }

    /// How many more are known to come.
    pub(crate) fn known(&self) -> usize {
        match self {
            Self::Given(items) => items.len(),
            Self::Read(receiver) => receiver.len(),
        }
    }

    /// Whether none but the known will come.
    pub(crate) fn all_known(&self) -> bool {
        match self {
            Self::Given(_) => true,
            Self::Read(receiver) => receiver.is_closed(),
        }
    }
}

/// Reads to the delimiter or the end. What follows the last delimiter is an item unless it is
/// empty.
pub(crate) fn read_item(input: &mut impl BufRead, delimiter: u8) -> io::Result<Option<Item>> {
    let mut item = Vec::new();
    let limit = ITEM_MAX as u64 + 1;
    if input
        .by_ref()
        .take(limit)
        .read_until(delimiter, &mut item)?
        == 0
    {
        return Ok(None);
    }
    if item.last() == Some(&delimiter) {
        item.pop();
    } else if item.len() > ITEM_MAX {
        item.truncate(START);
        item.shrink_to_fit();
        input.skip_until(delimiter)?;
        return Ok(Some(Item::TooLong(item)));
    }
    Ok(Some(Item::Whole(item)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read_all(mut input: &[u8], delimiter: u8) -> Vec<Vec<u8>> {
        let whole = |item| match item {
            Item::Whole(item) => item,
            Item::TooLong(start) => panic!("{start:?} is not so long"),
        };
        std::iter::from_fn(|| read_item(&mut input, delimiter).unwrap())
            .map(whole)
            .collect()
    }

    #[test]
    fn lines_need_no_last_newline_and_may_be_empty() {
        assert_eq!(read_all(b"a\nb c\n", b'\n'), [&b"a"[..], b"b c"]);
        assert_eq!(read_all(b"a\n\nb", b'\n'), [&b"a"[..], b"", b"b"]);
        assert_eq!(read_all(b"", b'\n'), Vec::<Vec<u8>>::new());
        assert_eq!(read_all(b"a\nb\0c", 0), [&b"a\nb"[..], b"c"]);
    }

    #[test]
    fn an_item_too_long_for_an_argument_is_known_by_its_start() {
        let mut longest = vec![b'x'; ITEM_MAX];
        longest.push(b'\n');
        assert_eq!(read_all(&longest, b'\n')[0].len(), ITEM_MAX);
        for more in [1, 2, 3 * ITEM_MAX] {
            let mut longer = vec![b'x'; ITEM_MAX + more];
            longer.extend(b"\nb\n");
            let mut input = &longer[..];
            let mut next = || read_item(&mut input, b'\n').unwrap();
            assert_eq!(next(), Some(Item::TooLong(vec![b'x'; START])));
            assert_eq!(next(), Some(Item::Whole(b"b".to_vec())));
            assert_eq!(next(), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_ended_by_delimiters_is_read_back(
            items in vec(vec(any::<u8>().prop_filter("delimiter", |byte| *byte != 0), 0..5), 0..10),
        ) {
            let mut input = Vec::new();
            for item in &items {
                input.extend_from_slice(item);
                input.push(0);
            }
            prop_assert_eq!(read_all(&input, 0), items);
        }
    }
}
