use serde_json::json;

use super::*;

fn document(revision: u64, exclude: &[&str]) -> Document {
    serde_json::from_value(json!({
        "formatVersion": 1, "revision": revision, "digest": "", "mesh": "default", "home": "east",
        "clusters": [{"name": "east", "clusterId": "x", "bootstrapServers": ["127.0.9.1:9092"], "tag": 1,
                      "nodeIdBase": 0, "exclude": exclude}],
        "proxies": [], "brokers": [], "topics": []
    }))
    .unwrap()
}

/// Shows one row after the other; the last one for ever.
struct Script {
    rows: Vec<(Option<Document>, Vec<u64>)>,
    place: usize,
}

impl Sight for Script {
    fn document(&mut self) -> Result<Option<Document>> {
        Ok(self.rows[self.place].0.take())
    }

    fn applied(&mut self) -> Result<Vec<u64>> {
        Ok(self.rows[self.place].1.clone())
    }

    fn wait(&mut self) {
        self.place = (self.place + 1).min(self.rows.len() - 1);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn has_x(document: &Document) -> bool {
    document.clusters[0].exclude.contains(&"x".to_owned())
}

fn time(rows: Vec<(Option<Document>, Vec<u64>)>) -> Result<HotLoad> {
    hot_load(&mut Script { rows, place: 0 }, || Ok(Instant::now()), has_x, Duration::from_millis(60))
}

#[test]
fn the_last_proxy_and_the_right_document_count() {
    let found = time(vec![
        (Some(document(4, &[])), vec![4, 4]),
        // Published for another reason, and applied by all.
        (Some(document(5, &[])), vec![5, 5]),
        (Some(document(6, &["x"])), vec![5, 5]),
        (None, vec![6, 5]),
        // One is further already.
        (None, vec![6, 7]),
    ])
    .unwrap();
    assert!(found.to_document >= Duration::from_millis(4), "{found:?}");
    assert!(found.to_proxies >= Duration::from_millis(4), "{found:?}");
    assert_eq!(found.total(), found.to_document + found.to_proxies);
}

#[test]
fn what_never_arrives_is_an_error() {
    let error = time(vec![(Some(document(4, &[])), vec![4]), (None, vec![9])]).unwrap_err().to_string();
    assert!(error.contains("no document has the change"), "{error}");
    let error = time(vec![(None, vec![4]), (Some(document(5, &["x"])), vec![5, 4])]).unwrap_err().to_string();
    assert!(error.contains("[5, 4]"), "{error}");
    let error = time(vec![(None, vec![]), (Some(document(5, &["x"])), vec![])]).unwrap_err().to_string();
    assert!(error.contains("revision 5"), "no proxy at all is no success: {error}");
    assert!(time(vec![(Some(document(4, &["x"])), vec![4])]).is_err(), "the change was there before");
}

#[test]
fn files_are_seen_when_they_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut sight = DirectorySight::new(folder.path(), ["node-1", "node-2"]);
    assert_eq!(sight.document().unwrap(), None);
    assert_eq!(sight.applied().unwrap(), [0, 0]);
    let write = |file: &str, text: &str| crate::write_by_rename(&folder.path().join(file), text).unwrap();
    let report = |name: &str, revision: u64| {
        let text = json!({
            "proxy": name, "incarnation": "a", "host": "127.0.9.1", "bootstrapPort": 9092, "portBase": 9100,
            "brokerHosts": [], "revision": revision, "drained": revision, "renewedAt": 0, "version": "1"
        });
        write(&format!("reports/{name}.json"), &text.to_string());
    };
    write("document.json", &serde_json::to_string(&document(3, &[])).unwrap());
    assert_eq!(sight.document().unwrap().map(|document| document.revision), Some(3));
    assert_eq!(sight.document().unwrap(), None, "seen before");
    report("node-1", 3);
    assert_eq!(sight.applied().unwrap(), [3, 0]);
    report("node-2", 3);
    report("node-1", 4);
    assert_eq!(sight.applied().unwrap(), [4, 3]);
    write("document.json", "{");
    assert!(sight.document().is_err());
}
