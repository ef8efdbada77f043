//! The Produce walker: any bytes, in any chunks. Chunks must not matter, and nothing may be lost or made up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::WireError;
use sluice_wire::batch;
use sluice_wire::walk::produce::{Event, Walker, peek};

fuzz_target!(|data: &[u8]| {
    let [version, size, patch, body @ ..] = data else {
        return;
    };
    let version = 3 + i16::from(version % 9);
    let patch = *patch % 2 == 1;
    let whole = walk(version, body, body.len(), patch);
    let pieces = walk(version, body, usize::from(*size), patch);
    assert_eq!(whole, pieces);
    let seen = peek(version, body.len(), body);
    if let Ok(out) = whole {
        assert_eq!(out.len(), body.len());
        assert!(patch || out == body);
        assert!(matches!(seen, Ok(Some(_))));
    }
});

fn walk(version: i16, body: &[u8], size: usize, patch: bool) -> Result<Vec<u8>, WireError> {
    let mut walker = Walker::new(version, body.len())?;
    let mut out = Vec::new();
    // An empty chunk at the end: that is where a walker says End.
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
                Event::Batch => {
                    let header = walker.batch(&mut chunk[at..]).expect("told");
                    if patch {
                        let _ = batch::set_producer_id(header, 1 << 48);
                        batch::flip_crc_bit(header);
                    }
                }
                Event::Head(_) | Event::Topic(_) | Event::Partition(_) | Event::PartitionEnd => {}
                Event::End => return Ok(out),
                Event::NeedMore => break,
            }
        }
        assert_eq!(at, chunk.len());
    }
    unreachable!("a body that is used up has an end or an error");
}
