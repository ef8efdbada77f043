use super::*;
use crate::testing::document;

fn text(revision: u64) -> String {
    String::from_utf8(document(revision).to_json_pretty()).unwrap()
}

fn found(writer: &str, content: impl Into<String>) -> Found {
    Found { version: Some("1".into()), writer: Some(writer.into()), content: Some(content.into()) }
}

#[test]
fn a_hand_is_put_right_and_a_later_leader_is_given_way_to() {
    let ours = text(7);
    let verdict = |found: &Found| judge(found, &ours, 7, "me");
    assert_eq!(verdict(&found("me", text(7))), Verdict::Done, "written by a try that was never answered");
    assert_eq!(verdict(&found("me", text(6))), Verdict::Overwrite);
    assert_eq!(verdict(&found("me", text(9))), Verdict::Overwrite, "no other process says it wrote this");
    assert_eq!(verdict(&found("before", text(6))), Verdict::Overwrite);
    assert_eq!(verdict(&found("after", text(8))), Verdict::NotLeader("after".into()));
    assert_eq!(verdict(&found("after", text(7))), Verdict::NotLeader("after".into()));
    // A digest that is wrong is believed by nobody.
    assert_eq!(verdict(&found("after", text(8).replace("east", "west"))), Verdict::Overwrite);
    assert_eq!(verdict(&found("after", "no json")), Verdict::Overwrite);
    assert_eq!(verdict(&Found { version: None, writer: None, content: None }), Verdict::Overwrite);
    let sharded = format!(
        r#"{{"formatVersion": 1, "revision": 8, "shards": [{{"digest": "{}", "bytes": 5}}]}}"#,
        "ab".repeat(32)
    );
    assert_eq!(verdict(&found("after", sharded.clone())), Verdict::NotLeader("after".into()));
    assert_eq!(judge(&found("after", sharded), &ours, 9, "me"), Verdict::Overwrite);
}

fn index(content: &str, version: u64) -> ConfigMap {
    index_object(content.to_owned(), Some(version.to_string()), "me")
}

fn shard(text: &str) -> (Shard, ConfigMap) {
    let shard = Shard::new(text.as_bytes().to_vec());
    let object = shard_object(&shard);
    (shard, object)
}

#[test]
fn what_was_written_is_whole_until_somebody_touches_it() {
    let mut shelf = Shelf::default();
    let (a, a_object) = shard("a");
    shelf.take(Change::All(vec![]));
    assert!(!shelf.is_whole());
    shelf.note_shard(a.name());
    shelf.note_index(Some("5".into()), "index", [a.name()].into());
    assert!(shelf.is_whole());
    shelf.take(Change::Applied(index("before", 4)));
    assert!(shelf.is_whole(), "late news");
    shelf.take(Change::Applied(index("index", 5)));
    assert!(shelf.is_whole());
    shelf.take(Change::Applied(index("by hand", 6)));
    assert!(!shelf.is_whole());
    assert_eq!(shelf.version(), Some("6"));
    shelf.note_index(Some("7".into()), "index", [a.name()].into());
    shelf.take(Change::Deleted(index("by hand", 6)));
    assert!(shelf.is_whole(), "late news");
    shelf.take(Change::Deleted(index("index", 8)));
    assert!(!shelf.is_whole());
    assert_eq!(shelf.version(), None);
    shelf.note_index(Some("9".into()), "index", [a.name()].into());
    shelf.take(Change::Deleted(a_object.clone()));
    assert!(!shelf.is_whole());
    shelf.take(Change::Applied(a_object.clone()));
    assert!(shelf.is_whole());
    let mut other = a_object.clone();
    other.data = Some([(SHARD_KEY.to_owned(), "b".to_owned())].into());
    assert_eq!(shard_text(&other), None);
    shelf.take(Change::Applied(other));
    assert!(!shelf.is_whole());
    // A list again, after the server was wiped.
    shelf.take(Change::All(vec![index("index", 1), a_object]));
    assert!(shelf.is_whole());
    shelf.take(Change::All(vec![]));
    assert!(!shelf.is_whole());
}

#[test]
fn shards_go_when_no_index_of_late_names_them() {
    let (start, minute) = (Instant::now(), Duration::from_mins(1));
    let mut shelf = Shelf::default();
    let shards: Vec<(Shard, ConfigMap)> = ["a", "b", "c", "d"].iter().map(|text| shard(text)).collect();
    let name = |at: usize| shards[at].0.name();
    let objects = shards.iter().map(|(_, object)| object.clone());
    shelf.take(Change::All(objects.chain([index("0", 1)]).collect()));
    assert!(shelf.unneeded(start + minute * 5).is_empty(), "nothing was written by this process yet");
    for at in 0..4 {
        let version = (at + 2).to_string();
        shelf.note_index(Some(version.clone()), &at.to_string(), [name(at)].into());
        // The same again changes nothing.
        shelf.note_index(Some(version), &at.to_string(), [name(at)].into());
    }
    assert!(shelf.unneeded(start).is_empty());
    assert_eq!(shelf.unneeded(start + minute), [name(0)]);
    shelf.take(Change::Deleted(shards[0].1.clone()));
    assert!(shelf.unneeded(start + minute * 2).is_empty());
    // Another leader's index is there: what it needs is not known.
    shelf.note_index(Some("8".into()), "x", BTreeSet::new());
    assert!(shelf.unneeded(start + minute * 3).is_empty());
    shelf.take(Change::Applied(index("another's", 9)));
    assert!(shelf.unneeded(start + minute * 9).is_empty());
}
