//! First steps.
//!
//!     argon worker --manager HOST:PORT -- target/release/first
//!     target/release/first HOST:PORT [FUNCTION OF ANOTHER LANGUAGE ...]

use std::time::Duration;

use argon::blocking::Client;
use argon::{Error, simple};

#[argon::task]
fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[argon::task]
fn multiply(x: i64, y: i64) -> i64 {
    x * y
}

#[argon::task]
fn unlucky(number: i64) -> Result<i64, String> {
    Err(format!("no luck with {number}"))
}

fn main() -> Result<(), Error> {
    argon::serve_if_pool();
    let mut arguments = std::env::args().skip(1);
    let manager = arguments.next().unwrap_or("127.0.0.1:8000".to_owned());

    let client = Client::connect(manager.as_str())?;
    println!("{}", client.process(add(4, 7))?);
    let deferred = client.defer(add(4, 7));
    println!("{}", deferred.wait()?);

    simple::connect(manager.as_str())?;
    let product = simple::process(multiply(4, 7));
    while !product.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{}", product.wait()?);

    // What fails there fails here, with its own message.
    match client.process(unlucky(7)) {
        Err(Error::Failed(failed)) => println!("{}", failed.message),
        other => println!("it should have failed: {other:?}"),
    }

    // Functions of other languages go by their names.
    for name in arguments {
        let value: i64 = simple::task(&name, (4, 7)).wait()?;
        println!("{value}");
    }
    Ok(())
}
