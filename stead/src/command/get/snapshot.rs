//! Snapshots.

use std::time::UNIX_EPOCH;

use serde::Serialize;
use stead_model::name::{Bytes, GroupSnapshotId, SnapshotId, VolumeId};
use stead_model::record::{Phase, Record, Snapshot};
use stead_model::registry::Registry;

use super::row::{Row, object, or_nothing, size};
use super::volume::phase;
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) =
    (&["SNAPSHOT", "VOLUME", "SIZE", "PHASE", "TAKEN-AT"], &["NAME", "GROUP"]);

/// The records that it is made of.
pub(super) const RECORDS: &[&str] = &[Snapshot::KIND];

#[derive(Serialize)]
struct View<'r> {
    snapshot: &'r SnapshotId,
    name: &'r str,
    phase: Phase,
    volume: &'r VolumeId,
    size_bytes: Bytes,
    taken_at: Option<String>,
    group: Option<&'r GroupSnapshotId>,
}

/// Every snapshot.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    registry.list_all::<Snapshot>().await?.iter().map(|snapshot| row(snapshot)).collect()
}

fn row(snapshot: &Snapshot) -> Result<Row, Failure> {
    let seconds = snapshot.taken_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let taken_at = seconds.map(|since| utc(since.as_secs()));
    let view = View {
        snapshot: &snapshot.id,
        name: &snapshot.name,
        phase: snapshot.phase,
        volume: &snapshot.volume,
        size_bytes: snapshot.size,
        taken_at: taken_at.clone(),
        group: snapshot.group.as_ref(),
    };
    Ok(Row {
        cluster: None,
        name: snapshot.id.to_string(),
        narrow: vec![
            snapshot.id.to_string(),
            snapshot.volume.to_string(),
            size(snapshot.size.0),
            phase(snapshot.phase).to_owned(),
            or_nothing(taken_at),
        ],
        more: vec![snapshot.name.clone(), or_nothing(snapshot.group.as_ref())],
        object: object(&view)?,
    })
}

/// Seconds since 1970 as RFC 3339 writes them. The calendar repeats every 400 years, which have
/// 146 097 days; counting from 1 March puts the leap day at the end of a year.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_does() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(utc(4_102_444_800), "2100-01-01T00:00:00Z");
    }
}
