//! The squares of 1,000 numbers, on the cluster whose manager is named, or in this process.
//!
//!     argon worker --manager HOST:PORT -- target/release/squares
//!     target/release/squares HOST:PORT

use argon::Error;
use argon::blocking::{Client, local};

#[argon::task]
fn square(x: u64) -> u64 {
    x * x
}

fn main() -> Result<(), Error> {
    argon::serve_if_pool();
    match std::env::args().nth(1) {
        Some(manager) => show(&Client::connect(manager)?),
        None => show(local()?.client()),
    }
}

fn show(client: &Client) -> Result<(), Error> {
    let squares: Vec<u64> = client
        .map((0..1_000).map(square))
        .collect::<Result<_, _>>()?;
    println!(
        "{} squares, their sum is {}",
        squares.len(),
        squares.iter().sum::<u64>()
    );
    Ok(())
}
