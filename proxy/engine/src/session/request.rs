//! The request side: finds frames in the client's bytes, decides how each travels (streamed, decided as a whole, passed
//! by length), and keeps what a decision needs.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use sluice_wire::frame::{self, LengthError};
use sluice_wire::header::RequestHeader;
use sluice_wire::{ApiKey, error_answer, version};

use crate::api::produce::{ProduceFrame, ProduceStep};
use crate::api::{self, Mode};
use crate::ask::Reply;
use crate::outcome::{Frame, Outcome, RequestHead, Retry, Scope, Then};
use crate::slot::{Slot, SlotState};
use crate::step::{CloseReason, RequestStep, Source};

/// The longest request that is decided as a whole, bytes.
const MAX_BUFFERED: usize = 4 * 1024 * 1024;

/// While this much of local answers waits for its turn, no further request is begun, bytes. One answer may reach beyond
/// it: how large an answer gets is known when it is made.
const MAX_LOCAL: usize = 256 * 1024;

/// Length, key, version, correlation id: what is looked at before anything of a frame may go.
const FIRST: usize = 12;

/// A buffer that grew beyond this is not kept for the next request.
const KEEP_BUFFER: usize = 64 * 1024;

/// The request side.
#[derive(Debug, Default)]
pub(crate) struct RequestSide {
    state: State,
    /// Bytes of the present frame that have been taken and not been decided on.
    kept: Vec<u8>,
    produce: ProduceFrame,
}

#[derive(Default)]
enum State {
    /// Between frames, or within the first bytes of one.
    #[default]
    Start,
    /// So many bytes of a frame pass, or are swallowed.
    Skip { left: usize, forward: bool },
    /// A frame that is decided as a whole.
    Gather { head: RequestHead, total: usize },
    /// A Produce.
    Produce { head: RequestHead, total: usize },
    /// An ask is out.
    Asked { head: RequestHead, then: Then },
    /// Its reply has come.
    Replied { head: RequestHead, then: Then, reply: Reply },
    /// A whole frame is held.
    Held { head: RequestHead, retry: Retry },
    /// An ask of the Produce frame is out.
    ProduceAsked { head: RequestHead, total: usize },
    /// Nothing more is taken.
    Closed(CloseReason),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Start => "Start",
            Self::Skip { .. } => "Skip",
            Self::Gather { .. } => "Gather",
            Self::Produce { .. } => "Produce",
            Self::Asked { .. } => "Asked",
            Self::Replied { .. } => "Replied",
            Self::Held { .. } => "Held",
            Self::ProduceAsked { .. } => "ProduceAsked",
            Self::Closed(_) => "Closed",
        };
        f.write_str(name)
    }
}

type Slots = VecDeque<Slot>;

impl RequestSide {
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Start) && self.kept.is_empty()
    }

    pub(crate) fn replied(&mut self, reply: Reply) {
        self.state = match std::mem::take(&mut self.state) {
            State::Asked { head, then } => State::Replied { head, then, reply },
            State::ProduceAsked { head, total } => {
                self.produce.replied(reply);
                State::Produce { head, total }
            }
            other => other,
        };
    }

    pub(crate) fn step(&mut self, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> RequestStep {
        loop {
            match std::mem::take(&mut self.state) {
                State::Start => {
                    if let Some(step) = self.start(chunk, slots, scope) {
                        return step;
                    }
                }
                State::Skip { left: 0, .. } => {}
                State::Skip { left, forward } => {
                    let n = left.min(chunk.len());
                    self.state = State::Skip { left: left - n, forward };
                    return match (n, forward) {
                        (0, _) => RequestStep::Idle,
                        (_, true) => RequestStep::Forward(n),
                        (_, false) => RequestStep::Consumed(n),
                    };
                }
                State::Gather { head, total } => return self.gather(head, total, chunk, slots, scope),
                State::Produce { head, total } => {
                    if let Some(step) = self.produce(head, total, chunk, slots, scope) {
                        return step;
                    }
                }
                State::Replied { head, then, reply } => {
                    let outcome = then(reply, scope);
                    if let Some(step) = self.settle(head, outcome, slots, 0) {
                        return step;
                    }
                }
                State::Held { head, retry } => {
                    let outcome = retry(scope);
                    if let Some(step) = self.settle(head, outcome, slots, 0) {
                        return step;
                    }
                }
                // The driver reads nothing while an ask is out.
                state @ (State::Asked { .. } | State::ProduceAsked { .. }) => {
                    self.state = state;
                    return RequestStep::Idle;
                }
                State::Closed(reason) => return self.close(reason),
            }
        }
    }

    fn close(&mut self, reason: CloseReason) -> RequestStep {
        self.state = State::Closed(reason);
        self.kept = Vec::new();
        RequestStep::Close(reason)
    }

    /// Takes bytes of the present frame until `want` of them are kept.
    fn keep(&mut self, chunk: &[u8], want: usize) -> usize {
        let n = want.saturating_sub(self.kept.len()).min(chunk.len());
        self.kept.extend_from_slice(&chunk[..n]);
        n
    }

    fn take_kept(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.kept);
        self.clear_kept();
        bytes
    }

    fn clear_kept(&mut self) {
        self.kept.clear();
        if self.kept.capacity() > KEEP_BUFFER {
            self.kept = Vec::new();
        }
    }

    /// The first bytes of a frame. `None`: the state says how to go on.
    fn start(&mut self, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> Option<RequestStep> {
        let first: [u8; FIRST] = if self.kept.is_empty() && chunk.len() >= FIRST {
            chunk[..FIRST].try_into().ok()?
        } else if self.kept.len() < FIRST {
            let n = self.keep(chunk, FIRST);
            // A TLS hello or a wild length is told from its first bytes, however slowly they come.
            if let Some(prefix) = self.kept.first_chunk::<4>()
                && let Err(error) = frame::check_length(*prefix, scope.world.model.limits.max_frame_bytes)
            {
                return Some(self.close(bad_length(error)));
            }
            return Some(if n == 0 { RequestStep::Idle } else { RequestStep::Consumed(n) });
        } else {
            *self.kept.first_chunk::<FIRST>()?
        };
        let limits = &scope.world.model.limits;
        let prefix = [first[0], first[1], first[2], first[3]];
        let length = match frame::check_length(prefix, limits.max_frame_bytes) {
            Ok(length) => length,
            Err(error) => return Some(self.close(bad_length(error))),
        };
        let Some(total) = usize::try_from(length).ok().and_then(|length| length.checked_add(frame::PREFIX)) else {
            return Some(self.close(CloseReason::BadLength));
        };
        if slots.len() >= usize::from(limits.max_in_flight.max(1)) || local_bytes(slots) >= MAX_LOCAL {
            return Some(RequestStep::Full);
        }
        let key = i16::from_be_bytes([first[4], first[5]]);
        let version = i16::from_be_bytes([first[6], first[7]]);
        let correlation_id = i32::from_be_bytes([first[8], first[9], first[10], first[11]]);
        let Some(line) = version::offered(key) else {
            return Some(self.close(if is_inter_broker(key) {
                CloseReason::InterBroker
            } else {
                CloseReason::UnknownApi
            }));
        };
        let head = RequestHead { key: line.key, version, correlation_id };
        if !version::is_offered(key, version) {
            if line.key != ApiKey::ApiVersions {
                return Some(self.close(CloseReason::UnsupportedVersion));
            }
            let offered = api::api_versions::offered(scope.world);
            return match error_answer::unsupported_api_versions(correlation_id, &offered) {
                Ok(bytes) => self.swallow(head, bytes, total, slots),
                Err(_) => Some(self.close(CloseReason::Malformed)),
            };
        }
        match api::mode(head.key, scope) {
            Mode::Produce => {
                self.produce.begin();
                self.state = State::Produce { head, total };
                None
            }
            Mode::Whole if total > MAX_BUFFERED => Some(self.close(CloseReason::BadLength)),
            Mode::Whole => {
                self.state = State::Gather { head, total };
                None
            }
            Mode::Pass => {
                slots.push_back(Slot { head, source: Source::Main, state: SlotState::Pass });
                Some(self.forward(total, chunk))
            }
            Mode::Refuse(code) => {
                if error_answer::needs_body(key) != Some(false) {
                    if total > MAX_BUFFERED {
                        return Some(self.close(CloseReason::BadLength));
                    }
                    self.state = State::Gather { head, total };
                    return None;
                }
                let asked = error_answer::Asked { key, version, correlation_id };
                match error_answer::encode(asked, Bytes::new(), code) {
                    Ok(bytes) => self.swallow(head, bytes, total, slots),
                    Err(_) => Some(self.close(CloseReason::Malformed)),
                }
            }
        }
    }

    /// The frame is answered here and now; its bytes are swallowed.
    fn swallow(&mut self, head: RequestHead, answer: Bytes, total: usize, slots: &mut Slots) -> Option<RequestStep> {
        slots.push_back(Slot { head, source: Source::Local, state: SlotState::Local(answer) });
        self.state = State::Skip { left: total.saturating_sub(self.kept.len()), forward: false };
        self.clear_kept();
        None
    }

    /// The frame passes as it is.
    fn forward(&mut self, total: usize, chunk: &[u8]) -> RequestStep {
        if self.kept.is_empty() {
            let n = total.min(chunk.len());
            self.state = State::Skip { left: total - n, forward: true };
            return RequestStep::Forward(n);
        }
        self.state = State::Skip { left: total.saturating_sub(self.kept.len()), forward: true };
        RequestStep::Send { consumed: 0, to: Source::Main, bytes: self.take_kept() }
    }

    /// A frame that is decided as a whole: in place if all of it is in the chunk, else when all of it is kept.
    fn gather(
        &mut self,
        head: RequestHead,
        total: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> RequestStep {
        let in_place = self.kept.is_empty() && chunk.len() >= total;
        let consumed = if in_place { total } else { self.keep(chunk, total) };
        if !in_place && self.kept.len() < total {
            self.state = State::Gather { head, total };
            return if consumed == 0 { RequestStep::Idle } else { RequestStep::Consumed(consumed) };
        }
        let mut kept = std::mem::take(&mut self.kept);
        let bytes = if in_place { &mut chunk[..total] } else { kept.as_mut_slice() };
        let outcome = decide(head, bytes, scope);
        if let Outcome::Pass(state) = outcome {
            slots.push_back(Slot { head, source: Source::Main, state });
            return if in_place {
                RequestStep::Forward(total)
            } else {
                RequestStep::Send { consumed, to: Source::Main, bytes: Bytes::from(kept) }
            };
        }
        if kept.capacity() <= KEEP_BUFFER {
            kept.clear();
            self.kept = kept;
        }
        self.settle(head, outcome, slots, consumed).unwrap_or(RequestStep::Consumed(consumed))
    }

    /// `None`: nothing to tell the driver but that `consumed` bytes are gone.
    fn settle(
        &mut self,
        head: RequestHead,
        outcome: Outcome,
        slots: &mut Slots,
        consumed: usize,
    ) -> Option<RequestStep> {
        self.state = State::Start;
        match outcome {
            Outcome::Answer(bytes) => {
                slots.push_back(Slot { head, source: Source::Local, state: SlotState::Local(bytes) });
                None
            }
            Outcome::Send(to, bytes, state) => {
                slots.push_back(Slot { head, source: to, state });
                Some(RequestStep::Send { consumed, to, bytes })
            }
            Outcome::Ask(ask, then) => {
                self.state = State::Asked { head, then };
                Some(RequestStep::Ask { consumed, ask })
            }
            Outcome::Hold(until, retry) => {
                self.state = State::Held { head, retry };
                // A hold takes nothing: if bytes have been taken, it is said in the next call.
                (consumed == 0).then_some(RequestStep::Hold { until })
            }
            Outcome::Pass(_) => Some(self.close(CloseReason::Malformed)),
            Outcome::Close(reason) => Some(self.close(reason)),
        }
    }

    /// A Produce. `None`: the state says how to go on.
    fn produce(
        &mut self,
        head: RequestHead,
        total: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> Option<RequestStep> {
        let step = self.produce.step(head, total, &mut self.kept, chunk, slots, scope);
        self.state = State::Produce { head, total };
        Some(match step {
            ProduceStep::Forward(n) => RequestStep::Forward(n),
            ProduceStep::Consumed(n) => RequestStep::Consumed(n),
            ProduceStep::Send { consumed, bytes } => RequestStep::Send { consumed, to: Source::Main, bytes },
            ProduceStep::Ask(ask) => {
                self.state = State::ProduceAsked { head, total };
                RequestStep::Ask { consumed: 0, ask }
            }
            ProduceStep::Hold(until) => RequestStep::Hold { until },
            ProduceStep::Full => RequestStep::Full,
            ProduceStep::Idle => RequestStep::Idle,
            ProduceStep::Close(reason) => self.close(reason),
            ProduceStep::Done => {
                self.clear_kept();
                self.state = State::Start;
                return None;
            }
        })
    }
}

fn decide(head: RequestHead, bytes: &mut [u8], scope: &mut Scope<'_>) -> Outcome {
    let Ok(Some(parsed)) = RequestHeader::parse(bytes.get(frame::PREFIX..).unwrap_or_default()) else {
        return Outcome::Close(CloseReason::Malformed);
    };
    let client_id = parsed.client_id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default().to_owned();
    let body_at = frame::PREFIX + parsed.size;
    api::decide(Frame { head, bytes, body_at, client_id }, scope)
}

/// What waits in the session itself for its turn to go to the client. The ring is short: adding up is cheaper than to keep
/// a sum right wherever a slot comes, goes or is answered otherwise.
fn local_bytes(slots: &Slots) -> usize {
    let lengths = slots.iter().map(|slot| if let SlotState::Local(bytes) = &slot.state { bytes.len() } else { 0 });
    lengths.fold(0, usize::saturating_add)
}

fn bad_length(error: LengthError) -> CloseReason {
    match error {
        LengthError::Tls => CloseReason::TlsOnPlaintext,
        LengthError::Negative(_) | LengthError::TooLong { .. } | LengthError::TooShort(_) | LengthError::Http => {
            CloseReason::BadLength
        }
    }
}

/// Requests that only brokers and controllers send to each other.
fn is_inter_broker(key: i16) -> bool {
    matches!(key, 4..=7 | 27 | 52..=54 | 56 | 58 | 59 | 62 | 63 | 67 | 70 | 73 | 82..=87)
}
