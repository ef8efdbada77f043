use proptest::prelude::*;

use super::*;
use crate::fixture::{document, entry, fuse};

#[test]
fn a_sealed_document_is_read_back_equal() {
    let sealed = document().seal();
    assert_eq!(sealed.digest.len(), 64);
    assert!(sealed.verify_digest());
    assert_eq!(Document::parse(&sealed.to_json()).unwrap(), sealed);
    assert_eq!(Document::parse(&sealed.to_json_pretty()).unwrap(), sealed);
    assert_eq!(sealed.clone().seal(), sealed);
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_keys() {
    let one: Value = serde_json::from_str(r#"{"b":{"y":1,"x":[1,"\n"]},"a":2,"digest":"1"}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"digest":"2","a":2,"b":{"x":[1,"\n"],"y":1}}"#).unwrap();
    assert_eq!(digest_of(one.clone()), digest_of(two));
    let mut canonical = String::new();
    write_canonical(&one, &mut canonical);
    assert_eq!(canonical, r#"{"a":2,"b":{"x":[1,"\n"],"y":1},"digest":"1"}"#);
}

#[test]
fn a_change_by_hand_is_refused() {
    let mut changed = document().seal();
    changed.topics.push(entry("smuggled", "west"));
    assert!(!changed.verify_digest());
    let refused = Document::parse(&changed.to_json()).unwrap_err();
    assert!(matches!(refused, DocumentError::Digest { revision: 7 }), "{refused}");
    assert_eq!(refused.revision(), 7);
}

#[test]
fn a_newer_format_is_named_as_such() {
    let newer = br#"{"formatVersion": 2, "everything": "else differs"}"#;
    assert!(matches!(Document::parse(newer), Err(DocumentError::NewerFormat { found: 2 })));
    assert!(matches!(Document::parse(b"{}"), Err(DocumentError::NoFormat)));
    assert!(matches!(Document::parse(b"{\"formatVersion\": 1}"), Err(DocumentError::Shape(_))));
    let sealed = document().seal().to_json();
    assert!(matches!(Document::parse(&sealed[..sealed.len() / 2]), Err(DocumentError::NotJson(_))));
    assert!(matches!(Document::parse(&[b"[".repeat(100_000)].concat()), Err(DocumentError::NotJson(_))));
}

#[test]
fn unknown_fields_are_ignored_but_covered_by_the_digest() {
    let mut value = to_value(&document());
    value["resets"] = serde_json::json!([{"group": "billing"}]);
    value["digest"] = Value::String(digest_of(value.clone()));
    let read = Document::parse(value.to_string().as_bytes()).unwrap();
    assert_eq!(read.topics, document().topics);
    value["resets"] = serde_json::json!([]);
    assert!(matches!(Document::parse(value.to_string().as_bytes()), Err(DocumentError::Digest { .. })));
}

#[test]
fn a_fuse_is_read_back_as_it_was_written() {
    let mut tripped = document();
    tripped.fuses = vec![
        fuse("orders", Some(FuseAction::Hold), false),
        fuse("payments", Some(FuseAction::Reject), true),
        fuse("refunds", None, true),
    ];
    let tripped = tripped.seal();
    let expected = serde_json::json!([
        {"topic": "orders", "name": "stop-orders", "produce": "hold"},
        {"topic": "payments", "name": "stop-payments", "produce": "reject", "consume": true},
        {"topic": "refunds", "name": "stop-refunds", "consume": true},
    ]);
    assert_eq!(to_value(&tripped)["fuses"], expected);
    assert_eq!(Document::parse(&tripped.to_json()).unwrap(), tripped);
    assert_eq!(Document::parse(&tripped.to_json_pretty()).unwrap(), tripped);
    // A fuse that is closed by hand in the file is noticed.
    let closed = Document { fuses: Vec::new(), ..tripped };
    assert!(matches!(Document::parse(&closed.to_json()), Err(DocumentError::Digest { revision: 7 })));
    // Without one nothing differs from a document of before.
    assert!(to_value(&document()).get("fuses").is_none());
}

#[test]
fn what_a_fuse_does_has_to_be_known() {
    let mut value = to_value(&document());
    value["fuses"] = serde_json::json!([{"topic": "orders", "name": "stop-orders", "produce": "drop"}]);
    value["digest"] = Value::String(digest_of(value.clone()));
    let refused = Document::parse(value.to_string().as_bytes()).unwrap_err();
    assert!(matches!(&refused, DocumentError::Shape(reason) if reason.to_string().contains("drop")), "{refused}");
}

proptest! {
    #[test]
    fn a_damaged_byte_never_passes(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let sealed = document().seal();
        let mut bytes = sealed.to_json();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        // A change that passes is none: white space, or another way to write the same.
        if let Ok(read) = Document::parse(&bytes) {
            prop_assert_eq!(read, sealed);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(&bytes);
    }
}
