//! Fields of consumer groups.

use super::F;
use super::Kind::{Array, Blob, Fixed, Str, Struct};
use super::{MAX, Message};

pub(super) const FIND_COORDINATOR_REQUEST: Message = Message {
    flexible: 3,
    fields: &[F("key", 0, 3, Str), F("key_type", 1, MAX, Fixed(1)), F("coordinator_keys", 4, MAX, Array(&Str))],
};

pub(super) const FIND_COORDINATOR_ANSWER: Message = Message {
    flexible: 3,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F("error_code", 0, 3, Fixed(2)),
        F("error_message", 1, 3, Str),
        F("node_id", 0, 3, Fixed(4)),
        F("host", 0, 3, Str),
        F("port", 0, 3, Fixed(4)),
        F(
            "coordinators",
            4,
            MAX,
            Array(&Struct(&[
                F("key", 4, MAX, Str),
                F("node_id", 4, MAX, Fixed(4)),
                F("host", 4, MAX, Str),
                F("port", 4, MAX, Fixed(4)),
                F("error_code", 4, MAX, Fixed(2)),
                F("error_message", 4, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const JOIN_GROUP_REQUEST: Message = Message {
    flexible: 6,
    fields: &[
        F("group_id", 0, MAX, Str),
        F("session_timeout_ms", 0, MAX, Fixed(4)),
        F("rebalance_timeout_ms", 1, MAX, Fixed(4)),
        F("member_id", 0, MAX, Str),
        F("group_instance_id", 5, MAX, Str),
        F("protocol_type", 0, MAX, Str),
        F("protocols", 0, MAX, Array(&Struct(&[F("name", 0, MAX, Str), F("metadata", 0, MAX, Blob)]))),
        F("reason", 8, MAX, Str),
    ],
};

pub(super) const JOIN_GROUP_ANSWER: Message = Message {
    flexible: 6,
    fields: &[
        F("throttle_time_ms", 2, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("generation_id", 0, MAX, Fixed(4)),
        F("protocol_type", 7, MAX, Str),
        F("protocol_name", 0, MAX, Str),
        F("leader", 0, MAX, Str),
        F("skip_assignment", 9, MAX, Fixed(1)),
        F("member_id", 0, MAX, Str),
        F(
            "members",
            0,
            MAX,
            Array(&Struct(&[
                F("member_id", 0, MAX, Str),
                F("group_instance_id", 5, MAX, Str),
                F("metadata", 0, MAX, Blob),
            ])),
        ),
    ],
};

pub(super) const SYNC_GROUP_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F("group_id", 0, MAX, Str),
        F("generation_id", 0, MAX, Fixed(4)),
        F("member_id", 0, MAX, Str),
        F("group_instance_id", 3, MAX, Str),
        F("protocol_type", 5, MAX, Str),
        F("protocol_name", 5, MAX, Str),
        F("assignments", 0, MAX, Array(&Struct(&[F("member_id", 0, MAX, Str), F("assignment", 0, MAX, Blob)]))),
    ],
};

pub(super) const SYNC_GROUP_ANSWER: Message = Message {
    flexible: 4,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("protocol_type", 5, MAX, Str),
        F("protocol_name", 5, MAX, Str),
        F("assignment", 0, MAX, Blob),
    ],
};

pub(super) const HEARTBEAT_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F("group_id", 0, MAX, Str),
        F("generation_id", 0, MAX, Fixed(4)),
        F("member_id", 0, MAX, Str),
        F("group_instance_id", 3, MAX, Str),
    ],
};

pub(super) const HEARTBEAT_ANSWER: Message =
    Message { flexible: 4, fields: &[F("throttle_time_ms", 1, MAX, Fixed(4)), F("error_code", 0, MAX, Fixed(2))] };

pub(super) const LEAVE_GROUP_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F("group_id", 0, MAX, Str),
        F("member_id", 0, 2, Str),
        F(
            "members",
            3,
            MAX,
            Array(&Struct(&[
                F("member_id", 3, MAX, Str),
                F("group_instance_id", 3, MAX, Str),
                F("reason", 5, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const LEAVE_GROUP_ANSWER: Message = Message {
    flexible: 4,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F(
            "members",
            3,
            MAX,
            Array(&Struct(&[
                F("member_id", 3, MAX, Str),
                F("group_instance_id", 3, MAX, Str),
                F("error_code", 3, MAX, Fixed(2)),
            ])),
        ),
    ],
};

pub(super) const OFFSET_COMMIT_REQUEST: Message = Message {
    flexible: 8,
    fields: &[
        F("group_id", 0, MAX, Str),
        F("generation_id_or_member_epoch", 1, MAX, Fixed(4)),
        F("member_id", 1, MAX, Str),
        F("group_instance_id", 7, MAX, Str),
        F("retention_time_ms", 2, 4, Fixed(8)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, 9, Str),
                F("topic_id", 10, MAX, Fixed(16)),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("committed_offset", 0, MAX, Fixed(8)),
                        F("committed_leader_epoch", 6, MAX, Fixed(4)),
                        F("committed_metadata", 0, MAX, Str),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const OFFSET_COMMIT_ANSWER: Message = Message {
    flexible: 8,
    fields: &[
        F("throttle_time_ms", 3, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, 9, Str),
                F("topic_id", 10, MAX, Fixed(16)),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4)), F("error_code", 0, MAX, Fixed(2))])),
                ),
            ])),
        ),
    ],
};

pub(super) const OFFSET_FETCH_REQUEST: Message = Message {
    flexible: 6,
    fields: &[
        F("group_id", 0, 7, Str),
        F("topics", 0, 7, Array(&Struct(&[F("name", 0, 7, Str), F("partition_indexes", 0, 7, Array(&Fixed(4)))]))),
        F(
            "groups",
            8,
            MAX,
            Array(&Struct(&[
                F("group_id", 8, MAX, Str),
                F("member_id", 9, MAX, Str),
                F("member_epoch", 9, MAX, Fixed(4)),
                F(
                    "topics",
                    8,
                    MAX,
                    Array(&Struct(&[
                        F("name", 8, 9, Str),
                        F("topic_id", 10, MAX, Fixed(16)),
                        F("partition_indexes", 8, MAX, Array(&Fixed(4))),
                    ])),
                ),
            ])),
        ),
        F("require_stable", 7, MAX, Fixed(1)),
    ],
};

pub(super) const OFFSET_FETCH_ANSWER: Message = Message {
    flexible: 6,
    fields: &[
        F("throttle_time_ms", 3, MAX, Fixed(4)),
        F(
            "topics",
            0,
            7,
            Array(&Struct(&[
                F("name", 0, 7, Str),
                F(
                    "partitions",
                    0,
                    7,
                    Array(&Struct(&[
                        F("partition_index", 0, 7, Fixed(4)),
                        F("committed_offset", 0, 7, Fixed(8)),
                        F("committed_leader_epoch", 5, 7, Fixed(4)),
                        F("metadata", 0, 7, Str),
                        F("error_code", 0, 7, Fixed(2)),
                    ])),
                ),
            ])),
        ),
        F("error_code", 2, 7, Fixed(2)),
        F(
            "groups",
            8,
            MAX,
            Array(&Struct(&[
                F("group_id", 8, MAX, Str),
                F(
                    "topics",
                    8,
                    MAX,
                    Array(&Struct(&[
                        F("name", 8, 9, Str),
                        F("topic_id", 10, MAX, Fixed(16)),
                        F(
                            "partitions",
                            8,
                            MAX,
                            Array(&Struct(&[
                                F("partition_index", 8, MAX, Fixed(4)),
                                F("committed_offset", 8, MAX, Fixed(8)),
                                F("committed_leader_epoch", 8, MAX, Fixed(4)),
                                F("metadata", 8, MAX, Str),
                                F("error_code", 8, MAX, Fixed(2)),
                            ])),
                        ),
                    ])),
                ),
                F("error_code", 8, MAX, Fixed(2)),
            ])),
        ),
    ],
};

pub(super) const OFFSET_DELETE_REQUEST: Message = Message {
    flexible: MAX,
    fields: &[
        F("group_id", 0, MAX, Str),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("partitions", 0, MAX, Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4))]))),
            ])),
        ),
    ],
};

pub(super) const OFFSET_DELETE_ANSWER: Message = Message {
    flexible: MAX,
    fields: &[
        F("error_code", 0, MAX, Fixed(2)),
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4)), F("error_code", 0, MAX, Fixed(2))])),
                ),
            ])),
        ),
    ],
};

pub(super) const DESCRIBE_GROUPS_REQUEST: Message = Message {
    flexible: 5,
    fields: &[F("groups", 0, MAX, Array(&Str)), F("include_authorized_operations", 3, MAX, Fixed(1))],
};

pub(super) const DESCRIBE_GROUPS_ANSWER: Message = Message {
    flexible: 5,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F(
            "groups",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 6, MAX, Str),
                F("group_id", 0, MAX, Str),
                F("group_state", 0, MAX, Str),
                F("protocol_type", 0, MAX, Str),
                F("protocol_data", 0, MAX, Str),
                F(
                    "members",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("member_id", 0, MAX, Str),
                        F("group_instance_id", 4, MAX, Str),
                        F("client_id", 0, MAX, Str),
                        F("client_host", 0, MAX, Str),
                        F("member_metadata", 0, MAX, Blob),
                        F("member_assignment", 0, MAX, Blob),
                    ])),
                ),
                F("authorized_operations", 3, MAX, Fixed(4)),
            ])),
        ),
    ],
};

pub(super) const LIST_GROUPS_REQUEST: Message =
    Message { flexible: 3, fields: &[F("states_filter", 4, MAX, Array(&Str)), F("types_filter", 5, MAX, Array(&Str))] };

pub(super) const LIST_GROUPS_ANSWER: Message = Message {
    flexible: 3,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F(
            "groups",
            0,
            MAX,
            Array(&Struct(&[
                F("group_id", 0, MAX, Str),
                F("protocol_type", 0, MAX, Str),
                F("group_state", 4, MAX, Str),
                F("group_type", 5, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const DELETE_GROUPS_REQUEST: Message =
    Message { flexible: 2, fields: &[F("groups_names", 0, MAX, Array(&Str))] };

pub(super) const DELETE_GROUPS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("results", 0, MAX, Array(&Struct(&[F("group_id", 0, MAX, Str), F("error_code", 0, MAX, Fixed(2))]))),
    ],
};
