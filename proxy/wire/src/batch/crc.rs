//! CRC-32C by linearity: for messages of equal length, `crc(a) ^ crc(b)` depends on `a ^ b` only.

/// What the CRC of a message changes by if eight of its bytes change by `difference` and `after` bytes follow them. Takes
/// O(log `after`).
pub(super) fn of_difference(difference: [u8; 8], after: usize) -> u32 {
    // The CRC without its initial and final inversions: they cancel out.
    let plain = crc32c::crc32c(&difference) ^ crc32c::crc32c(&[0; 8]);
    crc32c::crc32c_combine(plain, 0, after)
}
