//! Changes to a source text, and the text that has all of them at once.
//!
//! An edit replaces a range of the source by a text that decides at run time which of its
//! alternatives is meant. Ranges nest; edits are in the order in which a walk from the outside
//! to the inside meets them, so of two with the same range the earlier is the outer one.

use std::collections::BTreeSet;
use std::ops::Range;

/// A part of a replacement.
#[derive(Clone, Debug)]
pub enum Piece {
    Text(String),
    /// A part of the source, with the edits inside of it.
    Source(Range<usize>),
}

/// One way that the code could have been wrong.
#[derive(Clone, Debug)]
pub struct Alternative {
    pub id: u32,
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
pub enum Form {
    /// `before if on(id) { alternative } else { original } after`.
    Choose {
        before: Vec<Piece>,
        alternatives: Vec<Alternative>,
        original: Vec<Piece>,
        after: Vec<Piece>,
    },
    /// The whole replacement belongs to one mutant.
    Wrap(Alternative),
}

#[derive(Clone, Debug)]
pub struct Edit {
    pub range: Range<usize>,
    pub form: Form,
}

/// Where in the mutated text the code of these mutants is.
#[derive(Clone, Debug)]
pub struct Mark {
    pub range: Range<usize>,
    pub ids: Vec<u32>,
}

/// A source with its edits.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub text: String,
    pub edits: Vec<Edit>,
}

/// A mutated text under construction.
struct Splice<'a> {
    source: &'a Source,
    without: &'a BTreeSet<u32>,
    out: String,
    marks: Vec<Mark>,
}

impl Source {
    /// The text with all mutants but some, and where each of them is.
    pub fn mutated(&self, without: &BTreeSet<u32>) -> (String, Vec<Mark>) {
        let mut splice = Splice {
            source: self,
            without,
            out: String::new(),
            marks: Vec::new(),
        };
        splice.range(0..self.text.len(), 0);
        (splice.out, splice.marks)
    }
}

impl Splice<'_> {
    /// Writes a part of the source with the edits in it, of which the first `from` are outside.
    fn range(&mut self, range: Range<usize>, from: usize) {
        let source = self.source;
        let mut at = range.start;
        // Insertions at `at` that are in already: these leave `at` where it is.
        let mut inserted = None;
        loop {
            let inside = |index: usize, edit: &Edit| {
                let again = edit.range.is_empty() && inserted.is_some_and(|last| index <= last);
                edit.range.start >= at
                    && edit.range.end <= range.end
                    && !(again && edit.range.start == at)
            };
            let found = source
                .edits
                .iter()
                .enumerate()
                .skip(from)
                .filter(|(index, edit)| inside(*index, edit))
                .min_by_key(|(index, edit)| (edit.range.start, *index));
            let Some((index, edit)) = found else {
                break;
            };
            self.out.push_str(&source.text[at..edit.range.start]);
            self.edit(index, edit);
            at = edit.range.end;
            inserted = edit.range.is_empty().then_some(index);
        }
        self.out.push_str(&source.text[at..range.end]);
    }

    fn pieces(&mut self, pieces: &[Piece], index: usize) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.out.push_str(text),
                Piece::Source(range) => self.range(range.clone(), index + 1),
            }
        }
    }

    fn marked(&mut self, ids: Vec<u32>, write: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        write(self);
        self.marks.push(Mark {
            range: start..self.out.len(),
            ids,
        });
    }

    fn edit(&mut self, index: usize, edit: &Edit) {
        let left = |alternative: &&Alternative| !self.without.contains(&alternative.id);
        match &edit.form {
            Form::Wrap(only) if left(&only) => {
                self.marked(vec![only.id], |this| this.pieces(&only.pieces, index));
            }
            Form::Choose {
                before,
                alternatives,
                original,
                after,
            } => {
                let alternatives: Vec<_> = alternatives.iter().filter(left).collect();
                if alternatives.is_empty() {
                    return self.range(edit.range.clone(), index + 1);
                }
                let ids = alternatives.iter().map(|one| one.id).collect();
                self.marked(ids, |this| {
                    this.pieces(before, index);
                    for one in alternatives {
                        this.out
                            .push_str(&format!("if crate::mutant::on({}) {{ ", one.id));
                        this.marked(vec![one.id], |this| this.pieces(&one.pieces, index));
                        this.out.push_str(" } else ");
                    }
                    this.out.push_str("{ ");
                    this.pieces(original, index);
                    this.out.push_str(" }");
                    this.pieces(after, index);
                });
            }
            Form::Wrap(_) => self.range(edit.range.clone(), index + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(range: Range<usize>, id: u32) -> Edit {
        let pieces = vec![
            Piece::Text(format!("{id}(")),
            Piece::Source(range.clone()),
            Piece::Text(")".into()),
        ];
        let form = Form::Wrap(Alternative { id, pieces });
        Edit { range, form }
    }

    #[test]
    fn edits_nest_and_can_be_left_out() {
        let source = Source {
            text: "ab cd ef".into(),
            edits: vec![wrap(0..8, 1), wrap(0..8, 2), wrap(3..5, 3)],
        };
        let (all, marks) = source.mutated(&BTreeSet::new());
        assert_eq!(all, "1(2(ab 3(cd) ef))");
        assert_eq!(marks.len(), 3);
        let (some, _) = source.mutated(&BTreeSet::from([1, 3]));
        assert_eq!(some, "2(ab cd ef)");
    }

    #[test]
    fn an_insertion_goes_in_once() {
        let source = Source {
            text: "{ab}".into(),
            edits: vec![wrap(1..1, 1), wrap(1..3, 2)],
        };
        assert_eq!(source.mutated(&BTreeSet::new()).0, "{1()2(ab)}");
    }

    #[test]
    fn what_was_found_before_an_insertion_and_comes_after_it_is_not_lost() {
        let source = Source {
            text: "{ab}".into(),
            edits: vec![wrap(2..3, 1), wrap(1..1, 2)],
        };
        assert_eq!(source.mutated(&BTreeSet::new()).0, "{2()a1(b)}");
    }
}
