use super::*;

fn report() -> Report {
    Report {
        proxy: ProxyName::new("node-1").unwrap(),
        incarnation: "a".to_owned(),
        host: "127.0.1.1".to_owned(),
        bootstrap_port: 9092,
        port_base: 9100,
        broker_hosts: vec!["127.0.1.1".to_owned()],
        revision: 5,
        drained: 4,
        rejected: Some(Rejected { revision: 6, reason: "newer".to_owned() }),
        renewed_at: 100_000,
        version: "0.1.0".to_owned(),
    }
}

#[test]
fn is_read_back_equal() {
    assert_eq!(Report::parse(&report().to_json_pretty()).unwrap(), report());
    assert!(matches!(Report::parse(b"{}"), Err(ReportError::Shape(_))));
    assert!(matches!(Report::parse(&vec![b' '; MAX_REPORT_BYTES + 1]), Err(ReportError::TooLarge(_))));
}

#[test]
fn is_live_for_ten_seconds_and_desired_for_thirty_more() {
    let live = |now| (report().is_live(now), report().is_desired(now));
    assert_eq!(live(100_000), (true, true));
    assert_eq!(live(110_000), (true, true));
    assert_eq!(live(110_001), (false, true));
    assert_eq!(live(140_000), (false, true));
    assert_eq!(live(140_001), (false, false));
    // From the future: a clock was set back.
    assert_eq!(live(0), (false, false));
    assert_eq!(live(i64::MIN), (false, false));
}

#[test]
fn drained_needs_both_numbers() {
    assert!(report().has_applied(5) && !report().has_applied(6));
    assert!(report().has_drained(4) && !report().has_drained(5));
    let ahead = Report { revision: 3, drained: 9, ..report() };
    assert!(!ahead.has_drained(4));
}
