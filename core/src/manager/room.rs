//! Room for tasks, in number and in bytes.

/// How much more somebody takes: tasks for as long as there is some of both, so that the last may be
/// larger than what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Room {
    pub(in crate::manager) tasks: u32,
    pub(in crate::manager) bytes: u64,
}

impl Room {
    /// Whether there is none for any task.
    pub(in crate::manager) fn is_none(self) -> bool {
        self.tasks == 0 || self.bytes == 0
    }

    /// What there is of both.
    pub(in crate::manager) fn and(self, other: Self) -> Self {
        Self {
            tasks: self.tasks.min(other.tasks),
            bytes: self.bytes.min(other.bytes),
        }
    }
}
