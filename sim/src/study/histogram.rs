//! Percentiles in bounded memory.

use hdrhistogram::Histogram as Buckets;

/// Digits that are right: values are off by less than a hundredth.
const DIGITS: u8 = 2;

/// How many values there are of which size. The mean and the most are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    buckets: Buckets<u32>,
    sum: u128,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Buckets::new(DIGITS).expect("digits that it has"),
            sum: 0,
            most: 0,
        }
    }
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        self.buckets.record(value).expect("it grows");
        self.sum += u128::from(value);
        self.most = self.most.max(value);
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.add(&other.buckets).expect("it grows");
        self.sum += other.sum;
        self.most = self.most.max(other.most);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.len()
    }

    /// The mean; 0 of none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        let mean = self.sum.checked_div(u128::from(self.count()));
        mean.and_then(|mean| u64::try_from(mean).ok()).unwrap_or(0)
    }

    /// The largest; 0 of none.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The value that `thousandths` of all do not exceed; 0 of none.
    #[must_use]
    pub fn percentile(&self, thousandths: u64) -> u64 {
        let value = self.buckets.value_at_quantile(thousandths as f64 / 1e3);
        value.min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut values = Histogram::default();
        assert_eq!((values.percentile(500), values.mean()), (0, 0));
        for value in 1..=100_000u64 {
            values.add(value * 1_000);
        }
        for thousandths in [1, 10, 500, 900, 990, 999] {
            let (is, should) = (values.percentile(thousandths), thousandths * 100_000);
            assert!(is >= should && is <= should + should / 100, "{is} {should}");
        }
        assert_eq!(values.percentile(1_000), 100_000_000);
        assert_eq!(values.mean(), 50_000_500);
    }
}
