//! The command of `map`, with placeholders for the item.

/// One stretch of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// `{}`
    Item,
    /// `{.}`: without the extension.
    Stem,
    /// `{/}`: without the directory.
    Base,
    /// `{/.}`: without directory and extension.
    BaseStem,
    /// `{//}`: the directory.
    Dir,
    /// `{#}`: the item's number, from 1.
    Number,
}

const PLACEHOLDERS: [(&[u8], Piece); 6] = [
    (b"{}", Piece::Item),
    (b"{.}", Piece::Stem),
    (b"{/}", Piece::Base),
    (b"{/.}", Piece::BaseStem),
    (b"{//}", Piece::Dir),
    (b"{#}", Piece::Number),
];

/// A command with placeholders. Items become parts of arguments as they are: there is no shell
/// that could take them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<Vec<Piece>>,
}

impl Template {
    /// Finds the placeholders; if there is none, the item comes last.
    pub(crate) fn new<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Self {
        let mut words: Vec<Vec<Piece>> =
            words.into_iter().map(|word| split(word.as_ref())).collect();
        let text = |piece: &Piece| matches!(piece, Piece::Text(_));
        if words.iter().flatten().all(text) {
            words.push(vec![Piece::Item]);
        }
        Self { words }
    }

    /// The command for an item; numbers are from 1.
    pub(crate) fn expand(&self, item: &[u8], number: u64) -> Vec<Vec<u8>> {
        let expand = |pieces: &Vec<Piece>| {
            let mut word = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => word.extend_from_slice(text),
                    Piece::Item => word.extend_from_slice(item),
                    Piece::Stem => word.extend_from_slice(stem(item)),
                    Piece::Base => word.extend_from_slice(base(item)),
                    Piece::BaseStem => word.extend_from_slice(stem(base(item))),
                    Piece::Dir => word.extend_from_slice(dir(item)),
                    Piece::Number => word.extend_from_slice(number.to_string().as_bytes()),
                }
            }
            word
        };
        self.words.iter().map(expand).collect()
    }
}

fn split(word: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let found = PLACEHOLDERS
            .iter()
            .find_map(|(name, piece)| Some((rest.strip_prefix(*name)?, piece)));
        if let Some((tail, piece)) = found {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece.clone());
            rest = tail;
        } else {
            text.push(first);
            rest = tail;
        }
    }
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

/// Everything after the last slash.
fn base(item: &[u8]) -> &[u8] {
    let slash = item.iter().rposition(|byte| *byte == b'/');
    slash.map_or(item, |slash| &item[slash + 1..])
}

/// Everything before the last slash; `.` if there is none, `/` at the root.
fn dir(item: &[u8]) -> &[u8] {
    match item.iter().rposition(|byte| *byte == b'/') {
        None => b".",
        Some(0) => b"/",
        Some(slash) => &item[..slash],
    }
}

/// Everything before the last dot of the last part. A dot at the start of a name hides a file and
/// starts no extension.
fn stem(item: &[u8]) -> &[u8] {
    let start = item.len() - base(item).len();
    match item[start..].iter().rposition(|byte| *byte == b'.') {
        None | Some(0) => item,
        Some(dot) => &item[..start + dot],
    }
}

/// A command as a line for a POSIX shell that runs exactly it.
pub(crate) fn quoted(argv: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, word) in argv.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        // In the first word a `=` would make an assignment.
        let plain = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || b"_@%+:,./-".contains(byte)
                || (*byte == b'=' && index > 0)
        };
        if !word.is_empty() && word.iter().all(plain) {
            line.extend_from_slice(word);
            continue;
        }
        line.push(b'\'');
        for &byte in word {
            if byte == b'\'' {
                line.extend_from_slice(b"'\\''");
            } else {
                line.push(byte);
            }
        }
        line.push(b'\'');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn expand(words: &[&str], item: &str) -> Vec<String> {
        let argv = Template::new(words).expand(item.as_bytes(), 7);
        argv.into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn placeholders_stand_anywhere_in_any_argument() {
        assert_eq!(expand(&["a{}b", "{}{}"], "x"), ["axb", "xx"]);
        let words = ["convert", "{}", "{.}.png", "{/}", "{//}", "{/.}", "n{#}"];
        assert_eq!(
            expand(&words, "d/e.f/g.h.jpg"),
            [
                "convert",
                "d/e.f/g.h.jpg",
                "d/e.f/g.h.png",
                "g.h.jpg",
                "d/e.f",
                "g.h",
                "n7"
            ]
        );
    }

    #[test]
    fn without_a_placeholder_the_item_comes_last() {
        assert_eq!(expand(&["wc", "-l"], "a b"), ["wc", "-l", "a b"]);
        assert_eq!(expand(&["echo", "{#}"], "x"), ["echo", "7"]);
        assert_eq!(
            expand(&["echo", "{x}", "{", ""], "x"),
            ["echo", "{x}", "{", "", "x"]
        );
    }

    #[test]
    fn names_without_directory_or_extension() {
        assert_eq!(
            expand(&["{//}", "{.}", "{/}"], "name"),
            [".", "name", "name"]
        );
        assert_eq!(expand(&["{//}", "{.}"], "/.bashrc"), ["/", "/.bashrc"]);
        assert_eq!(expand(&["{.}", "{/}"], "a.d/b"), ["a.d/b", "b"]);
        assert_eq!(expand(&["{}", "{/}", "{//}"], ""), ["", "", "."]);
    }

    #[test]
    fn a_shell_reads_the_quoted_words_back() {
        let words: Vec<Vec<u8>> = ["printf", "%s|", "", "a'b", "$HOME", "x\ny", "a=b", "*", "é"]
            .map(Vec::from)
            .into();
        let line = String::from_utf8(quoted(&words)).unwrap();
        let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
        let expected = "|a'b|$HOME|x\ny|a=b|*|é|";
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    /// What a POSIX shell makes of a line of plain and single-quoted text.
    fn unquote(line: &[u8]) -> Vec<Vec<u8>> {
        let mut words = vec![Vec::new()];
        let mut bytes = line.iter();
        while let Some(&byte) = bytes.next() {
            let word = words.last_mut().unwrap();
            match byte {
                b' ' => words.push(Vec::new()),
                b'\\' => word.push(*bytes.next().unwrap()),
                b'\'' => word.extend(bytes.by_ref().take_while(|byte| **byte != b'\'')),
                _ => word.push(byte),
            }
        }
        words
    }

    proptest! {
        #[test]
        fn quoting_is_undone_by_a_shell(words in vec(vec(1u8.., 0..6), 1..5)) {
            prop_assert_eq!(unquote(&quoted(&words)), words);
        }

        #[test]
        fn an_item_is_never_taken_apart(word in vec(any::<u8>(), 0..12), item in vec(any::<u8>(), 0..8)) {
            let argv = Template::new([b"cmd".to_vec(), word]).expand(&item, 1);
            prop_assert!(argv.len() == 2 || (argv.len() == 3 && argv[2] == item));
        }
    }
}
