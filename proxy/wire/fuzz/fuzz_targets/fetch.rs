//! The Fetch answer walker: any bytes, in any chunks, with and without patches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::WireError;
use sluice_wire::walk::fetch::{Event, Field, Head, PartitionPatch, Walker, peek};

fuzz_target!(|data: &[u8]| {
    let [version, size, patch, body @ ..] = data else {
        return;
    };
    let version = 4 + i16::from(version % 9);
    let patched = PartitionPatch {
        shift: i64::from(*patch) << 33,
        epoch_shift: 1024,
        high_watermark: Field::Shift,
        log_start_offset: Field::Set(5),
        physical_end: Some(i64::from(*patch)),
        node_id_base: 10_000,
        ..PartitionPatch::default()
    };
    let _ = peek(version, body.len(), body);
    for patch in [PartitionPatch::default(), patched] {
        let whole = walk(version, body, body.len(), patch);
        assert_eq!(whole, walk(version, body, usize::from(*size), patch));
        if let Ok(out) = whole {
            assert_eq!(out.len(), body.len());
            assert!(patch == patched || out == body);
        }
    }
});

fn walk(version: i16, body: &[u8], size: usize, patch: PartitionPatch) -> Result<Vec<u8>, WireError> {
    let head = Head::parse(version, body)?.ok_or(WireError::Truncated { what: "the head" })?;
    let (mut out, body) = (body[..head.size].to_vec(), &body[head.size..]);
    let mut walker = Walker::new(version, &head, body.len())?;
    for chunk in body.chunks(size.max(1)).chain([&[][..]]) {
        let mut chunk = chunk.to_vec();
        let mut at = 0;
        loop {
            match walker.next(&mut chunk[at..])? {
                Event::Pass(count) => {
                    out.extend_from_slice(&chunk[at..at + count]);
                    at += count;
                }
                Event::Kept(count) => at += count,
                Event::Emit => out.extend_from_slice(walker.kept()),
                Event::Partition(_) => walker.patch(patch),
                Event::Topic(_) | Event::PartitionEnd(_) | Event::TopicsEnd => {}
                Event::End => return Ok(out),
                Event::NeedMore => break,
            }
        }
        assert_eq!(at, chunk.len());
    }
    unreachable!("a body that is used up has an end or an error");
}
