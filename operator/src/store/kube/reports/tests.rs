use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

const WALL: i64 = 1_800_000_000_000;

fn lease(proxy: &str, version: u64, stamp: i64) -> Lease {
    let report = serde_json::json!({
        "proxy": proxy, "incarnation": "1", "host": "127.0.1.1", "bootstrapPort": 9092, "portBase": 9100,
        "brokerHosts": [], "revision": version, "drained": 0, "renewedAt": stamp, "version": "0",
    });
    Lease {
        metadata: ObjectMeta {
            name: Some(format!("{OBJECT_PREFIX}{proxy}")),
            resource_version: Some(version.to_string()),
            annotations: Some([(OBJECT_KEY.to_owned(), report.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The own Lease is seen to be renewed, and nothing else.
fn quiet(heard: &mut Heard, start: Instant, from: u64, to: u64) {
    for second in from..=to {
        let own = Lease {
            metadata: ObjectMeta { name: Some("sluice-operator".into()), ..ObjectMeta::default() },
            spec: None,
        };
        assert_eq!(heard.take(Change::Applied(own), start + seconds(second), WALL), []);
    }
}

fn live(heard: &mut Heard, now: Instant, wall: i64) -> Vec<String> {
    let shown = heard.shown(now, wall);
    shown.values().filter(|report| report.is_live(wall)).map(|report| report.proxy.to_string()).collect()
}

#[test]
fn a_proxy_with_a_wrong_clock_lives_as_long_as_it_renews() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    heard.take(Change::All(vec![lease("a", 1, 5)]), start, WALL);
    assert!(live(&mut heard, start, WALL).is_empty(), "nothing but its own clock is known yet");
    heard.take(Change::Applied(lease("a", 2, 3_005)), start + seconds(1), WALL + 1_000);
    quiet(&mut heard, start, 2, 11);
    assert_eq!(live(&mut heard, start + seconds(11), WALL + 11_000), ["a"]);
    quiet(&mut heard, start, 12, 12);
    assert!(live(&mut heard, start + seconds(12), WALL + 12_000).is_empty());
    let shown = heard.shown(start + seconds(12), WALL + 12_000);
    assert!(shown.values().next().unwrap().is_desired(WALL + 12_000));
}

#[test]
fn seeing_the_same_renewal_again_is_no_renewal() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    heard.take(Change::All(vec![lease("a", 1, WALL)]), start, WALL);
    quiet(&mut heard, start, 1, 11);
    heard.take(Change::All(vec![lease("a", 1, WALL)]), start + seconds(11), WALL + 11_000);
    // Touched by somebody, with the same report in it.
    heard.take(Change::Applied(lease("a", 1, WALL)), start + seconds(11), WALL + 11_000);
    assert!(live(&mut heard, start + seconds(11), WALL + 11_000).is_empty());
}

#[test]
fn an_outage_makes_nobody_older_and_gives_everybody_time_to_renew() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    heard.take(Change::All(vec![lease("a", 1, WALL), lease("dead", 1, WALL - 20_000)]), start, WALL);
    quiet(&mut heard, start, 1, 1);
    for second in (1..=40).step_by(3) {
        assert_eq!(live(&mut heard, start + seconds(second), WALL + 1_000 * i64::try_from(second).unwrap()), ["a"]);
    }
    // It answers again.
    quiet(&mut heard, start, 40, 40);
    assert_eq!(live(&mut heard, start + seconds(40), WALL + 40_000), ["a"]);
    let shown = heard.shown(start + seconds(40), WALL + 40_000);
    assert!(shown.values().all(|report| report.is_desired(WALL + 40_000)), "the dead one is as old as before");
    quiet(&mut heard, start, 41, 51);
    assert!(live(&mut heard, start + seconds(51), WALL + 51_000).is_empty(), "who did not renew is gone");
}

#[test]
fn a_lease_that_was_deleted_is_gone_and_one_that_a_wiped_server_lost_grows_old() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    heard.take(Change::All(vec![lease("a", 1, WALL), lease("b", 2, WALL)]), start, WALL);
    heard.take(Change::Deleted(lease("b", 3, WALL)), start, WALL);
    assert_eq!(live(&mut heard, start, WALL), ["a"]);
    heard.take(Change::All(vec![]), start, WALL);
    assert_eq!(live(&mut heard, start, WALL), ["a"]);
    quiet(&mut heard, start, 1, 41);
    assert!(heard.shown(start + seconds(41), WALL + 41_000).is_empty());
}

#[test]
fn the_stamp_stays_the_same_between_renewals_and_follows_a_wall_clock_that_jumps() {
    let start = Instant::now();
    let mut heard = Heard::new(start);
    heard.take(Change::All(vec![lease("a", 1, WALL)]), start, WALL);
    let first = heard.shown(start, WALL);
    quiet(&mut heard, start, 1, 1);
    assert_eq!(heard.shown(start + seconds(1), WALL + 1_003), first);
    assert_eq!(live(&mut heard, start + seconds(2), WALL + 3_600_000), ["a"]);
}

#[test]
fn what_is_no_report_does_not_count() {
    let mut other = lease("a", 1, WALL);
    other.metadata.name = Some("sluice-operator".into());
    assert_eq!(read(&other), Ok(None));
    other.metadata.name = Some("sluice-proxy-b".into());
    assert!(read(&other).unwrap_err().to_string().contains("proxy a"));
    other.metadata.annotations = None;
    assert!(read(&other).is_err());
    other.metadata.annotations = Some([(OBJECT_KEY.to_owned(), "{".to_owned())].into());
    let unfit = Heard::new(Instant::now()).take(Change::All(vec![other]), Instant::now(), WALL);
    assert_eq!(unfit[0].0, "sluice-proxy-b");
}
