//! Where one request ends and the next begins, as the bytes of a client pass. The session decides what requests mean;
//! this only tells the driver when a connection may be closed without cutting a request in two, and when a client is
//! too slow with one.

/// Follows the length prefixes of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct FrameClock {
    /// The length prefix and the API key of the frame under way, as far as they have come.
    head: [u8; 6],
    have: u8,
    /// Bytes of the frame that are still to come, once its length is known.
    left: u32,
    /// When the frame's bytes were last counted from, and how many came since.
    window_start: u64,
    window_bytes: u64,
}

impl FrameClock {
    /// Nothing of a frame has come.
    pub(crate) fn between_requests(&self) -> bool {
        self.have == 0
    }

    /// How many bytes may be read without reaching into the request after this one.
    pub(crate) fn until_boundary(&self) -> usize {
        if self.have < 4 { usize::from(4 - self.have) } else { self.left as usize }
    }

    /// Bytes have been read; `each` is told the API key of each request that began.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], now: u64, mut each: impl FnMut(i16)) {
        if self.have == 0 {
            self.restart(now);
        }
        self.window_bytes = self.window_bytes.saturating_add(bytes.len() as u64);
        while let Some(&first) = bytes.first() {
            if self.have < 4 {
                self.head[usize::from(self.have)] = first;
                self.have += 1;
                bytes = &bytes[1..];
                if self.have == 4 {
                    let [a, b, c, d, ..] = self.head;
                    // A length that is no length is the session's to refuse; it ends here at once.
                    self.left = u32::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
                    self.end_of_frame(now);
                }
            } else if self.have < 6 {
                self.head[usize::from(self.have)] = first;
                self.have += 1;
                bytes = &bytes[1..];
                self.left -= 1;
                if self.have == 6 {
                    each(i16::from_be_bytes([self.head[4], self.head[5]]));
                }
                self.end_of_frame(now);
            } else {
                let n = bytes.len().min(self.left as usize);
                bytes = &bytes[n..];
                self.left -= u32::try_from(n).unwrap_or(self.left);
                self.end_of_frame(now);
            }
        }
    }

    fn end_of_frame(&mut self, now: u64) {
        if self.left == 0 {
            self.have = 0;
            self.restart(now);
        }
    }

    /// The client is not to blame for the time so far: we did not read.
    pub(crate) fn restart(&mut self, now: u64) {
        self.window_start = now;
        self.window_bytes = 0;
    }

    /// When the request under way must have made progress; none between requests.
    pub(crate) fn deadline(&self, window: u64) -> Option<u64> {
        (!self.between_requests()).then(|| self.window_start.saturating_add(window))
    }

    /// Whether the request made too little progress in the window that ends now. Starts the next window if not.
    pub(crate) fn too_slow(&mut self, now: u64, window: u64, least_bytes: u64) -> bool {
        if self.deadline(window).is_none_or(|deadline| now < deadline) {
            return false;
        }
        let slow = self.window_bytes < least_bytes;
        self.restart(now);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: i16, body: usize) -> Vec<u8> {
        let mut bytes = i32::try_from(body + 2).unwrap().to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.extend(vec![0xff; body]);
        bytes
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        let stream = [frame(3, 10), frame(18, 0), frame(0, 1000), frame(1, 1)].concat();
        for step in [1, 2, 3, 5, 7, 100, stream.len()] {
            let mut clock = FrameClock::default();
            let mut keys = Vec::new();
            for piece in stream.chunks(step) {
                clock.pass(piece, 0, |key| keys.push(key));
            }
            assert_eq!(keys, [3, 18, 0, 1], "in steps of {step}");
            assert!(clock.between_requests());
        }
    }

    #[test]
    fn the_way_to_the_boundary_is_known() {
        let mut clock = FrameClock::default();
        let bytes = frame(0, 50);
        clock.pass(&bytes[..3], 0, |_| ());
        assert_eq!(clock.until_boundary(), 1);
        clock.pass(&bytes[3..20], 0, |_| ());
        assert_eq!(clock.until_boundary(), bytes.len() - 20);
        assert!(!clock.between_requests());
    }

    #[test]
    fn a_dribbled_frame_is_too_slow_and_a_steady_one_is_not() {
        let bytes = frame(0, 1_000_000);
        for (per_second, slow) in [(1, true), (2_000, false)] {
            let mut clock = FrameClock::default();
            for second in 0..30 {
                clock.pass(&bytes[second * per_second..(second + 1) * per_second], second as u64 * 1000, |_| ());
            }
            assert!(!clock.too_slow(29_999, 30_000, 30_000));
            assert_eq!(clock.too_slow(30_000, 30_000, 30_000), slow, "{per_second} bytes a second");
        }
    }

    #[test]
    fn no_length_can_upset_it() {
        for length in [-1, i32::MIN, i32::MAX, 0, 1] {
            let mut clock = FrameClock::default();
            clock.pass(&[&length.to_be_bytes()[..], &[0; 100]].concat(), 0, |_| ());
        }
    }
}
