use super::*;

#[test]
fn the_sample_is_what_it_says() {
    let world = WorldBuilder::sample().build();
    assert!(world.all_listed() && document().verify_digest());
    let mut names: Vec<_> = world.visible_topics().map(|found| (found.name, found.cluster)).collect();
    names.sort_unstable();
    let expected = [
        ("__consumer_offsets", EAST_INDEX),
        (ABROAD, WEST_INDEX),
        (BOTH, EAST_INDEX),
        (FENCED, EAST_INDEX),
        (STITCHED, WEST_INDEX),
        (PLAIN, EAST_INDEX),
        (RETURNED, EAST_INDEX),
        (WEST_ONLY, WEST_INDEX),
    ];
    assert_eq!(names, expected);
    assert!(world.visible_topics().all(|found| !found.is_replaced()));
    assert_eq!(world.leader(STITCHED, 0), Some((west(1), EPOCH + 1024)));
    assert_eq!(world.leader(RETURNED, 0), Some((east(1), EPOCH + 2048)));
    let stitched = world.model.topic(STITCHED).unwrap();
    assert_eq!((stitched.shift(0), stitched.shift(1), stitched.generation(0)), (900, 0, 1));
    let returned = &world.model.topic(RETURNED).unwrap().chains[0];
    let (position, segment, on) = returned.segment_at(150).unwrap();
    assert_eq!((position, segment.to_physical(150), on, segment.generation), (2, 100, EAST_INDEX, 2));
    assert_eq!(world.model.broker(west(3)).unwrap().shown, Some(("127.0.1.6".to_owned(), 9105)));
}

#[test]
fn the_builder_changes_document_and_views() {
    let address = SocketAddr::from(([127, 0, 0, 1], 4242));
    let world = WorldBuilder::sample()
        .next_revision()
        .broker_at(WEST, 2, address)
        .edit_topic(PLAIN, EAST, |topic| topic.fence = Some(Fence { attempt: 1, hold_millis: 10 }))
        .with_topic(WEST, "new", 2)
        .without_topic(WEST, WEST_ONLY)
        .leader(WEST, STITCHED, 0, 3, 9)
        .build();
    assert_eq!(world.model.revision, 2);
    assert_eq!(world.model.broker(west(2)).unwrap().real, ("127.0.0.1".to_owned(), 4242));
    assert!(world.model.topic(PLAIN).unwrap().fence.is_some());
    assert_eq!(world.locate("new").unwrap().cluster, WEST_INDEX);
    assert!(world.locate(WEST_ONLY).is_none());
    assert_eq!(world.leader(STITCHED, 0), Some((west(3), 9 + 1024)));
    assert!(!WorldBuilder::sample().unlisted(WEST).build().all_listed());
}

#[test]
fn a_fuse_trips_and_closes() {
    let tripped = WorldBuilder::sample().fused(PLAIN, Some(FuseAction::Hold), false).fused(BOTH, None, true);
    let world = tripped.build();
    assert_eq!(world.model.fuse(PLAIN), Some(&fuse(PLAIN, Some(FuseAction::Hold), false)));
    assert_eq!(world.model.fuse(BOTH).map(|fuse| fuse.name.as_str()), Some("stop-both"));
    let changed = tripped.fused(PLAIN, Some(FuseAction::Reject), true).fused(BOTH, None, false).build();
    assert_eq!(changed.model.fuse(PLAIN), Some(&fuse(PLAIN, Some(FuseAction::Reject), true)));
    assert_eq!(changed.model.fuses.len(), 1);
}
