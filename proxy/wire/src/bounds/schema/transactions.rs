//! Fields of producers and transactions.

use super::F;
use super::Kind::{Array, Fixed, Str, Struct};
use super::{MAX, Message};

pub(super) const INIT_PRODUCER_ID_REQUEST: Message = Message {
    flexible: 2,
    fields: &[
        F("transactional_id", 0, MAX, Str),
        F("transaction_timeout_ms", 0, MAX, Fixed(4)),
        F("producer_id", 3, MAX, Fixed(8)),
        F("producer_epoch", 3, MAX, Fixed(2)),
        F("enable2_pc", 6, MAX, Fixed(1)),
        F("keep_prepared_txn", 6, MAX, Fixed(1)),
    ],
};

pub(super) const INIT_PRODUCER_ID_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("producer_id", 0, MAX, Fixed(8)),
        F("producer_epoch", 0, MAX, Fixed(2)),
        F("ongoing_txn_producer_id", 6, MAX, Fixed(8)),
        F("ongoing_txn_producer_epoch", 6, MAX, Fixed(2)),
    ],
};

pub(super) const ADD_PARTITIONS_TO_TXN_REQUEST: Message = Message {
    flexible: 3,
    fields: &[
        F(
            "transactions",
            4,
            MAX,
            Array(&Struct(&[
                F("transactional_id", 4, MAX, Str),
                F("producer_id", 4, MAX, Fixed(8)),
                F("producer_epoch", 4, MAX, Fixed(2)),
                F("verify_only", 4, MAX, Fixed(1)),
                F(
                    "topics",
                    4,
                    MAX,
                    Array(&Struct(&[F("name", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))])),
                ),
            ])),
        ),
        F("v3_and_below_transactional_id", 0, 3, Str),
        F("v3_and_below_producer_id", 0, 3, Fixed(8)),
        F("v3_and_below_producer_epoch", 0, 3, Fixed(2)),
        F(
            "v3_and_below_topics",
            0,
            3,
            Array(&Struct(&[F("name", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))])),
        ),
    ],
};

pub(super) const ADD_PARTITIONS_TO_TXN_ANSWER: Message = Message {
    flexible: 3,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 4, MAX, Fixed(2)),
        F(
            "results_by_transaction",
            4,
            MAX,
            Array(&Struct(&[
                F("transactional_id", 4, MAX, Str),
                F(
                    "topic_results",
                    4,
                    MAX,
                    Array(&Struct(&[
                        F("name", 0, MAX, Str),
                        F(
                            "results_by_partition",
                            0,
                            MAX,
                            Array(&Struct(&[
                                F("partition_index", 0, MAX, Fixed(4)),
                                F("partition_error_code", 0, MAX, Fixed(2)),
                            ])),
                        ),
                    ])),
                ),
            ])),
        ),
        F(
            "results_by_topic_v3_and_below",
            0,
            3,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F(
                    "results_by_partition",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("partition_error_code", 0, MAX, Fixed(2)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const ADD_OFFSETS_TO_TXN_REQUEST: Message = Message {
    flexible: 3,
    fields: &[
        F("transactional_id", 0, MAX, Str),
        F("producer_id", 0, MAX, Fixed(8)),
        F("producer_epoch", 0, MAX, Fixed(2)),
        F("group_id", 0, MAX, Str),
    ],
};

pub(super) const ADD_OFFSETS_TO_TXN_ANSWER: Message =
    Message { flexible: 3, fields: &[F("throttle_time_ms", 0, MAX, Fixed(4)), F("error_code", 0, MAX, Fixed(2))] };

pub(super) const END_TXN_REQUEST: Message = Message {
    flexible: 3,
    fields: &[
        F("transactional_id", 0, MAX, Str),
        F("producer_id", 0, MAX, Fixed(8)),
        F("producer_epoch", 0, MAX, Fixed(2)),
        F("committed", 0, MAX, Fixed(1)),
    ],
};

pub(super) const END_TXN_ANSWER: Message = Message {
    flexible: 3,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("producer_id", 5, MAX, Fixed(8)),
        F("producer_epoch", 5, MAX, Fixed(2)),
    ],
};

pub(super) const TXN_OFFSET_COMMIT_REQUEST: Message = Message {
    flexible: 3,
    fields: &[
        F("transactional_id", 0, MAX, Str),
        F("group_id", 0, MAX, Str),
        F("producer_id", 0, MAX, Fixed(8)),
        F("producer_epoch", 0, MAX, Fixed(2)),
        F("generation_id", 3, MAX, Fixed(4)),
        F("member_id", 3, MAX, Str),
        F("group_instance_id", 3, MAX, Str),
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
                        F("committed_offset", 0, MAX, Fixed(8)),
                        F("committed_leader_epoch", 2, MAX, Fixed(4)),
                        F("committed_metadata", 0, MAX, Str),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const TXN_OFFSET_COMMIT_ANSWER: Message = Message {
    flexible: 3,
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
                    Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4)), F("error_code", 0, MAX, Fixed(2))])),
                ),
            ])),
        ),
    ],
};

pub(super) const DESCRIBE_PRODUCERS_REQUEST: Message = Message {
    flexible: 0,
    fields: &[F(
        "topics",
        0,
        MAX,
        Array(&Struct(&[F("name", 0, MAX, Str), F("partition_indexes", 0, MAX, Array(&Fixed(4)))])),
    )],
};

pub(super) const DESCRIBE_PRODUCERS_ANSWER: Message = Message {
    flexible: 0,
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
                        F("error_code", 0, MAX, Fixed(2)),
                        F("error_message", 0, MAX, Str),
                        F(
                            "active_producers",
                            0,
                            MAX,
                            Array(&Struct(&[
                                F("producer_id", 0, MAX, Fixed(8)),
                                F("producer_epoch", 0, MAX, Fixed(4)),
                                F("last_sequence", 0, MAX, Fixed(4)),
                                F("last_timestamp", 0, MAX, Fixed(8)),
                                F("coordinator_epoch", 0, MAX, Fixed(4)),
                                F("current_txn_start_offset", 0, MAX, Fixed(8)),
                            ])),
                        ),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const DESCRIBE_TRANSACTIONS_REQUEST: Message =
    Message { flexible: 0, fields: &[F("transactional_ids", 0, MAX, Array(&Str))] };

pub(super) const DESCRIBE_TRANSACTIONS_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "transaction_states",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("transactional_id", 0, MAX, Str),
                F("transaction_state", 0, MAX, Str),
                F("transaction_timeout_ms", 0, MAX, Fixed(4)),
                F("transaction_start_time_ms", 0, MAX, Fixed(8)),
                F("producer_id", 0, MAX, Fixed(8)),
                F("producer_epoch", 0, MAX, Fixed(2)),
                F(
                    "topics",
                    0,
                    MAX,
                    Array(&Struct(&[F("topic", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))])),
                ),
            ])),
        ),
    ],
};

pub(super) const LIST_TRANSACTIONS_REQUEST: Message = Message {
    flexible: 0,
    fields: &[
        F("state_filters", 0, MAX, Array(&Str)),
        F("producer_id_filters", 0, MAX, Array(&Fixed(8))),
        F("duration_filter", 1, MAX, Fixed(8)),
        F("transactional_id_pattern", 2, MAX, Str),
    ],
};

pub(super) const LIST_TRANSACTIONS_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("unknown_state_filters", 0, MAX, Array(&Str)),
        F(
            "transaction_states",
            0,
            MAX,
            Array(&Struct(&[
                F("transactional_id", 0, MAX, Str),
                F("producer_id", 0, MAX, Fixed(8)),
                F("transaction_state", 0, MAX, Str),
            ])),
        ),
    ],
};
