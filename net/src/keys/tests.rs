//! Keys: what is made, what is refused, and what is said of it.

use std::fs;
use std::path::PathBuf;

use argon_core::name::Name;

use super::*;

/// A folder of key files that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("argon-keys-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        self.mode(name, 0o600);
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.0.join(name), mode).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The blocks of a text of PEM.
fn blocks(text: &str) -> Vec<String> {
    text.split_inclusive("-----END ")
        .collect::<String>()
        .split("-----BEGIN ")
        .skip(1)
        .map(|block| format!("-----BEGIN {block}"))
        .collect()
}

fn problem(text: &str) -> KeyProblem {
    Keys::from_texts([text]).unwrap_err().problem
}

#[test]
fn the_key_of_a_cluster_allows_everything() {
    let folder = Folder::new("all");
    let file = folder.write("argon.key", &make_key().unwrap());
    let facts = KeyFacts::read(&file).unwrap();
    assert_eq!(facts.access, Access::everything());
    assert!(facts.makes_keys);
    let keys = Keys::open([file]).unwrap();
    for role in KeyRole::ALL {
        keys.require(role).unwrap();
    }
}

#[test]
fn a_lesser_key_allows_what_it_was_made_for_and_makes_no_other() {
    let folder = Folder::new("lesser");
    let from = folder.write("argon.key", &make_key().unwrap());
    let text = make_lesser_key(&from, &[KeyRole::Submit], Some("alice")).unwrap();
    let file = folder.write("alice.key", &text);
    let facts = KeyFacts::read(&file).unwrap();
    let alice = Name::new("alice").unwrap();
    assert_eq!(facts.access, Access::new([KeyRole::Submit], Some(alice)));
    assert!(!facts.makes_keys);
    assert_eq!(facts.authority, KeyFacts::read(&from).unwrap().authority);
    let error = make_lesser_key(&file, &[KeyRole::Work], None).unwrap_err();
    assert_eq!(error.problem, KeyProblem::NoAuthority);
    assert_eq!(error.file, Some(file.clone()));
    let error = Keys::open([file]).unwrap().require(KeyRole::Work);
    assert!(error.unwrap_err().to_string().contains("--role work"));
}

#[test]
fn holders_and_roles_that_cannot_be_are_refused() {
    let folder = Folder::new("names");
    let from = folder.write("argon.key", &make_key().unwrap());
    for name in ["", "Alice", "a.b", "*", "alice.holder.argon"] {
        let error = make_lesser_key(&from, &[KeyRole::Submit], Some(name)).unwrap_err();
        assert_eq!(error.problem, KeyProblem::Holder(name.to_owned()));
    }
    let error = make_lesser_key(&from, &[], None).unwrap_err();
    assert_eq!(error.problem, KeyProblem::NoRole);
}

#[test]
fn whatever_lies_in_the_place_of_the_authority_must_be_one() {
    let folder = Folder::new("place");
    let from = folder.write("argon.key", &make_key().unwrap());
    let lesser = make_lesser_key(&from, &[KeyRole::Submit], None).unwrap();
    let [certificate, key, authority] = &blocks(&lesser)[..] else {
        panic!("three blocks");
    };
    // A lesser key's own certificate as the authority: what it signs would be trusted.
    let forged = format!("{certificate}{key}{certificate}");
    assert_eq!(
        problem(&forged),
        KeyProblem::Broken("certificate in the authority's place")
    );
    // The authority in the place of the certificate is nobody's.
    let swapped = format!("{authority}{key}{certificate}");
    assert!(Keys::from_texts([swapped]).is_err());
    // Nor does a certificate of one authority go with another.
    let other = blocks(&make_key().unwrap());
    let mixed = format!("{certificate}{key}{}", other[2]);
    assert_eq!(problem(&mixed), KeyProblem::Foreign);
    // Nor with another's private key.
    let mixed = format!("{certificate}{}{authority}", other[1]);
    assert_eq!(problem(&mixed), KeyProblem::Broken("private key"));
}

#[test]
fn what_is_missing_or_broken_is_named() {
    let text = make_key().unwrap();
    let blocks = blocks(&text);
    assert_eq!(problem(""), KeyProblem::Missing("certificate"));
    assert_eq!(problem(&blocks[0]), KeyProblem::Missing("private key"));
    let without = blocks[..2].concat();
    let wanted = KeyProblem::Missing("authority's certificate");
    assert_eq!(problem(&without), wanted);
    let torn = &text[..text.len() / 4];
    assert_eq!(problem(torn), KeyProblem::Broken("block of PEM"));
    let twice = text.repeat(2);
    assert_eq!(problem(&twice), KeyProblem::Broken("block too many"));
    let none: [&str; 0] = [];
    assert_eq!(
        Keys::from_texts(none).unwrap_err().problem,
        KeyProblem::None
    );
}

#[test]
fn a_file_that_others_can_read_is_no_secret() {
    let folder = Folder::new("mode");
    let file = folder.write("argon.key", &make_key().unwrap());
    for mode in [0o644, 0o640, 0o604, 0o620] {
        folder.mode("argon.key", mode);
        let error = Keys::open([&file]).unwrap_err();
        assert_eq!(error.problem, KeyProblem::Exposed { mode });
        let wanted = format!("chmod 600 {}", file.display());
        assert!(error.to_string().contains(&wanted), "{error}");
    }
    folder.mode("argon.key", 0o400);
    Keys::open([&file]).unwrap();
}

#[test]
fn keys_that_are_read_again_replace_the_old_ones_only_if_they_are_good() {
    let folder = Folder::new("again");
    let from = folder.write("argon.key", &make_key().unwrap());
    let file = folder.write("own.key", &make_key().unwrap());
    let keys = Keys::open([&file]).unwrap();
    assert_eq!(keys.access(), Access::everything());
    folder.write("own.key", "nothing");
    assert!(keys.reload().is_err());
    assert_eq!(keys.access(), Access::everything());
    let lesser = make_lesser_key(&from, &[KeyRole::Work], None).unwrap();
    folder.write("own.key", &lesser);
    keys.clone().reload().unwrap();
    assert_eq!(keys.access(), Access::new([KeyRole::Work], None));
    assert!(keys.server().is_none(), "it is no manager's any more");
}

#[test]
fn a_role_that_is_needed_is_not_lost_by_reading_again() {
    let folder = Folder::new("needed");
    let from = folder.write("argon.key", &make_key().unwrap());
    let lesser = make_lesser_key(&from, &[KeyRole::Work], None).unwrap();
    let file = folder.write("own.key", &make_key().unwrap());
    let keys = Keys::open([&file]).unwrap();
    keys.require(KeyRole::Manage).unwrap();
    folder.write("own.key", &lesser);
    let error = keys.reload().unwrap_err();
    assert!(error.to_string().contains("--role manage"), "{error}");
    assert!(keys.server().is_some());
}

/// Nobody writes into the pipe: to wait for that would be to wait for ever.
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = Folder::new("pipe");
    let file = folder.write("own.key", &make_key().unwrap());
    let keys = Keys::open([&file]).unwrap();
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(keys.reload().unwrap_err().problem, KeyProblem::NotAFile);
    assert_eq!(keys.access(), Access::everything());
    let error = Keys::open([&file]).unwrap_err();
    assert_eq!(error.problem, KeyProblem::Missing("certificate"));
}

#[test]
fn an_empty_file_is_told_as_such_whoever_can_read_it() {
    let folder = Folder::new("empty");
    let file = folder.write("own.key", "");
    folder.mode("own.key", 0o644);
    assert_eq!(Keys::open([&file]).unwrap_err().problem, KeyProblem::Empty);
}

#[test]
fn what_is_no_key_file_is_not_read_whole() {
    let folder = Folder::new("long");
    let file = folder.write("long.key", &"x".repeat(KEY_FILE_MAX as usize + 1));
    let error = Keys::open([file]).unwrap_err();
    assert_eq!(
        error.problem,
        KeyProblem::TooLong {
            limit: KEY_FILE_MAX
        }
    );
    let error = Keys::open([folder.0.join("none.key")]).unwrap_err();
    assert!(
        matches!(error.problem, KeyProblem::Unreadable(_)),
        "{error}"
    );
}

/// Keys of one kind are of one length: simulations repeat although secrets do not.
#[test]
fn keys_of_a_kind_have_one_length() {
    let lengths: Vec<usize> = (0..8).map(|_| make_key().unwrap().len()).collect();
    assert!(
        lengths.windows(2).all(|two| two[0] == two[1]),
        "{lengths:?}"
    );
}
