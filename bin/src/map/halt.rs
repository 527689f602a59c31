//! When `map` gives up because items fail.

use std::str::FromStr;

use crate::units::BadValue;

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HaltMode {
    /// Start nothing more; let what runs finish.
    Soon,
    /// Cancel what runs.
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threshold {
    Failures(u64),
    /// Of those that ended, once [`FAILURES_MIN`] failed.
    Percent(u64),
}

/// A share says little about few items.
const FAILURES_MIN: u64 = 3;

/// `never`, or `soon` or `now` at a number or share of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Halt(Option<(HaltMode, Threshold)>);

impl Halt {
    /// Whether to stop, and how.
    pub(crate) fn judge(self, failed: u64, ended: u64) -> Option<HaltMode> {
        let (mode, threshold) = self.0?;
        let reached = match threshold {
            Threshold::Failures(failures) => failed >= failures,
            Threshold::Percent(percent) => {
                failed >= FAILURES_MIN
                    && u128::from(failed) * 100 >= u128::from(percent) * u128::from(ended)
            }
        };
        reached.then_some(mode)
    }
}

impl FromStr for Halt {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let wrong = || {
            let problem = "is not a rule to halt by; use never, soon or now, \
                           or soon,fail=3 or now,fail=10%";
            BadValue::new(text, problem)
        };
        let (mode, threshold) = match text.split_once(',') {
            None => (text, Threshold::Failures(1)),
            Some((mode, rule)) => {
                let count = rule.strip_prefix("fail=").ok_or_else(wrong)?;
                let (number, percent) = match count.strip_suffix('%') {
                    Some(number) => (number, true),
                    None => (count, false),
                };
                let number: u64 = number.parse().map_err(|_| wrong())?;
                if number == 0 || (percent && number > 100) {
                    return Err(wrong());
                }
                let threshold = if percent {
                    Threshold::Percent(number)
                } else {
                    Threshold::Failures(number)
                };
                (mode, threshold)
            }
        };
        match mode {
            "never" if !text.contains(',') => Ok(Self(None)),
            "soon" => Ok(Self(Some((HaltMode::Soon, threshold)))),
            "now" => Ok(Self(Some((HaltMode::Now, threshold)))),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rule: &str, failed: u64, ended: u64) -> Option<HaltMode> {
        rule.parse::<Halt>().unwrap().judge(failed, ended)
    }

    #[test]
    fn rules_by_number() {
        assert_eq!(judge("never", 100, 100), None);
        assert_eq!(judge("soon", 0, 50), None);
        assert_eq!(judge("soon", 1, 50), Some(HaltMode::Soon));
        assert_eq!(judge("now,fail=3", 2, 50), None);
        assert_eq!(judge("now,fail=3", 3, 50), Some(HaltMode::Now));
    }

    #[test]
    fn rules_by_share_wait_for_three_failures() {
        assert_eq!(judge("soon,fail=10%", 2, 2), None);
        assert_eq!(judge("soon,fail=10%", 3, 31), None);
        assert_eq!(judge("soon,fail=10%", 3, 30), Some(HaltMode::Soon));
    }

    #[test]
    fn other_rules_are_refused_with_an_example() {
        for rule in [
            "",
            "later",
            "now,",
            "now,fail",
            "now,fail=0",
            "soon,fail=101%",
            "never,fail=1",
        ] {
            let error = rule.parse::<Halt>().unwrap_err().to_string();
            assert!(error.contains("now,fail=10%"), "{error}");
        }
    }
}
