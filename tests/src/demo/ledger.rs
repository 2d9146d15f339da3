//! What the client was promised, and when: one line for each acknowledged write.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use stead_model::clock::{BootClock, Clock};
use stead_model::{Error, Result};

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

impl Ledger {
    /// Begins one.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| {
            Error::unavailable(format!("could not make {}", path.display())).because(error)
        })?;
        Ok(Self { file })
    }

    /// Notes that a write was acknowledged now.
    pub fn acknowledge(&mut self, number: u64) -> Result<()> {
        let line = format!("{number} {}\n", BootClock.now().as_micros());
        self.file.write_all(line.as_bytes()).map_err(|error| {
            Error::unavailable("could not note an acknowledged write").because(error)
        })
    }
}

/// An acknowledged write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The number of the write.
    pub number: u64,
    /// When, by the clock that all processes of the machine share.
    pub at: Duration,
}

/// What a ledger says by now; a line that is being written is left out.
pub fn read(path: &Path) -> Result<Vec<Acknowledged>> {
    let failed = || Error::unavailable(format!("could not read {}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed().because(error))?;
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .map(|line| {
            let (number, at) = line.split_once(' ')?;
            let at = Duration::from_micros(at.parse().ok()?);
            Some(Acknowledged { number: number.parse().ok()?, at })
        })
        .collect::<Option<_>>()
        .ok_or_else(failed)
}

/// The longest time without an acknowledged write that overlaps a span.
pub fn longest_gap(writes: &[Acknowledged], from: Duration, to: Duration) -> Duration {
    let gaps = writes.windows(2).map(|pair| (pair[0].at, pair[1].at));
    let overlapping = gaps.filter(|(start, end)| *end >= from && *start <= to);
    overlapping.map(|(start, end)| end.saturating_sub(start)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Acknowledged {
        Acknowledged { number: millis, at: Duration::from_millis(millis) }
    }

    #[test]
    fn the_longest_gap_of_a_span_may_begin_before_it() {
        let writes = [at(0), at(10), at(500), at(510), at(2000)];
        let gap = |from, to| {
            longest_gap(&writes, Duration::from_millis(from), Duration::from_millis(to)).as_millis()
        };
        assert_eq!(gap(100, 200), 490);
        assert_eq!(gap(0, 5000), 1490);
        assert_eq!(gap(5000, 6000), 0);
    }

    #[test]
    fn a_line_that_is_being_written_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        Ledger::create(&path).unwrap().acknowledge(7).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"8 12").unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.iter().map(|write| write.number).collect::<Vec<_>>(), [7]);
    }
}
