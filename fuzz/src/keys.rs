//! Texts that may be keys.

use argon::{KeyError, Keys, testing};

const OURS: &str = include_str!("../material/ours.pem");
const LESSER: &str = include_str!("../material/lesser.pem");
const THEIRS: &str = include_str!("../material/theirs.pem");

pub(crate) const WORDS: &[&[u8]] = &[
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"-----BEGIN ",
    b"-----",
    b"\n",
    b"MC4CAQAwBQYDK2VwBCIEI",
    b"AAAA",
    b"////",
    b"=",
];

/// An error is for people, and shows no secret.
fn judge(error: &KeyError, text: &str) {
    let told = error.to_string();
    assert!(!told.is_empty() && told.len() < 1_024, "{told}");
    // A line with a space holds no secret, and may be the error's own words.
    let secret = |line: &&str| line.len() > 40 && !line.contains(' ');
    for line in text.lines().filter(secret) {
        assert!(!told.contains(line), "an error shows what is in a key");
    }
}

/// Any bytes as a text, alone, twice, and beside a key that is one.
pub(crate) fn keys(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let alone = Keys::from_texts([&text]);
    let facts = testing::key_facts(&text);
    match (&alone, &facts) {
        (Ok(keys), Ok(facts)) => {
            assert_eq!(keys.access(), facts.access);
            assert!(
                facts.access.roles().next().is_some(),
                "a key without a role"
            );
            assert_eq!(facts.authority.len(), 16, "{}", facts.authority);
            assert!(!format!("{keys:?}").contains("PRIVATE"));
            let same = Keys::from_texts([OURS, &text]).expect("a second that is good alone");
            assert_eq!(
                same.access(),
                testing::key_facts(OURS).expect("ours").access
            );
            assert_eq!(
                testing::key_facts(&text.replace('\n', "\r\n")).as_ref(),
                Ok(facts),
                "the ends of lines matter"
            );
        }
        // Facts are read from what is shown; whether the secret belongs to it is seen in use.
        (Err(error), Ok(_)) => judge(error, &text),
        (Err(error), Err(same)) => {
            assert_eq!(error, same);
            judge(error, &text);
            assert!(
                Keys::from_texts([OURS, &text]).is_err(),
                "a bad one beside a good one"
            );
        }
        (Ok(_), Err(error)) => panic!("good to use, but not to look at: {error}"),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // The parts of one with those of another.
    let part = |text: &str, number| {
        let begins = text.match_indices("-----BEGIN").map(|(at, _)| at);
        let mut begins: Vec<usize> = begins.collect();
        begins.push(text.len());
        text[begins[number]..begins[number + 1]].to_owned()
    };
    let mixed = [part(OURS, 0), part(OURS, 1), part(THEIRS, 2)].concat();
    let short = [part(LESSER, 0), part(LESSER, 1)].concat();
    let swapped = [part(OURS, 2), part(OURS, 1), part(OURS, 0)].concat();
    let twice = [LESSER, LESSER].concat();
    let texts = [OURS, LESSER, &mixed, &short, &swapped, &twice, ""];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
