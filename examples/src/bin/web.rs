//! A web service that hands its work to Argon, and stays responsive when too many ask.
//!
//!     web [--manager HOST:PORT] [--listen HOST:PORT]    serves until it is ended
//!     web [--manager HOST:PORT] --load REQUESTS         asks itself so often, all at once
//!     argon worker --manager HOST:PORT -- web           runs its tasks
//!
//! `GET /primes/100000` counts the primes below. When too many ask, the rest is refused at once
//! (503); what takes too long ends (504), and what nobody waits for any more is cancelled.
//!
//! HTTP is written out here to need no other library; with any of them `primes` looks the same.

use std::collections::BTreeMap;
use std::env;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon::{Client, Error};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Requests under way; more are refused.
const UNDER_WAY: usize = 40;
/// Work that cannot start within this time is refused: the user would be gone by then.
const START_WITHIN: Duration = Duration::from_millis(500);
/// From request to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Requests have less than this.
const REQUEST_MAX: u64 = 8 * 1024;
/// What the load asks for.
const LOAD: &str = "/primes/5000000";

type Problem = Box<dyn StdError + Send + Sync>;

/// How many primes are below a number.
#[argon::task]
fn count_primes(below: u32) -> usize {
    let below = below as usize;
    let mut composite = vec![false; below.max(2)];
    let mut count = 0;
    for number in 2..below {
        if !composite[number] {
            count += 1;
            (number * number..below)
                .step_by(number)
                .for_each(|multiple| composite[multiple] = true);
        }
    }
    count
}

/// The status and the text of an answer.
async fn primes(client: &Client, under_way: &Semaphore, below: u32) -> (u16, String) {
    let Ok(_permit) = under_way.try_acquire() else {
        return (503, "too many ask; come back in a second\n".to_owned());
    };
    // A refusal is to be told at once, and not tried again.
    let call = count_primes(below)
        .max_wait(START_WITHIN)
        .deadline(ANSWER_WITHIN)
        .retries(0);
    match client.process(call).await {
        Ok(count) => (200, format!("{count}\n")),
        Err(error @ Error::Rejected { .. }) => (503, format!("{error}\n")),
        Err(error @ Error::Expired { .. }) => (504, format!("{error}\n")),
        Err(error) => {
            eprintln!("{error}");
            (500, "something is wrong here\n".to_owned())
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    argon::serve_if_pool();
    let mut options = BTreeMap::new();
    let mut args = env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args
            .next()
            .ok_or_else(|| format!("{option} needs a value"))?;
        options.insert(option, value);
    }
    // Kept until the end: with it, everything in this process goes.
    let mut local = None;
    let client = match options.get("--manager") {
        Some(manager) => Client::connect(manager).await?,
        None => local.insert(argon::local().await?).client().clone(),
    };
    let listen = options
        .get("--listen")
        .map_or("127.0.0.1:0", String::as_str);
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?.to_string();
    println!("listening on http://{address}/primes/100000");
    let serving = serve(listener, client);
    match options.get("--load") {
        None => serving.await,
        Some(requests) => {
            let requests = requests.parse()?;
            tokio::select! {
                ended = serving => ended,
                asked = ask(&address, requests) => asked,
            }
        }
    }
}

async fn serve(listener: TcpListener, client: Client) -> Result<(), Problem> {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        let (stream, _) = listener.accept().await?;
        let (client, under_way) = (client.clone(), Arc::clone(&under_way));
        tokio::spawn(async move {
            // One that hangs up in the middle is no problem of ours.
            let _ = answer(stream, &client, &under_way).await;
        });
    }
}

async fn answer(
    mut stream: TcpStream,
    client: &Client,
    under_way: &Semaphore,
) -> Result<(), Problem> {
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading.take(REQUEST_MAX));
    let mut request = String::new();
    reading.read_line(&mut request).await?;
    let mut header = String::new();
    while reading.read_line(&mut header).await? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let below = path
        .strip_prefix("/primes/")
        .and_then(|text| text.parse().ok());
    let (status, text) = match below {
        Some(below @ 0..=10_000_000) => {
            let mut more = [0];
            tokio::select! {
                answer = primes(client, under_way, below) => answer,
                // It has hung up. Dropping the future cancels the task.
                _ = reading.read(&mut more) => return Ok(()),
            }
        }
        _ => (404, "ask for /primes/NUMBER, up to 10000000\n".to_owned()),
    };
    let retry = if status == 503 {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    let answer = format!(
        "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n{retry}Connection: close\r\n\r\n{text}",
        text.len()
    );
    writing.write_all(answer.as_bytes()).await?;
    Ok(writing.shutdown().await?)
}

/// Asks so often at once, and says what came back after how long.
async fn ask(address: &str, requests: usize) -> Result<(), Problem> {
    let address: Arc<str> = address.into();
    // How long such a task takes is known once one has run.
    get(&address).await?;
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let address = Arc::clone(&address);
        asking.spawn(async move { get(&address).await });
    }
    let mut seen: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        let (status, took) = asked??;
        seen.entry(status).or_default().push(took);
    }
    for (status, mut times) in seen {
        times.sort_unstable();
        let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{status}: {} times, after {middle:.1?} at the median, {last:.1?} at most",
            times.len()
        );
    }
    Ok(())
}

/// The status of an answer, and how long it took to come.
async fn get(address: &str) -> Result<(String, Duration), Problem> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {LOAD} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
    Ok((status, start.elapsed()))
}
