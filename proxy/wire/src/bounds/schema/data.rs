//! Fields of the data path: Produce, Fetch, offsets, leader epochs, deleted records.

use super::F;
use super::Kind::{Array, Blob, Fixed, Str, Struct, Tagged};
use super::{MAX, Message};

pub(super) const PRODUCE_REQUEST: Message = Message {
    flexible: 9,
    fields: &[
        F("transactional_id", 3, MAX, Str),
        F("acks", 0, MAX, Fixed(2)),
        F("timeout_ms", 0, MAX, Fixed(4)),
        F(
            "topic_data",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, 12, Str),
                F("topic_id", 13, MAX, Fixed(16)),
                F(
                    "partition_data",
                    0,
                    MAX,
                    Array(&Struct(&[F("index", 0, MAX, Fixed(4)), F("records", 0, MAX, Blob)])),
                ),
            ])),
        ),
    ],
};

pub(super) const PRODUCE_ANSWER: Message = Message {
    flexible: 9,
    fields: &[
        F(
            "responses",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, 12, Str),
                F("topic_id", 13, MAX, Fixed(16)),
                F(
                    "partition_responses",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("index", 0, MAX, Fixed(4)),
                        F("error_code", 0, MAX, Fixed(2)),
                        F("base_offset", 0, MAX, Fixed(8)),
                        F("log_append_time_ms", 2, MAX, Fixed(8)),
                        F("log_start_offset", 5, MAX, Fixed(8)),
                        F(
                            "record_errors",
                            8,
                            MAX,
                            Array(&Struct(&[
                                F("batch_index", 8, MAX, Fixed(4)),
                                F("batch_index_error_message", 8, MAX, Str),
                            ])),
                        ),
                        F("error_message", 8, MAX, Str),
                        F(
                            "current_leader",
                            10,
                            MAX,
                            Tagged(
                                0,
                                &Struct(&[F("leader_id", 10, MAX, Fixed(4)), F("leader_epoch", 10, MAX, Fixed(4))]),
                            ),
                        ),
                    ])),
                ),
            ])),
        ),
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F(
            "node_endpoints",
            10,
            MAX,
            Tagged(
                0,
                &Array(&Struct(&[
                    F("node_id", 10, MAX, Fixed(4)),
                    F("host", 10, MAX, Str),
                    F("port", 10, MAX, Fixed(4)),
                    F("rack", 10, MAX, Str),
                ])),
            ),
        ),
    ],
};

pub(super) const FETCH_REQUEST: Message = Message {
    flexible: 12,
    fields: &[
        F("cluster_id", 12, MAX, Tagged(0, &Str)),
        F("replica_id", 0, 14, Fixed(4)),
        F(
            "replica_state",
            15,
            MAX,
            Tagged(1, &Struct(&[F("replica_id", 15, MAX, Fixed(4)), F("replica_epoch", 15, MAX, Fixed(8))])),
        ),
        F("max_wait_ms", 0, MAX, Fixed(4)),
        F("min_bytes", 0, MAX, Fixed(4)),
        F("max_bytes", 3, MAX, Fixed(4)),
        F("isolation_level", 4, MAX, Fixed(1)),
        F("session_id", 7, MAX, Fixed(4)),
        F("session_epoch", 7, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("topic", 0, 12, Str),
                F("topic_id", 13, MAX, Fixed(16)),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition", 0, MAX, Fixed(4)),
                        F("current_leader_epoch", 9, MAX, Fixed(4)),
                        F("fetch_offset", 0, MAX, Fixed(8)),
                        F("last_fetched_epoch", 12, MAX, Fixed(4)),
                        F("log_start_offset", 5, MAX, Fixed(8)),
                        F("partition_max_bytes", 0, MAX, Fixed(4)),
                        F("replica_directory_id", 17, MAX, Tagged(0, &Fixed(16))),
                        F("high_watermark", 18, MAX, Tagged(1, &Fixed(8))),
                    ])),
                ),
            ])),
        ),
        F(
            "forgotten_topics_data",
            7,
            MAX,
            Array(&Struct(&[
                F("topic", 7, 12, Str),
                F("topic_id", 13, MAX, Fixed(16)),
                F("partitions", 7, MAX, Array(&Fixed(4))),
            ])),
        ),
        F("rack_id", 11, MAX, Str),
    ],
};

pub(super) const FETCH_ANSWER: Message = Message {
    flexible: 12,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F("error_code", 7, MAX, Fixed(2)),
        F("session_id", 7, MAX, Fixed(4)),
        F(
            "responses",
            0,
            MAX,
            Array(&Struct(&[
                F("topic", 0, 12, Str),
                F("topic_id", 13, MAX, Fixed(16)),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("error_code", 0, MAX, Fixed(2)),
                        F("high_watermark", 0, MAX, Fixed(8)),
                        F("last_stable_offset", 4, MAX, Fixed(8)),
                        F("log_start_offset", 5, MAX, Fixed(8)),
                        F(
                            "diverging_epoch",
                            12,
                            MAX,
                            Tagged(0, &Struct(&[F("epoch", 12, MAX, Fixed(4)), F("end_offset", 12, MAX, Fixed(8))])),
                        ),
                        F(
                            "current_leader",
                            12,
                            MAX,
                            Tagged(
                                1,
                                &Struct(&[F("leader_id", 12, MAX, Fixed(4)), F("leader_epoch", 12, MAX, Fixed(4))]),
                            ),
                        ),
                        F(
                            "snapshot_id",
                            12,
                            MAX,
                            Tagged(2, &Struct(&[F("end_offset", 0, MAX, Fixed(8)), F("epoch", 0, MAX, Fixed(4))])),
                        ),
                        F(
                            "aborted_transactions",
                            4,
                            MAX,
                            Array(&Struct(&[F("producer_id", 4, MAX, Fixed(8)), F("first_offset", 4, MAX, Fixed(8))])),
                        ),
                        F("preferred_read_replica", 11, MAX, Fixed(4)),
                        F("records", 0, MAX, Blob),
                    ])),
                ),
            ])),
        ),
        F(
            "node_endpoints",
            16,
            MAX,
            Tagged(
                0,
                &Array(&Struct(&[
                    F("node_id", 16, MAX, Fixed(4)),
                    F("host", 16, MAX, Str),
                    F("port", 16, MAX, Fixed(4)),
                    F("rack", 16, MAX, Str),
                ])),
            ),
        ),
    ],
};

pub(super) const LIST_OFFSETS_REQUEST: Message = Message {
    flexible: 6,
    fields: &[
        F("replica_id", 0, MAX, Fixed(4)),
        F("isolation_level", 2, MAX, Fixed(1)),
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
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("current_leader_epoch", 4, MAX, Fixed(4)),
                        F("timestamp", 0, MAX, Fixed(8)),
                    ])),
                ),
            ])),
        ),
        F("timeout_ms", 10, MAX, Fixed(4)),
    ],
};

pub(super) const LIST_OFFSETS_ANSWER: Message = Message {
    flexible: 6,
    fields: &[
        F("throttle_time_ms", 2, MAX, Fixed(4)),
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
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("error_code", 0, MAX, Fixed(2)),
                        F("timestamp", 1, MAX, Fixed(8)),
                        F("offset", 1, MAX, Fixed(8)),
                        F("leader_epoch", 4, MAX, Fixed(4)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const OFFSET_FOR_LEADER_EPOCH_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F("replica_id", 3, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("topic", 0, MAX, Str),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition", 0, MAX, Fixed(4)),
                        F("current_leader_epoch", 2, MAX, Fixed(4)),
                        F("leader_epoch", 0, MAX, Fixed(4)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const OFFSET_FOR_LEADER_EPOCH_ANSWER: Message = Message {
    flexible: 4,
    fields: &[
        F("throttle_time_ms", 2, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("topic", 0, MAX, Str),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("error_code", 0, MAX, Fixed(2)),
                        F("partition", 0, MAX, Fixed(4)),
                        F("leader_epoch", 1, MAX, Fixed(4)),
                        F("end_offset", 0, MAX, Fixed(8)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const DELETE_RECORDS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[
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
                    Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4)), F("offset", 0, MAX, Fixed(8))])),
                ),
            ])),
        ),
        F("timeout_ms", 0, MAX, Fixed(4)),
    ],
};

pub(super) const DELETE_RECORDS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
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
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("low_watermark", 0, MAX, Fixed(8)),
                        F("error_code", 0, MAX, Fixed(2)),
                    ])),
                ),
            ])),
        ),
    ],
};
