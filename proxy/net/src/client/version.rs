//! Which version of a request is sent.

use kafka_protocol::protocol::VersionRange;

/// The highest version that this client sends of an API, whatever the broker offers.
pub(super) fn cap(api_key: i16) -> i16 {
    match api_key {
        // From 12 on a transactional Produce adds its partitions to the transaction by itself; from 13 on topics are ids.
        0 => 11,
        // From 13 on topics are ids.
        1 => 12,
        // From 10 on topics are ids.
        8 | 9 => 9,
        _ => i16::MAX,
    }
}

/// The versions that all sides allow, as a range that is not empty.
pub(super) fn common(offered: &[(i16, i16, i16)], api_key: i16, ours: VersionRange, max: i16) -> Option<(i16, i16)> {
    let at = offered.binary_search_by_key(&api_key, |&(key, _, _)| key).ok()?;
    let &(_, low, high) = offered.get(at)?;
    let low = low.max(ours.min);
    let high = high.min(ours.max).min(cap(api_key)).min(max);
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: &[(i16, i16, i16)] = &[(0, 0, 13), (1, 4, 18), (3, 0, 13), (60, 2, 2)];

    #[test]
    fn the_highest_common_version_within_the_caps() {
        let ours = |min, max| VersionRange { min, max };
        assert_eq!(common(OFFERED, 0, ours(3, 13), i16::MAX), Some((3, 11)));
        assert_eq!(common(OFFERED, 1, ours(4, 18), i16::MAX), Some((4, 12)));
        assert_eq!(common(OFFERED, 3, ours(0, 12), i16::MAX), Some((0, 12)));
        assert_eq!(common(OFFERED, 3, ours(0, 12), 4), Some((0, 4)));
    }

    #[test]
    fn nothing_in_common() {
        let ours = |min, max| VersionRange { min, max };
        assert_eq!(common(OFFERED, 60, ours(0, 1), i16::MAX), None);
        assert_eq!(common(OFFERED, 61, ours(0, 0), i16::MAX), None);
        assert_eq!(common(OFFERED, 1, ours(4, 18), 3), None);
    }
}
