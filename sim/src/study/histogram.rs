//! Percentiles in bounded memory.

/// Buckets in each power of two: a value is off by less than one part in so many.
const FINE: u64 = 64;

/// How many values there are of which size. Small ones are exact, others to 1.6%; the mean and the
/// most are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    sum: u128,
    most: u64,
}

fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let shift = value.ilog2() - FINE.ilog2();
    (u64::from(shift) * FINE + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    let start = u128::from(bucket - shift * FINE + 1) << shift;
    u64::try_from(start - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.count += 1;
        self.sum += u128::from(value);
        self.most = self.most.max(value);
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.most = self.most.max(other.most);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean; 0 of none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        let mean = self.sum.checked_div(u128::from(self.count));
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
        let wanted = (self.count * thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return top(bucket).min(self.most);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, top};

    #[test]
    fn buckets_follow_one_another_without_gaps() {
        let mut last = 0;
        for index in 1..2_000 {
            assert_eq!(bucket(last), index - 1);
            assert_eq!(bucket(last + 1), index, "after {last}");
            last = top(index);
        }
        assert_eq!(top(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_are_right_to_a_sixtieth() {
        let mut values = Histogram::default();
        assert_eq!((values.percentile(500), values.mean()), (0, 0));
        for value in 1..=100_000u64 {
            values.add(value * 1_000);
        }
        for thousandths in [1, 10, 500, 900, 990, 999] {
            let (is, should) = (values.percentile(thousandths), thousandths * 100_000);
            assert!(is >= should && is <= should + should / 60, "{is} {should}");
        }
        assert_eq!(values.percentile(1_000), 100_000_000);
        assert_eq!(values.mean(), 50_000_500);
    }
}
