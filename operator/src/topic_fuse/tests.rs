use sluice_crds::condition::{ConditionType, is_true};
use sluice_mesh::name::ProxyName;

use super::*;
use crate::store::Resources;
use crate::testing::{document, fuses};

const BLOCKED: &str = "{topic: orders, produce: {state: Blocked}}";

/// A mesh whose one proxy has applied some revision.
struct Mesh {
    fuses: Fuses,
    document: Document,
    proxy_at: u64,
}

impl Mesh {
    fn new() -> Self {
        Self { fuses: Fuses::default(), document: document(5), proxy_at: 5 }
    }

    /// Publishes what the resources ask for, if that is something else.
    fn publish(&mut self, resources: &Resources) -> &mut Self {
        let fuses = validate::entries(&validate::asked(resources));
        if self.document.fuses != fuses {
            self.document = Document { fuses, revision: self.document.revision + 1, ..self.document.clone() };
        }
        self
    }

    fn look(&mut self, resources: &Resources) -> Told {
        let proxy = vec![ProxyName::new("n1").unwrap()];
        let proxy_at = self.proxy_at;
        let applied = |revision| {
            let (done, stale) = if proxy_at >= revision { (proxy.clone(), vec![]) } else { (vec![], proxy.clone()) };
            Applied { live: proxy.clone(), done, stale, desired: 1, ..Applied::default() }
        };
        self.fuses.look(
            &validate::asked(resources),
            &Seen {
                document: Some(&self.document),
                publish_trouble: None,
                applied: &applied,
                now: Timestamp::UNIX_EPOCH,
            },
        )
    }

    /// `reason of name`, for each event.
    fn events(&mut self, resources: &Resources) -> Vec<String> {
        let row = |event: Event| {
            assert_eq!(event.kind, Kind::TopicFuse);
            format!("{} of {}", event.reason, event.name)
        };
        self.look(resources).events.into_iter().map(row).collect()
    }
}

/// The same resources with statuses as a store shows them later.
fn stored(mut resources: Resources, told: &Told) -> Resources {
    for (name, status) in &told.statuses {
        std::sync::Arc::make_mut(resources.fuses.get_mut(name).unwrap()).object.status = Some(status.clone());
    }
    resources
}

#[test]
fn a_status_counts_proxies_from_the_revision_that_brought_the_change() {
    let mut mesh = Mesh::new();
    let resources = fuses(&[("stop", 1, BLOCKED)]);
    let told = mesh.publish(&resources).look(&resources);
    assert_eq!(told.statuses[0].1.revision, Some(6));
    assert!(!is_true(&told.statuses[0].1.conditions, ConditionType::Ready));
    mesh.proxy_at = 6;
    // A move of some topic brings other revisions: nothing of the fuse is waited for again.
    mesh.document.revision = 20;
    let told = mesh.look(&resources);
    assert_eq!(told.statuses[0].1.revision, Some(6));
    assert!(is_true(&told.statuses[0].1.conditions, ConditionType::Ready));
    // Another action is another entry.
    let reject = fuses(&[("stop", 1, "{topic: orders, produce: {state: Blocked, action: Reject}}")]);
    let told = mesh.publish(&reject).look(&reject);
    assert_eq!(told.statuses[0].1.revision, Some(21));
    assert!(!is_true(&told.statuses[0].1.conditions, ConditionType::Ready));
    assert_eq!(told.events, []);
}

#[test]
fn what_was_told_is_not_told_again_by_a_store_that_shows_it_late_nor_by_the_next_operator() {
    let mut mesh = Mesh::new();
    let resources = fuses(&[("stop", 1, BLOCKED)]);
    let told = mesh.publish(&resources).look(&resources);
    assert_eq!(told.events.len(), 1);
    assert_eq!(mesh.events(&resources), Vec::<String>::new(), "the store shows no status yet");
    mesh.fuses = Fuses::default();
    let resources = stored(resources, &told);
    assert_eq!(mesh.events(&resources), Vec::<String>::new(), "the next operator");
    // Closed by its author while no operator was there.
    let mut closed = fuses(&[("stop", 1, "{topic: orders, produce: {state: Disabled}}")]);
    closed = stored(closed, &told);
    mesh.fuses = Fuses::default();
    assert_eq!(mesh.publish(&closed).events(&closed), ["Closed of stop"]);
}

#[test]
fn a_deleted_fuse_has_closed_when_the_document_is_without_it() {
    let mut mesh = Mesh::new();
    let resources = fuses(&[("idle", 1, "{topic: carts, consume: {state: Disabled}}"), ("stop", 1, BLOCKED)]);
    assert_eq!(mesh.publish(&resources).events(&resources), ["Tripped of stop"]);
    let none = Resources::default();
    assert_eq!(mesh.events(&none), Vec::<String>::new(), "the document still has it");
    assert_eq!(mesh.publish(&none).events(&none), ["Closed of stop"]);
    assert_eq!(mesh.events(&none), Vec::<String>::new());
}

#[test]
fn when_the_winner_goes_the_next_one_trips() {
    let mut mesh = Mesh::new();
    let both = fuses(&[("a", 1, BLOCKED), ("b", 2, "{topic: orders, consume: {state: Blocked}}")]);
    assert_eq!(mesh.publish(&both).events(&both), ["Tripped of a", "Conflicted of b"]);
    let mut rest = both;
    rest.fuses.remove("a");
    let told = mesh.publish(&rest).look(&rest);
    let reasons: Vec<_> = told.events.iter().map(|event| (event.name.as_str(), event.reason)).collect();
    assert_eq!(reasons, [("b", "Tripped"), ("a", "Closed")]);
    assert!(told.statuses[0].1.stops_consume());
    assert_eq!(tripped(&mesh.document), (0, 1));
}

#[test]
fn one_that_was_made_anew_under_its_name_begins_anew() {
    let mut mesh = Mesh::new();
    let resources = fuses(&[("stop", 1, BLOCKED)]);
    mesh.publish(&resources).look(&resources);
    let mut anew = fuses(&[("stop", 9, "{topic: carts, consume: {state: Blocked}}")]);
    std::sync::Arc::make_mut(anew.fuses.get_mut("stop").unwrap()).object.metadata.uid = Some("another".into());
    let told = mesh.publish(&anew).look(&anew);
    let status = &told.statuses[0].1;
    assert_eq!((status.stops_produce(), status.stops_consume()), (false, true));
    assert_eq!(told.events.len(), 1);
    assert!(told.events[0].message.contains("reads of topic carts"), "{:?}", told.events);
}
