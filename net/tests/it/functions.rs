//! Functions as tasks: what a program's author sees, with everything in one process.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::time::Duration;

use argon::{Error, ErrorKind, Local, Payload, RejectReason, tasks};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    label: Option<String>,
}

#[derive(Debug)]
struct TooSmall(i64);

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is too small", self.0)
    }
}

impl std::error::Error for TooSmall {}

#[argon::task]
async fn add(x: i64, y: i64) -> Result<i64, TooSmall> {
    tokio::time::sleep(Duration::ZERO).await;
    if x < 0 { Err(TooSmall(x)) } else { Ok(x + y) }
}

#[argon::task(codec = "bincode")]
fn moved(point: &Point, (by, times): (f64, u8)) -> Point {
    let mut point = point.clone();
    point.x += by * f64::from(times);
    point
}

#[argon::task]
fn reversed(mut data: Vec<u8>) -> Vec<u8> {
    data.reverse();
    data
}

#[argon::task(name = "text:length")]
fn length(text: &str) -> usize {
    text.len()
}

#[argon::task]
fn nothing() {}

#[argon::task]
fn formatted() -> fmt::Result {
    Err(fmt::Error)
}

#[argon::task]
fn panics(what: String) -> i64 {
    panic!("{what}")
}

#[argon::task]
async fn panics_later() {
    tokio::task::yield_now().await;
    panic!("later")
}

/// An error with more to it than its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Refused {
    code: u16,
    fields: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}", self.code)
    }
}

impl std::error::Error for Refused {}

fn refused(code: u16) -> Refused {
    let fields = vec!["name".to_owned(), "age".to_owned()];
    Refused { code, fields }
}

#[argon::task]
fn refuses(code: u16) -> Result<(), Refused> {
    Err(refused(code))
}

#[argon::task(codec = "bincode")]
async fn refuses_later(code: u16) -> Result<i64, Refused> {
    tokio::task::yield_now().await;
    Err(refused(code))
}

#[argon::task]
fn sleeps(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

#[argon::task]
async fn sleeps_async(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[argon::task]
fn other_type() -> i64 {
    7
}

/// A gate that a task waits at, and the word that it is there.
struct Gate {
    arrived: (Sender<()>, Mutex<Receiver<()>>),
    open: (Sender<()>, Mutex<Receiver<()>>),
}

impl Gate {
    fn new() -> Self {
        let pair = || {
            let (sender, receiver) = channel();
            (sender, Mutex::new(receiver))
        };
        Self {
            arrived: pair(),
            open: pair(),
        }
    }
}

static GATE: std::sync::LazyLock<Gate> = std::sync::LazyLock::new(Gate::new);

#[argon::task]
fn wait_at_gate() -> u8 {
    GATE.arrived.0.send(()).expect("never closed");
    take(&GATE.open.1);
    1
}

fn take(receiver: &Mutex<Receiver<()>>) {
    let receiver = receiver.lock().expect("nobody panics under it");
    receiver.recv().expect("never closed");
}

async fn arrived() {
    let taken = tokio::task::spawn_blocking(|| take(&GATE.arrived.1)).await;
    taken.expect("never closed");
}

#[tokio::test]
async fn arguments_and_results_have_their_types() {
    let local = argon::local().await.unwrap();
    let client = local.client();
    assert_eq!(client.process(add(2, 3)).await.unwrap(), 5);
    assert_eq!(add::local(2, 3).await.unwrap(), 5);
    let point = Point {
        x: 1.0,
        label: Some("a".to_owned()),
    };
    let expected = moved::local(&point, (2.0, 3));
    assert_eq!(
        client.process(moved(&point, (2.0, 3))).await.unwrap(),
        expected
    );
    let bytes = vec![1, 2, 255];
    assert_eq!(client.process(reversed(bytes)).await.unwrap(), [255, 2, 1]);
    assert_eq!(client.process(length("häh")).await.unwrap(), 4);
    client.process(nothing()).await.unwrap();
}

#[tokio::test]
async fn tasks_are_called_by_name_too() {
    let local = argon::local().await.unwrap();
    let client = local.client();
    let sum: i64 = client.process(argon::call("add", (2, 3))).await.unwrap();
    assert_eq!(sum, 5);
    let length = argon::call::<usize>("text:length", ["abc"]);
    assert_eq!(client.process(length).await.unwrap(), 3);
    // A task that is called with bincode elsewhere takes JSON as well, and answers in it.
    let point =
        serde_json::json!({"kwargs": {"point": {"x": 1.0, "label": null}, "argument2": [1.0, 2]}});
    let answer: serde_json::Value = client.process(argon::call("moved", point)).await.unwrap();
    assert_eq!(answer, serde_json::json!({"x": 3.0, "label": null}));
    let raw = client
        .process(argon::Call::raw("reversed", "abc"))
        .await
        .unwrap();
    assert_eq!(raw, Payload::from("cba"));
}

#[tokio::test]
async fn errors_say_what_happened() {
    let local = argon::local().await.unwrap();
    let client = local.client();

    let error = client.process(add(-1, 0)).await.unwrap_err();
    let failed = error.failed().unwrap();
    assert_eq!(failed.message, "-1 is too small");
    assert!(matches!(&failed.kind, ErrorKind::Raised(kind) if kind.ends_with("TooSmall")));
    assert!(error.may_have_run());

    let error = client.process(formatted()).await.unwrap_err();
    assert!(
        matches!(&error.failed().unwrap().kind, ErrorKind::Raised(kind) if kind.contains("fmt::Error"))
    );

    let error = client.process(panics("oh".to_owned())).await.unwrap_err();
    let failed = error.failed().unwrap();
    assert_eq!(
        (&failed.message[..], &failed.kind),
        ("oh", &ErrorKind::Raised("panic".to_owned()))
    );
    assert!(failed.backtrace.contains("functions.rs:"), "{failed:?}");
    assert!(error.to_string().contains("panicked at"), "{error}");
    let error = client.process(panics_later()).await.unwrap_err();
    assert_eq!(error.failed().unwrap().message, "later");
    // The threads that panicked go on.
    assert_eq!(client.process(add(2, 3)).await.unwrap(), 5);

    let wrong = argon::call::<i64>("add", (1, "x"));
    let error = client.process(wrong).await.unwrap_err();
    assert_eq!(error.failed().unwrap().kind, ErrorKind::BadPayload);
    assert!(
        error.to_string().contains("(x, y)") && !error.may_have_run(),
        "{error}"
    );

    let error = client
        .process(argon::call::<String>("other_type", ()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Result { task, .. } if task == "other_type"),
        "{error}"
    );

    let error = client
        .process(add(1, 2).max_attempts(99))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Arguments { .. }), "{error}");
}

#[tokio::test]
async fn too_large_is_said_at_once() {
    let local = argon::local().await.unwrap();
    let call = reversed(vec![0; 65 << 20]);
    let error = local.client().process(call).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { bytes, .. } if bytes == 65 << 20),
        "{error}"
    );
}

#[tokio::test]
async fn a_task_that_nobody_runs_is_rejected_with_names_like_it() {
    let local = Local::start(tasks![add, length]).await.unwrap();
    let error = local
        .client()
        .process(argon::call::<i64>("ad", (1, 2)))
        .await
        .unwrap_err();
    let Error::Rejected {
        reason, similar, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (reason, &similar[..]),
        (&RejectReason::NoRunner, &["add".to_owned()][..])
    );
    assert!(error.to_string().contains("did you mean add?"), "{error}");
}

#[tokio::test]
async fn what_is_dropped_is_cancelled_and_what_is_deferred_is_not() {
    let local = Local::with_threads(tasks![wait_at_gate, nothing], 1)
        .await
        .unwrap();
    let client = local.client();
    let first = client.defer(wait_at_gate()).await.unwrap();
    arrived().await;
    assert!(!first.is_finished());

    // Behind it in the queue; given up before they start.
    let mut given_up = Box::pin(client.process(wait_at_gate()));
    let polled = poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx).is_pending()));
    assert!(polled.await);
    drop(given_up);
    let cancelled = client.defer(wait_at_gate()).await.unwrap();
    cancelled.cancel();
    let error = cancelled.await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Cancelled {
                may_have_run: false,
                ..
            }
        ),
        "{error}"
    );

    // This one nobody asks for; it runs all the same.
    drop(client.defer(wait_at_gate()).await.unwrap());
    GATE.open.0.send(()).unwrap();
    assert_eq!(first.await.unwrap(), 1);
    arrived().await;
    GATE.open.0.send(()).unwrap();
    // Had the first of the two not been cancelled, this would wait behind it until its deadline.
    let last = nothing().deadline(Duration::from_secs(30));
    client.process(last).await.unwrap();
}

#[tokio::test]
async fn map_keeps_the_order_and_asks_for_no_more_than_it_may_hold() {
    let local = argon::local().await.unwrap();
    let taken = AtomicUsize::new(0);
    let calls = (0..i64::MAX).map(|x| {
        taken.fetch_add(1, Ordering::Relaxed);
        add(x, 1)
    });
    let mut results = local.client().map(calls).in_flight(50);
    for x in 0..2_000 {
        assert_eq!(results.next().await.unwrap().unwrap(), x + 1);
        let ahead = taken.load(Ordering::Relaxed) - usize::try_from(x).unwrap();
        assert!(ahead <= 51, "{ahead} were taken ahead");
    }
}

#[tokio::test]
async fn errors_keep_their_place_and_the_rest_goes_on() {
    let local = argon::local().await.unwrap();
    let calls = || [add(1, 1), argon::call("add", 5), add(-1, 0), add(2, 2)];
    let mut results = local.client().map(calls());
    assert_eq!(results.next().await.unwrap().unwrap(), 2);
    let refused = results.next().await.unwrap();
    assert!(matches!(refused, Err(Error::Arguments { .. })));
    assert!(matches!(
        results.next().await.unwrap(),
        Err(Error::Failed(_))
    ));
    assert_eq!(results.next().await.unwrap().unwrap(), 4);
    assert!(results.next().await.is_none() && results.next().await.is_none());
    let collected = local.client().map(calls()).try_collect().await;
    assert!(matches!(collected, Err(Error::Arguments { .. })));
}

#[tokio::test]
async fn results_come_in_any_order_if_asked_so() {
    let local = argon::local().await.unwrap();
    let mut results = local
        .client()
        .map_unordered((0..5_000).map(|x| add(x, 0)))
        .in_flight(64)
        .try_collect()
        .await
        .unwrap();
    results.sort_unstable();
    assert!(results.into_iter().eq(0..5_000));
}

#[tokio::test]
async fn calls_may_come_from_a_stream_and_wait_for_room() {
    let local = argon::local().await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for x in 0..500 {
            sender.send(add(x, x)).await.unwrap();
        }
    });
    let calls = Receive(move |cx: &mut std::task::Context<'_>| receiver.poll_recv(cx));
    let results = local.client().map_stream(calls).unordered();
    assert_eq!(results.try_collect().await.unwrap().len(), 500);
}

/// A stream of a function.
struct Receive<F>(F);

impl<T, F: FnMut(&mut std::task::Context<'_>) -> Poll<Option<T>> + Unpin> futures_core::Stream
    for Receive<F>
{
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<T>> {
        (self.0)(cx)
    }
}

#[tokio::test]
async fn a_client_that_is_closed_says_so() {
    let local = argon::local().await.unwrap();
    let client = local.client().clone();
    let calls = client.map(std::iter::repeat_with(|| add(1, 1)));
    drop(local);
    let mut calls = pin!(calls);
    let error = loop {
        if let Some(Err(error)) = calls.next().await {
            break error;
        }
    };
    assert!(
        matches!(error, Error::Closed | Error::Cancelled { .. }),
        "{error}"
    );
    let error = client.process(nothing()).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
}

#[test]
fn no_async_is_needed() {
    let local = argon::blocking::local().unwrap();
    let client = local.client();
    assert_eq!(client.process(add(2, 3)).unwrap(), 5);
    let squares: Result<Vec<i64>, Error> = client.map((0..3_000).map(|x| add(x, x))).collect();
    assert!(squares.unwrap().into_iter().eq((0..3_000).map(|x| 2 * x)));
    let deferred = client.defer(add(1, 1));
    while !deferred.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(deferred.wait().unwrap(), 2);
    let mut any: Vec<i64> = client
        .map_unordered((0..100).map(|x| add(x, 0)))
        .in_flight(7)
        .map(Result::unwrap)
        .collect();
    any.sort_unstable();
    assert!(any.into_iter().eq(0..100));
    client.clone().close();
    assert!(matches!(client.process(nothing()), Err(Error::Closed)));
}

#[test]
fn simple_is_one_client_for_the_whole_program() {
    let error = argon::simple::process(add(4, 7)).wait().unwrap_err();
    assert!(
        error.to_string().contains("argon::simple::connect"),
        "{error}"
    );
    let local = argon::blocking::local().unwrap();
    argon::simple::use_client(local.client());
    let elsewhere = std::thread::spawn(|| argon::simple::process(add(4, 7)).wait());
    assert_eq!(elsewhere.join().unwrap().unwrap(), 11);
    let length: usize = argon::simple::task("text:length", ("four",))
        .wait()
        .unwrap();
    assert_eq!(length, 4);
    let awaited = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async { argon::simple::process(add(1, 2)).await });
    assert_eq!(awaited.unwrap(), 3);
}

#[tokio::test]
async fn deadlines_and_time_limits_hold_here_too() {
    let limit = Duration::from_millis(100);
    let local = argon::local().await.unwrap();
    let client = local.client();
    // Far longer than the test may take: who waits for the thread would wait for this.
    let expired = client.process(sleeps(3_600).deadline(limit)).await;
    assert!(
        matches!(
            expired,
            Err(Error::Expired {
                may_have_run: true,
                ..
            })
        ),
        "{expired:?}"
    );
    for limited in [
        client.process(sleeps(3_600).time_limit(limit)).await,
        client.process(sleeps_async(3_600).time_limit(limit)).await,
    ] {
        let error = limited.unwrap_err();
        assert_eq!(
            error.failed().map(|failed| &failed.kind),
            Some(&ErrorKind::TimeLimit)
        );
    }
}

#[tokio::test]
async fn a_task_s_own_error_arrives_whole_if_it_can_be_serialised() {
    let local = argon::local().await.unwrap();
    let client = local.client();
    let errors = [
        client.process(refuses(403)).await.unwrap_err(),
        client.process(refuses_later(403)).await.unwrap_err(),
    ];
    for error in errors {
        let failed = error.failed().unwrap();
        assert_eq!(failed.detail::<Refused>(), Some(refused(403)));
        assert!(
            error.to_string().contains("Refused: refused with 403"),
            "{error}"
        );
    }
    // One that cannot is told by its text.
    let error = client.process(add(-1, 1)).await.unwrap_err();
    let failed = error.failed().unwrap();
    assert_eq!(
        (failed.message.as_str(), failed.detail.is_empty()),
        ("-1 is too small", true)
    );
}
