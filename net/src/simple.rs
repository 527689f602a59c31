//! Connect once, then run tasks from anywhere in the program.
//!
//! ```no_run
//! use argon::simple;
//!
//! #[argon::task]
//! fn multiply(x: i64, y: i64) -> i64 {
//!     x * y
//! }
//!
//! fn main() -> Result<(), argon::Error> {
//!     simple::connect("mgrhost:8000")?;
//!     let product = simple::process(multiply(4, 7));
//!     while !product.is_finished() {
//!         std::thread::yield_now();
//!     }
//!     println!("{}", product.wait()?);
//!     let answer: String = simple::task("perl:My::Task::Class", ("an", "argument")).wait()?;
//!     println!("{answer}");
//!     Ok(())
//! }
//! ```
//!
//! What [`process`] and [`task`] give can be waited for, and in async code awaited.

use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::blocking::{Client, Deferred};
use crate::call::{Call, call};
use crate::client::Addresses;
use crate::error::Error;

/// The program's client, and what it was connected to, if that is known.
static CLIENT: Mutex<Option<(Option<Addresses>, Client)>> = Mutex::new(None);

fn slot() -> MutexGuard<'static, Option<(Option<Addresses>, Client)>> {
    CLIENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to a manager at `host:port`, or to the first that answers of several. Further calls
/// for the same give the same client; for another, tasks from then on go there.
///
/// # Errors
/// If that makes no sense, or no manager lets us in within ten seconds.
pub fn connect(managers: impl Into<Addresses>) -> Result<Client, Error> {
    let managers = managers.into();
    if let Some((Some(connected), client)) = &*slot()
        && *connected == managers
    {
        return Ok(client.clone());
    }
    let client = Client::connect(managers.clone())?;
    *slot() = Some((Some(managers), client.clone()));
    Ok(client)
}

/// Uses a client that is there already: one with settings of its own, or that of a
/// [`Local`](crate::blocking::Local).
pub fn use_client(client: &Client) {
    *slot() = Some((None, client.clone()));
}

/// Sends a call off. Nothing is wrong before its result is asked for.
///
/// Waits if the client has as many tasks as it may.
pub fn process<T>(call: Call<T>) -> Deferred<T> {
    let client = slot().as_ref().map(|(_, client)| client.clone());
    match client {
        Some(client) => client.defer(call),
        None => Deferred::refused(Error::NotConnected {
            managers: Vec::new(),
            reason: "argon::simple::connect comes first".to_owned(),
        }),
    }
}

/// Sends off a task of any language by its name, as [`call()`] has it.
pub fn task<T: DeserializeOwned + Any>(name: &str, arguments: impl Serialize) -> Deferred<T> {
    process(call(name, arguments))
}
