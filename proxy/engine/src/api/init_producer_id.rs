//! `InitProducerId`: idempotent ids carry the tag of the cluster that hands them out, so that two clusters' ids never meet
//! on one partition. Transactional ids keep the raw producer id, for their coordinator compares it.

use bytes::Bytes;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use sluice_wire::frame;

use super::{pass, refuse};
use crate::code;
use crate::outcome::{Frame, Outcome, Scope};
use crate::slot::SlotState;

/// Bits of a producer id that carry the tag.
const TAG_SHIFT: u32 = 56;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<InitProducerIdRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if request.transactional_id.is_some() {
        return if scope.at_home() { pass() } else { refuse(frame, code::NOT_COORDINATOR) };
    }
    let tag = scope.world.model.cluster(scope.broker.cluster).map_or(0, |cluster| cluster.tag);
    Outcome::Pass(SlotState::Rewrite(Box::new(move |body: Bytes| {
        let mut answer: InitProducerIdResponse = head.decode_answer(body)?;
        if answer.error_code == code::NONE && answer.producer_id.0 >= 0 {
            answer.producer_id.0 |= i64::from(tag & 0x7f) << TAG_SHIFT;
        }
        frame::encode_answer(head.key, head.version, head.correlation_id, &answer)
    })))
}
