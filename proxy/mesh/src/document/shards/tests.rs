use proptest::prelude::*;

use super::*;
use crate::document::{Cut, CutProducer, DocumentError, Fence, FuseAction, Topic};
use crate::fixture::{document, entry, fuse, moved};

fn find<'a>(shards: &'a [Shard]) -> impl Fn(&str) -> Option<&'a [u8]> {
    |digest| shards.iter().find(|shard| shard.digest == digest).map(|shard| shard.bytes.as_slice())
}

fn join(parts: &Parts) -> Document {
    Document::parse(&assemble(&parts.index, find(&parts.shards)).unwrap()).unwrap()
}

fn fenced(mut topic: Topic) -> Topic {
    topic.fence = Some(Fence { attempt: 1, hold_millis: 5_000 });
    topic
}

/// Smaller than in earnest, so that the tests are quick.
const PIECE: usize = 100_000;

/// A mesh with this many topics that have moved.
fn large(topics: usize) -> Document {
    let mut large = document();
    let topic = |number: usize| Topic {
        chains: vec![moved(i64::try_from(number).unwrap()); 4],
        ..entry(&format!("topic-{number:05}"), "west")
    };
    large.topics = (0..topics).map(topic).collect();
    large.seal()
}

fn new_shards(parts: &Parts, before: &Parts) -> usize {
    parts.shards.iter().filter(|shard| !before.shards.contains(shard)).count()
}

#[test]
fn a_small_document_is_its_own_index() {
    let small = document().seal();
    let parts = split(&small, MAX_PIECE_BYTES);
    assert_eq!(parts, Parts { index: small.to_json_pretty(), shards: Vec::new() });
    assert_eq!(assemble(&parts.index, |_| None).unwrap(), parts.index);
    assert_eq!(join(&parts), small);
}

#[test]
fn a_large_document_is_cut_into_pieces_that_fit() {
    let large = large(800);
    let parts = split(&large, PIECE);
    assert!(parts.shards.len() > 3 && parts.shards.len() < 30, "{}", parts.shards.len());
    for piece in parts.shards.iter().map(|shard| &shard.bytes).chain([&parts.index]) {
        assert!(piece.len() <= PIECE, "{}", piece.len());
    }
    assert_eq!(parts.shards[0].name(), format!("sluice-document-{}", &parts.shards[0].digest[..16]));
    assert_eq!(join(&parts), large);
    // The same document, the same pieces.
    assert_eq!(split(&large, PIECE), parts);
}

#[test]
fn a_change_leaves_most_shards_as_they_are() {
    let before = split(&large(800), PIECE);
    let mut changed = large(800);
    changed.topics.remove(100);
    changed.topics.insert(400, entry("topic-00400-b", "west"));
    let changed = changed.seal();
    let parts = split(&changed, PIECE);
    assert!(new_shards(&parts, &before) <= 4, "{} of {}", new_shards(&parts, &before), parts.shards.len());
    assert_eq!(join(&parts), changed);
}

#[test]
fn a_move_writes_the_index_alone() {
    let at_rest = large(800);
    let before = split(&at_rest, PIECE);
    let mut moving = at_rest.clone();
    moving.topics[300] = fenced(moving.topics[300].clone());
    moving.revision += 1;
    let moving = moving.seal();
    let fence = split_after(&moving, PIECE, &before.shards);
    assert_eq!(fence.shards, before.shards);
    assert_eq!(join(&fence), moving);

    let mut switched = moving.clone();
    switched.topics[300].fence = None;
    switched.topics[300].cut = Some(Cut { switched_at: 1, producers: vec![Vec::new(); 4] });
    switched.topics[300].chains = vec![moved(77); 4];
    switched.topics.push(entry("zebra", "west"));
    let switched = switched.seal();
    let switch = split_after(&switched, PIECE, &fence.shards);
    assert_eq!(switch.shards, before.shards);
    assert_eq!(join(&switch), switched);

    // A topic that is gone takes its shard with it.
    let mut fewer = switched.clone();
    fewer.topics.remove(500);
    let fewer = fewer.seal();
    let parts = split_after(&fewer, PIECE, &switch.shards);
    assert!(new_shards(&parts, &before) >= 1);
    assert_eq!(join(&parts), fewer);
}

#[test]
fn a_fuse_writes_the_index_alone() {
    let closed = large(800);
    let before = split(&closed, PIECE);
    let mut tripped = closed.clone();
    tripped.fuses = vec![fuse("topic-00300", Some(FuseAction::Hold), true)];
    tripped.revision += 1;
    let tripped = tripped.seal();
    let parts = split_after(&tripped, PIECE, &before.shards);
    assert_eq!(parts.shards, before.shards);
    assert_eq!(join(&parts), tripped);
}

#[test]
fn a_topic_larger_than_a_piece_goes_on_in_the_next() {
    let mut document = document();
    let producer = |id| CutProducer { id, epoch: 3, last_sequence: 1 };
    let cut = Cut { switched_at: 5, producers: vec![(0..3_000).map(producer).collect()] };
    document.topics.push(Topic { cut: Some(cut), ..entry("wide", "west") });
    let document = document.seal();
    let parts = split(&document, PIECE);
    assert!(parts.shards.len() >= 2);
    assert!(parts.shards.iter().all(|shard| shard.bytes.len() <= PIECE));
    assert_eq!(join(&parts), document);
    let again = split_after(&document, PIECE, &parts.shards);
    assert_eq!(join(&again), document);
}

#[test]
fn pieces_that_do_not_fit_are_refused_by_name() {
    let large = large(300);
    let parts = split(&large, 50_000);
    let first = parts.shards[0].clone();
    assert_eq!(assemble(&parts.index, find(&parts.shards[1..])), Err(ShardError::Missing(first.digest.clone())));
    let mut bent = parts.shards.clone();
    bent[0].bytes[10] ^= 1;
    assert_eq!(assemble(&parts.index, find(&bent)), Err(ShardError::Wrong(first.digest.clone())));

    let edit = |change: &dyn Fn(&mut Value)| {
        let mut index: Value = serde_json::from_slice(&parts.index).unwrap();
        change(&mut index);
        assemble(index.to_string().as_bytes(), find(&parts.shards))
    };
    let twice = edit(&|index| index["shards"][1] = index["shards"][0].clone());
    assert_eq!(twice, Err(ShardError::Twice(first.digest.clone())));
    assert_eq!(edit(&|index| index["shards"][0]["bytes"] = 1.into()), Err(ShardError::Wrong(first.digest)));
    assert_eq!(edit(&|index| index["shards"][0]["bytes"] = u64::MAX.into()), Err(ShardError::TooLarge));
    assert_eq!(edit(&|index| index["shards"][0]["digest"] = "../etc".into()), Err(ShardError::Shape));
    assert_eq!(edit(&|index| index["shards"] = "all".into()), Err(ShardError::Shape));
    assert_eq!(edit(&|index| index["topics"] = Value::Null), Err(ShardError::Shape));
    let many = edit(&|index| index["shards"] = Value::Array(vec![Value::Null; MAX_SHARDS + 1]));
    assert_eq!(many, Err(ShardError::TooMany(MAX_SHARDS + 1)));
    let swapped = edit(&|index| index["shards"].as_array_mut().unwrap().swap(0, 1));
    assert!(matches!(swapped, Err(ShardError::Line(_))), "{swapped:?}");
    // A shard left out is well formed; the digest of the whole tells.
    let short = edit(&|index| drop(index["shards"].as_array_mut().unwrap().remove(0))).unwrap();
    assert!(matches!(Document::parse(&short), Err(DocumentError::Digest { revision: 7 })));
}

#[test]
fn what_is_no_index_is_left_to_the_reader_of_documents() {
    for bytes in [&b"{"[..], b"", b"[]", br#"{"formatVersion":2,"shards":7}"#, br#"{"shards":[1]}"#] {
        assert_eq!(assemble(bytes, |_| None).as_deref(), Ok(bytes));
        assert_eq!(listed(bytes), Ok(Vec::new()));
    }
}

/// Any topics, each name once, in the order of names.
fn topics() -> impl Strategy<Value = Vec<Topic>> {
    let topic = (0_usize..4, any::<bool>(), prop::option::of(0_i64..40));
    prop::collection::btree_map("[a-zA-Z0-9_-]{1,30}", topic, 0..60).prop_map(|topics| {
        let topics = topics.into_iter().map(|(name, (chains, held, producers))| {
            let cut = producers.map(|count| Cut {
                switched_at: count,
                producers: vec![(0..count).map(|id| CutProducer { id, epoch: 0, last_sequence: -1 }).collect()],
            });
            let chains = (0..chains).map(|end| moved(i64::try_from(end).unwrap())).collect();
            let topic = Topic { chains, cut, ..entry(&name, "west") };
            if held { fenced(topic) } else { topic }
        });
        topics.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_split_is_put_together_again(before in topics(), after in topics(), size in 0_usize..40_000) {
        let before = Document { topics: before, ..document() }.seal();
        let first = split(&before, size);
        prop_assert_eq!(join(&first), before.clone());
        for shard in &first.shards {
            prop_assert!(shard.bytes.len() <= size.max(4 * MIN_PIECE_BYTES), "{} of {size}", shard.bytes.len());
        }

        // Old shards are kept or not: it is the new document either way. Half of the topics stay as they were.
        let mut mixed: BTreeMap<String, Topic> = after.into_iter().map(|t| (t.name.as_str().to_owned(), t)).collect();
        mixed.extend(before.topics.iter().skip(before.topics.len() / 2).map(|t| (t.name.as_str().to_owned(), t.clone())));
        let after = Document { topics: mixed.into_values().collect(), revision: 8, ..document() }.seal();
        let second = split_after(&after, size, &first.shards);
        prop_assert_eq!(join(&second), after.clone());
        // A fence on top, for which old shards are most of the time enough.
        let mut held = after;
        held.topics.iter_mut().step_by(7).for_each(|topic| *topic = fenced(topic.clone()));
        let held = held.seal();
        let third = split_after(&held, size, &second.shards);
        prop_assert_eq!(join(&third), held);
    }

    #[test]
    fn no_bytes_panic(index in prop::collection::vec(any::<u8>(), 0..200), lines in ".{0,200}") {
        let _ = listed(&index);
        let shard = Shard::new(lines.into_bytes());
        let index = serde_json::json!({
            "formatVersion": 1, "topics": [], "shards": [{"digest": shard.digest, "bytes": shard.bytes.len()}],
        });
        if let Ok(whole) = assemble(index.to_string().as_bytes(), |_| Some(&shard.bytes)) {
            prop_assert!(Document::parse(&whole).is_err());
        }
    }
}
