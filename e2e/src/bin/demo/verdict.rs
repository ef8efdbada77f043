//! The end of the demo, in tables for people.

use std::path::PathBuf;

use sluice_e2e::history::{Anomaly, Verdict};
use sluice_e2e::load::{Finished, MoveReport};
use sluice_e2e::measure::{Pauses, Spread};

use crate::report::HotLoadReport;

/// The verdict's rows: name, the anomalies that count to it.
const ROWS: [(&str, &[Anomaly]); 9] = [
    ("lost", &[Anomaly::LostWrite, Anomaly::Unseen]),
    ("duplicated", &[Anomaly::Duplicate]),
    ("out of order", &[Anomaly::OutOfOrder, Anomaly::LateOffset, Anomaly::ReadBackwards]),
    (
        "offset breaks",
        &[
            Anomaly::OffsetBreak,
            Anomaly::Hole,
            Anomaly::ReadSkip,
            Anomaly::InconsistentOffset,
            Anomaly::SplitBrain,
            Anomaly::GhostWrite,
            Anomaly::UnknownValue,
        ],
    ),
    ("watermarks, epochs fell", &[Anomaly::WatermarkRegress, Anomaly::EpochRegress]),
    ("group positions wrong", &[Anomaly::CommitTooFar, Anomaly::GroupDrift, Anomaly::GroupSkip, Anomaly::GroupRewind]),
    ("clients in trouble", &[Anomaly::ProducerState, Anomaly::FatalError]),
    ("stuck", &[Anomaly::Stuck]),
    ("figures not to be seen", &[Anomaly::Unwatched]),
];

fn row(name: &str, value: impl std::fmt::Display) {
    println!("  {name:<26} {value:>10}");
}

pub(crate) fn print_verdict(finished: &Finished, moves: &[MoveReport], panics: &[(PathBuf, String)]) {
    let verdict = &finished.verdict;
    println!("\nVerdict");
    row("records sent", verdict.sent);
    row("acknowledged", verdict.acknowledged);
    row("read", verdict.read);
    for (name, anomalies) in ROWS {
        row(name, sum(verdict, anomalies));
    }
    if !moves.is_empty() {
        print_moves(moves);
    }
    if !verdict.is_good() {
        println!("\n{verdict}");
    }
    for error in &finished.errors {
        println!("  client: {error}");
    }
    for (file, line) in panics {
        println!("  {}: {line}", file.display());
    }
}

/// Single moves are listed up to this many; beyond it only how they spread.
const LISTED: usize = 20;

fn print_moves(moves: &[MoveReport]) {
    println!("\nMoves (milliseconds; the client's gap is the longest time without an acknowledgement on a partition)");
    println!(
        "  {:<16} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}   {:>10} {:>10}",
        "", "total", "pause", "fence", "seal", "record", "switch", "own", "gap median", "gap worst"
    );
    for report in moves.iter().take(LISTED) {
        let part = |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let parts = report.parts_millis;
        println!(
            "  {:<16} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}   {:>10.1} {:>10.1}",
            format!("{} -> {}", report.from, report.to),
            report.total_millis,
            part(report.pause_millis),
            part(parts.map(|p| p[0])),
            part(parts.map(|p| p[1])),
            part(parts.map(|p| p[2])),
            part(parts.map(|p| p[3])),
            report.client_millis.map_or_else(|| "?".to_owned(), |own| format!("{own:.0}")),
            report.client_gap_median_millis,
            report.client_gap_worst_millis,
        );
    }
    println!();
    spread_header();
    for (name, figure) in Pauses::of(moves).rows() {
        match figure {
            Some(figure) => spread_row(name, figure),
            None => println!("  {name:<28} unknown"),
        }
    }
}

pub(crate) fn print_hot_loads(found: &HotLoadReport, what: &str) {
    let kubectl = "the start of kubectl apply";
    for (what, when, found) in [
        (what, "before the load", found.idle),
        (what, "under load", found.under_load),
        (kubectl, "under load", found.by_kubectl),
    ] {
        let Some(found) = found else { continue };
        println!("\nFrom {what} to the last proxy that serves by it, {when}");
        spread_header();
        for (name, figure) in found.rows() {
            spread_row(name, figure);
        }
    }
}

fn spread_header() {
    println!("  {:<28} {:>9} {:>9} {:>9}   samples", "milliseconds", "median", "worst", "best");
}

fn spread_row(name: &str, figure: Spread) {
    let Spread { samples, median, worst, best } = figure;
    println!("  {name:<28} {median:>9.1} {worst:>9.1} {best:>9.1}   {samples:>7}");
}

fn sum(verdict: &Verdict, anomalies: &[Anomaly]) -> u64 {
    anomalies.iter().map(|anomaly| verdict.count(*anomaly)).sum()
}
