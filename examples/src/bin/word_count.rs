//! The most frequent words of all text files below some folders.
//!
//!     word_count FOLDER...                        on threads of this process
//!     word_count --manager HOST:PORT FOLDER...    on a cluster, whose workers run this program:
//!     argon worker --manager HOST:PORT -- word_count
//!
//! Files are read here, one after the other and only as fast as workers take them, so the files
//! need not be where the workers are, and memory holds no more than is under way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs, io};

use argon::blocking::{Client, local};
use argon::{Call, Error};

/// Larger files are left out.
const FILE_MAX: u64 = 4 << 20;
/// How many words are shown.
const SHOWN: usize = 10;

/// How often each word is in a text. Bincode, since only this program calls it.
#[argon::task(codec = "bincode")]
fn count_words(text: &str) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let words = text.split(|c: char| !c.is_alphanumeric());
    for word in words.filter(|word| word.len() > 3) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    argon::serve_if_pool();
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--manager") && args.len() > 2 {
        let folders = args.split_off(2);
        return Ok(count(&Client::connect(&args[1])?, folders)?);
    }
    if args.is_empty() || args[0].starts_with('-') {
        return Err("usage: word_count [--manager HOST:PORT] FOLDER...".into());
    }
    Ok(count(local()?.client(), args)?)
}

fn count(client: &Client, folders: Vec<String>) -> Result<(), Error> {
    let start = Instant::now();
    let mut files = 0;
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    // Which is first does not matter for a sum. Few at a time: each is a whole file.
    for counts in client.map_unordered(texts(folders)).in_flight(100) {
        files += 1;
        for (word, count) in counts? {
            *total.entry(word).or_default() += count;
        }
    }
    let words: u64 = total.values().sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{words} words, {} different ones, in {files} files ({seconds:.1} s)",
        total.len()
    );
    let mut order: Vec<(u64, &str)> = total
        .iter()
        .map(|(word, count)| (*count, &**word))
        .collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    for (count, word) in order.iter().take(SHOWN) {
        println!("{count:8} {word}");
    }
    Ok(())
}

/// A call for each text file below the folders, made when it is asked for.
fn texts(folders: Vec<String>) -> impl Iterator<Item = Call<BTreeMap<String, u64>>> {
    let mut open: Vec<PathBuf> = folders.into_iter().map(PathBuf::from).collect();
    let mut files = std::iter::from_fn(move || {
        loop {
            let path = open.pop()?;
            match look(&path) {
                Ok(Found::Folder(inside)) => open.extend(inside),
                Ok(Found::Text(text)) => return Some(text),
                Ok(Found::Other) => {}
                Err(error) => eprintln!("{}: {error}", path.display()),
            }
        }
    });
    std::iter::from_fn(move || files.next().map(|text| count_words(&text)))
}

/// What is at a path.
enum Found {
    Folder(Vec<PathBuf>),
    Text(String),
    Other,
}

fn look(path: &PathBuf) -> io::Result<Found> {
    let about = fs::symlink_metadata(path)?;
    if about.is_dir() {
        let inside = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        return inside.collect::<io::Result<_>>().map(Found::Folder);
    }
    if !about.is_file() || about.len() > FILE_MAX {
        return Ok(Found::Other);
    }
    match String::from_utf8(fs::read(path)?) {
        Ok(text) => Ok(Found::Text(text)),
        Err(_) => Ok(Found::Other),
    }
}
