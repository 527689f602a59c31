//! What the key of a peer lets it do.
//!
//! Owns: the roles and the names of keys. Never: sees a key; whoever drives a manager has checked it
//! before it says who came in.

use core::fmt;

use crate::limits::HOLDER_MAX;
use crate::message::Role;
use crate::name::Name;

/// A thing that a key can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRole {
    /// To submit tasks, and to see how the manager as a whole is doing.
    Submit,
    /// To run tasks.
    Work,
    /// To see everything: who is there and what runs where.
    Observe,
    /// To be the manager that others call.
    Manage,
}

impl KeyRole {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Work, Self::Observe, Self::Manage];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Work => "work",
            Self::Observe => "observe",
            Self::Manage => "manage",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a peer may do, and who it is: the roles of its key and the name of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    roles: u8,
    holder: Option<Name>,
}

impl Access {
    /// What whoever can connect may do where there are no keys.
    #[must_use]
    pub fn everything() -> Self {
        Self::new(KeyRole::ALL, None)
    }

    /// What a key with these roles allows.
    pub fn new(roles: impl IntoIterator<Item = KeyRole>, holder: Option<Name>) -> Self {
        let roles = roles.into_iter().fold(0, |roles, role| roles | role.bit());
        Self { roles, holder }
    }

    /// Whether it allows `role`.
    #[must_use]
    pub fn allows(&self, role: KeyRole) -> bool {
        self.roles & role.bit() != 0
    }

    /// The roles that it allows.
    pub fn roles(&self) -> impl Iterator<Item = KeyRole> {
        KeyRole::ALL.into_iter().filter(|role| self.allows(*role))
    }

    /// Whose key it is, if that was written into it.
    #[must_use]
    pub fn holder(&self) -> Option<&Name> {
        self.holder.as_ref()
    }

    /// Whether a peer may come in as `role`. Whoever submits may also ask how things are, for the
    /// answer holds nothing about others unless the key allows that too.
    pub(crate) fn lets_in(&self, role: Role) -> bool {
        match role {
            Role::Client => self.allows(KeyRole::Submit),
            Role::Worker { .. } => self.allows(KeyRole::Work),
            Role::Observer => self.allows(KeyRole::Observe) || self.allows(KeyRole::Submit),
        }
    }
}

/// Checks the name of a holder: 1 to [`HOLDER_MAX`] of `a`-`z`, `0`-`9` and `-`, which neither begins
/// nor ends it.
///
/// Certificates compare names without regard to case, so that two names which differ in nothing else
/// would be one.
#[must_use]
pub fn is_holder(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=HOLDER_MAX).contains(&name.len())
        && name.bytes().all(letter)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_allows_what_it_names() {
        for role in KeyRole::ALL {
            let access = Access::new([role], None);
            let allowed = KeyRole::ALL.map(|other| access.allows(other));
            assert_eq!(allowed, KeyRole::ALL.map(|other| other == role));
            assert!(access.roles().eq([role]));
        }
        assert!(KeyRole::ALL.map(|role| Access::everything().allows(role)) == [true; 4]);
    }

    #[test]
    fn each_role_opens_its_doors_and_no_other() {
        let doors = [Role::Client, Role::Worker { capacity: 1 }, Role::Observer];
        let opened = |role| doors.map(|door| Access::new([role], None).lets_in(door));
        assert_eq!(opened(KeyRole::Submit), [true, false, true]);
        assert_eq!(opened(KeyRole::Work), [false, true, false]);
        assert_eq!(opened(KeyRole::Observe), [false, false, true]);
        assert_eq!(opened(KeyRole::Manage), [false, false, false]);
    }

    #[test]
    fn holders_have_plain_names() {
        for name in ["a", "alice", "team-7", "0", &"x".repeat(HOLDER_MAX)] {
            assert!(is_holder(name), "{name}");
        }
        let long = "x".repeat(HOLDER_MAX + 1);
        for name in ["", "Alice", "-a", "a-", "a.b", "a b", "é", "*", &long] {
            assert!(!is_holder(name), "{name}");
        }
    }
}
