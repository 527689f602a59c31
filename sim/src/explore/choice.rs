//! What can happen next, and how it is written down.

use std::fmt;
use std::str::FromStr;

/// One step of a small cluster. Connections and hosts are named by their number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// The first packet that this side (0 dialled) of this connection has sent arrives.
    Deliver(usize, usize),
    /// The connection that was asked for is open.
    Dial(usize),
    /// The process in this worker's slot is ready.
    Ready(usize),
    /// What this worker runs completes.
    Finish(usize),
    /// The pool process of this worker has ended as it was told to.
    Exit(usize),
    /// The process of this host is started again.
    Restart(usize),
    /// The application no longer wants the first task.
    Cancel,
    /// This host is told to drain.
    Drain(usize),
    /// Time goes on.
    Tick,
    /// A fault: this connection is cut, and what is under way on it is lost.
    Cut(usize),
    /// A fault: nothing arrives on this connection any more, and nobody is told.
    Silence(usize),
    /// A fault: the process of this host dies.
    Crash(usize),
    /// A fault: the pool process of this worker dies.
    KillChild(usize),
    /// A fault: time goes on although packets are under way.
    Late,
}

impl Choice {
    pub(crate) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Cut(_) | Self::Silence(_) | Self::Crash(_) | Self::KillChild(_) | Self::Late
        )
    }

    pub(crate) fn passes_time(self) -> bool {
        matches!(self, Self::Tick | Self::Late)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(conn, 0) => write!(f, "{conn}>"),
            Self::Deliver(conn, _) => write!(f, "{conn}<"),
            Self::Dial(conn) => write!(f, "dial{conn}"),
            Self::Ready(host) => write!(f, "ready{host}"),
            Self::Finish(host) => write!(f, "finish{host}"),
            Self::Exit(host) => write!(f, "exit{host}"),
            Self::Restart(host) => write!(f, "restart{host}"),
            Self::Cancel => write!(f, "cancel"),
            Self::Drain(host) => write!(f, "drain{host}"),
            Self::Tick => write!(f, "tick"),
            Self::Cut(conn) => write!(f, "cut{conn}"),
            Self::Silence(conn) => write!(f, "silence{conn}"),
            Self::Crash(host) => write!(f, "crash{host}"),
            Self::KillChild(host) => write!(f, "kill{host}"),
            Self::Late => write!(f, "late"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a choice: {text}");
        let split = text.find(|c: char| c.is_ascii_digit());
        let (word, digits) = text.split_at(split.unwrap_or(text.len()));
        if let Some(digits) = digits.strip_suffix(['<', '>']) {
            let conn = digits.parse().map_err(|_| wrong())?;
            return Ok(Self::Deliver(conn, usize::from(text.ends_with('<'))));
        }
        let number = digits.parse().map_err(|_| wrong());
        Ok(match word {
            "dial" => Self::Dial(number?),
            "ready" => Self::Ready(number?),
            "finish" => Self::Finish(number?),
            "exit" => Self::Exit(number?),
            "restart" => Self::Restart(number?),
            "cancel" => Self::Cancel,
            "drain" => Self::Drain(number?),
            "tick" => Self::Tick,
            "cut" => Self::Cut(number?),
            "silence" => Self::Silence(number?),
            "crash" => Self::Crash(number?),
            "kill" => Self::KillChild(number?),
            "late" => Self::Late,
            _ => return Err(wrong()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for choice in [
            Choice::Deliver(12, 0),
            Choice::Deliver(3, 1),
            Choice::Dial(4),
            Choice::Ready(1),
            Choice::Finish(2),
            Choice::Exit(1),
            Choice::Restart(0),
            Choice::Cancel,
            Choice::Drain(0),
            Choice::Tick,
            Choice::Cut(1),
            Choice::Silence(2),
            Choice::Crash(3),
            Choice::KillChild(1),
            Choice::Late,
        ] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["", ">", "12", "tick>", "dial", "cut-1", "bogus3"] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }
}
