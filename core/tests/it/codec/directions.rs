//! What is said in one direction means nothing in another: it is known, and not read.

use argon_core::codec;
use argon_core::message::{
    FromManager, Message, Said, Tagged, ToClient, ToManager, ToObserver, ToPeer, ToWorker,
};

use super::{examples, frame, streams};

fn heard<B: bincode::Decode<()>>(message: &Message<Said>) -> B {
    let mut bytes = frame(message);
    let heard = codec::decode::<B>(&mut bytes, usize::MAX >> 1);
    assert!(bytes.is_empty(), "a frame is taken off whole");
    heard.expect("a frame of ours").expect("a whole one").body
}

/// As a peer of this sort hears what `said` is, if it is for such peers.
fn check_peer<T>(message: &Message<Said>, own: impl Fn(&ToPeer) -> Option<T>)
where
    T: Tagged + PartialEq + std::fmt::Debug,
{
    let expected = match &message.body {
        Said::FromManager(ToPeer::Control(control)) => FromManager::Control(control.clone()),
        Said::FromManager(said) => own(said).map_or(FromManager::Misdirected, FromManager::Role),
        Said::ToManager(_) => FromManager::Misdirected,
    };
    assert_eq!(heard::<FromManager<T>>(message), expected);
}

#[test]
fn everybody_hears_what_is_for_them_and_that_the_rest_is_not() {
    let all = examples::native();
    assert!(all.len() > 60, "every message has an example");
    for (_, message) in &all {
        let expected = match &message.body {
            Said::ToManager(said) => said.clone(),
            Said::FromManager(_) => ToManager::Misdirected,
        };
        assert_eq!(heard::<ToManager>(message), expected);
        check_peer::<ToClient>(message, |said| match said {
            ToPeer::Client(said) => Some(said.clone()),
            _ => None,
        });
        check_peer::<ToWorker>(message, |said| match said {
            ToPeer::Worker(said) => Some(said.clone()),
            _ => None,
        });
        check_peer::<ToObserver>(message, |said| match said {
            ToPeer::Observer(said) => Some(said.clone()),
            _ => None,
        });
    }
}

/// Numbers that no message has are no frames of ours, in any direction: the first of them too.
#[test]
fn a_number_that_no_message_has_is_refused() {
    let tag = |message: &Message<Said>| {
        let bytes = frame(message);
        u32::from_le_bytes(bytes[5..9].try_into().expect("four bytes"))
    };
    let all = examples::native();
    let newest = Message::from(streams::newest());
    let all = all.iter().map(|(_, message)| message).chain([&newest]);
    let highest = all.map(tag).max();
    let first = highest.expect("there are messages") + 1;
    for unknown in [first, first + 1, u32::MAX] {
        let mut bytes = frame(&Message::from(Said::from(ToManager::Goodbye)));
        bytes[5..9].copy_from_slice(&unknown.to_le_bytes());
        let is_refused = |answer: Result<(), codec::DecodeError>| answer.is_err();
        let all = [
            codec::decode::<ToManager>(&mut bytes.clone(), 100).map(drop),
            codec::decode::<FromManager<ToClient>>(&mut bytes.clone(), 100).map(drop),
            codec::decode::<FromManager<ToWorker>>(&mut bytes.clone(), 100).map(drop),
            codec::decode::<ToPeer>(&mut bytes.clone(), 100).map(drop),
            codec::decode::<Said>(&mut bytes, 100).map(drop),
        ];
        assert!(all.into_iter().all(is_refused), "{unknown}");
    }
}
