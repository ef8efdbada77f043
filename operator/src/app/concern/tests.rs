use std::collections::HashMap;

use sluice_crds::kafka_cluster::{KafkaCluster, KafkaClusterSpec};
use sluice_crds::topic_route::{ClusterRef, Phase, TopicRoute, TopicRouteSpec, TopicRouteStatus};
use sluice_mesh::name::{ClusterName, ProxyName};
use sluice_mesh::report::Report;
use sluice_mesh::view::{ClusterView, TopicView};
use uuid::Uuid;

use super::*;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn only(topics: &[&str]) -> Concern {
    Concern::Only(topics.iter().map(|name| topic(name)).collect())
}

fn written(routes: &[(&str, &str, &str)]) -> Resources {
    let mut resources = Resources::default();
    let east = KafkaCluster::new("east", KafkaClusterSpec::default());
    resources.clusters.insert("east".to_owned(), Arc::new(Resource { object: east, refused: None }));
    for (name, topic, to) in routes {
        let spec = TopicRouteSpec {
            topic: (*topic).to_owned(),
            cluster_ref: ClusterRef { name: (*to).to_owned() },
            ..TopicRouteSpec::default()
        };
        let object = TopicRoute::new(name, spec);
        resources.routes.insert((*name).to_owned(), Arc::new(Resource { object, refused: None }));
    }
    resources
}

#[test]
fn a_route_concerns_its_topic_and_a_cluster_all() {
    let before = written(&[("a", "orders", "west"), ("b", "bills", "west")]);
    assert_eq!(resources(&before, &before), only(&[]));
    assert_eq!(resources(&before, &written(&[("a", "orders", "east"), ("b", "bills", "west")])), only(&["orders"]));
    // A route that was made, and one that went away; and one that names another topic now concerns both.
    let other = written(&[("a", "orders", "west"), ("c", "carts", "west")]);
    assert_eq!(resources(&before, &other), only(&["bills", "carts"]));
    let renamed = written(&[("a", "returns", "west"), ("b", "bills", "west")]);
    assert_eq!(resources(&before, &renamed), only(&["orders", "returns"]));

    let mut more = before.clone();
    let west = KafkaCluster::new("west", KafkaClusterSpec::default());
    more.clusters.insert("west".to_owned(), Arc::new(Resource { object: west, refused: None }));
    assert_eq!(resources(&before, &more), Concern::All);
    let mut changed = before.clone();
    Arc::make_mut(changed.clusters.get_mut("east").unwrap()).object.spec.home = Some(true);
    assert_eq!(resources(&before, &changed), Concern::All);
}

#[test]
fn a_status_concerns_nobody_and_a_refusal_does() {
    let before = written(&[("a", "orders", "west")]);
    let mut told = before.clone();
    let route = Arc::make_mut(told.routes.get_mut("a").unwrap());
    route.object.status = Some(TopicRouteStatus { phase: Some(Phase::Completed), ..TopicRouteStatus::default() });
    assert_eq!(resources(&before, &told), only(&[]));
    Arc::make_mut(told.routes.get_mut("a").unwrap()).refused = Some("no".to_owned());
    assert_eq!(resources(&before, &told), only(&["orders"]));
}

fn looked(topics: &[(&str, u128)], failure: Option<&str>) -> Observations {
    let view = |id| Arc::new(TopicView { id: Uuid::from_u128(id), internal: false, partitions: Vec::new() });
    let topics: HashMap<_, _> = topics.iter().map(|(name, id)| ((*name).to_owned(), view(*id))).collect();
    let view = Arc::new(ClusterView { topics, ..ClusterView::default() });
    let seen = Some(Arc::new(Observed { view, kafka_version: None, kraft: true }));
    let observation = Observation { seen, failure: failure.map(str::to_owned), looks: 1 };
    Observations::from([(ClusterName::new("east").unwrap(), observation)])
}

#[test]
fn a_look_concerns_the_topics_that_look_different() {
    let before = looked(&[("orders", 1), ("bills", 2)], None);
    assert_eq!(observations(&before, &before), only(&[]));
    assert_eq!(observations(&before, &looked(&[("orders", 1), ("bills", 2)], None)), only(&[]));
    assert_eq!(
        observations(&before, &looked(&[("orders", 3), ("carts", 4)], None)),
        only(&["bills", "carts", "orders"])
    );
    assert_eq!(observations(&before, &looked(&[("orders", 1), ("bills", 2)], Some("away"))), Concern::All);
    assert_eq!(observations(&Observations::new(), &before), Concern::All);
    let mut unseen = before.clone();
    for observation in unseen.values_mut() {
        observation.seen = None;
    }
    assert_eq!(observations(&unseen, &before), Concern::All);
}

fn reported(revisions: &[(&str, u64)], renewed_at: i64) -> Reports {
    let report = |(name, revision): &(&str, u64)| {
        let proxy = ProxyName::new(name).unwrap();
        let report = Report {
            proxy: proxy.clone(),
            incarnation: "1".into(),
            host: "127.0.1.1".into(),
            bootstrap_port: 9092,
            port_base: 9100,
            broker_hosts: vec![],
            revision: *revision,
            drained: 0,
            rejected: None,
            renewed_at,
            version: "0".into(),
        };
        (proxy, report)
    };
    revisions.iter().map(report).collect()
}

#[test]
fn a_report_concerns_topics_whose_revision_it_passes() {
    let now = 1_000_000;
    let before = heard(&reported(&[("a", 5), ("b", 5)], now), now);
    let next = heard(&reported(&[("a", 7), ("b", 5)], now), now);
    let concerned = reports(&before, &next).unwrap();
    assert_eq!([0, 4, 5, 6, 7, 8].map(&concerned), [false, false, false, true, true, false]);
    // A proxy that begins anew has applied nothing.
    let fallen = heard(&reported(&[("a", 0), ("b", 5)], now), now);
    let concerned = reports(&before, &fallen).unwrap();
    assert_eq!([0, 1, 5, 6].map(&concerned), [false, true, true, false]);
}

#[test]
fn proxies_that_come_go_or_refuse_concern_all() {
    let now = 1_000_000;
    let before = reported(&[("a", 5)], now);
    let all = |other: &Reports, later: i64| reports(&heard(&before, now), &heard(other, later)).is_none();
    assert!(!all(&before, now));
    assert!(all(&reported(&[("a", 5), ("b", 5)], now), now));
    assert!(all(&reported(&[("b", 5)], now), now));
    // Nothing came, and the report grew old.
    assert!(all(&before, now + 60_000));
    let mut refusing = before.clone();
    let rejected = sluice_mesh::report::Rejected { revision: 6, reason: "no".into() };
    for report in refusing.values_mut() {
        report.rejected = Some(rejected.clone());
    }
    assert!(all(&refusing, now));
    let known = heard(&refusing, now);
    for report in refusing.values_mut() {
        report.rejected.as_mut().unwrap().revision = 7;
    }
    assert!(reports(&known, &heard(&refusing, now)).is_none(), "it refuses the next one as well");
}
