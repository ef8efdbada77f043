//! Fields of the cluster and its topics.

use super::F;
use super::Kind::{Array, Blob, Fixed, Str, Struct, Tagged};
use super::{MAX, Message};

pub(super) const API_VERSIONS_REQUEST: Message = Message {
    flexible: 3,
    fields: &[F("client_software_name", 3, MAX, Str), F("client_software_version", 3, MAX, Str)],
};

pub(super) const API_VERSIONS_ANSWER: Message = Message {
    flexible: 3,
    fields: &[
        F("error_code", 0, MAX, Fixed(2)),
        F(
            "api_keys",
            0,
            MAX,
            Array(&Struct(&[
                F("api_key", 0, MAX, Fixed(2)),
                F("min_version", 0, MAX, Fixed(2)),
                F("max_version", 0, MAX, Fixed(2)),
            ])),
        ),
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F(
            "supported_features",
            3,
            MAX,
            Tagged(
                0,
                &Array(&Struct(&[
                    F("name", 3, MAX, Str),
                    F("min_version", 3, MAX, Fixed(2)),
                    F("max_version", 3, MAX, Fixed(2)),
                ])),
            ),
        ),
        F("finalized_features_epoch", 3, MAX, Tagged(1, &Fixed(8))),
        F(
            "finalized_features",
            3,
            MAX,
            Tagged(
                2,
                &Array(&Struct(&[
                    F("name", 3, MAX, Str),
                    F("max_version_level", 3, MAX, Fixed(2)),
                    F("min_version_level", 3, MAX, Fixed(2)),
                ])),
            ),
        ),
        F("zk_migration_ready", 3, MAX, Tagged(3, &Fixed(1))),
    ],
};

pub(super) const METADATA_REQUEST: Message = Message {
    flexible: 9,
    fields: &[
        F("topics", 0, MAX, Array(&Struct(&[F("topic_id", 10, MAX, Fixed(16)), F("name", 0, MAX, Str)]))),
        F("allow_auto_topic_creation", 4, MAX, Fixed(1)),
        F("include_cluster_authorized_operations", 8, 10, Fixed(1)),
        F("include_topic_authorized_operations", 8, MAX, Fixed(1)),
    ],
};

pub(super) const METADATA_ANSWER: Message = Message {
    flexible: 9,
    fields: &[
        F("throttle_time_ms", 3, MAX, Fixed(4)),
        F(
            "brokers",
            0,
            MAX,
            Array(&Struct(&[
                F("node_id", 0, MAX, Fixed(4)),
                F("host", 0, MAX, Str),
                F("port", 0, MAX, Fixed(4)),
                F("rack", 1, MAX, Str),
            ])),
        ),
        F("cluster_id", 2, MAX, Str),
        F("controller_id", 1, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("name", 0, MAX, Str),
                F("topic_id", 10, MAX, Fixed(16)),
                F("is_internal", 1, MAX, Fixed(1)),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("error_code", 0, MAX, Fixed(2)),
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("leader_id", 0, MAX, Fixed(4)),
                        F("leader_epoch", 7, MAX, Fixed(4)),
                        F("replica_nodes", 0, MAX, Array(&Fixed(4))),
                        F("isr_nodes", 0, MAX, Array(&Fixed(4))),
                        F("offline_replicas", 5, MAX, Array(&Fixed(4))),
                    ])),
                ),
                F("topic_authorized_operations", 8, MAX, Fixed(4)),
            ])),
        ),
        F("cluster_authorized_operations", 8, 10, Fixed(4)),
        F("error_code", 13, MAX, Fixed(2)),
    ],
};

pub(super) const DESCRIBE_CLUSTER_REQUEST: Message = Message {
    flexible: 0,
    fields: &[
        F("include_cluster_authorized_operations", 0, MAX, Fixed(1)),
        F("endpoint_type", 1, MAX, Fixed(1)),
        F("include_fenced_brokers", 2, MAX, Fixed(1)),
    ],
};

pub(super) const DESCRIBE_CLUSTER_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
        F("endpoint_type", 1, MAX, Fixed(1)),
        F("cluster_id", 0, MAX, Str),
        F("controller_id", 0, MAX, Fixed(4)),
        F(
            "brokers",
            0,
            MAX,
            Array(&Struct(&[
                F("broker_id", 0, MAX, Fixed(4)),
                F("host", 0, MAX, Str),
                F("port", 0, MAX, Fixed(4)),
                F("rack", 0, MAX, Str),
                F("is_fenced", 2, MAX, Fixed(1)),
            ])),
        ),
        F("cluster_authorized_operations", 0, MAX, Fixed(4)),
    ],
};

pub(super) const CREATE_TOPICS_REQUEST: Message = Message {
    flexible: 5,
    fields: &[
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("num_partitions", 0, MAX, Fixed(4)),
                F("replication_factor", 0, MAX, Fixed(2)),
                F(
                    "assignments",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("broker_ids", 0, MAX, Array(&Fixed(4))),
                    ])),
                ),
                F("configs", 0, MAX, Array(&Struct(&[F("name", 0, MAX, Str), F("value", 0, MAX, Str)]))),
            ])),
        ),
        F("timeout_ms", 0, MAX, Fixed(4)),
        F("validate_only", 1, MAX, Fixed(1)),
    ],
};

pub(super) const CREATE_TOPICS_ANSWER: Message = Message {
    flexible: 5,
    fields: &[
        F("throttle_time_ms", 2, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("topic_id", 7, MAX, Fixed(16)),
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 1, MAX, Str),
                F("topic_config_error_code", 5, MAX, Tagged(0, &Fixed(2))),
                F("num_partitions", 5, MAX, Fixed(4)),
                F("replication_factor", 5, MAX, Fixed(2)),
                F(
                    "configs",
                    5,
                    MAX,
                    Array(&Struct(&[
                        F("name", 5, MAX, Str),
                        F("value", 5, MAX, Str),
                        F("read_only", 5, MAX, Fixed(1)),
                        F("config_source", 5, MAX, Fixed(1)),
                        F("is_sensitive", 5, MAX, Fixed(1)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const DELETE_TOPICS_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F("topics", 6, MAX, Array(&Struct(&[F("name", 6, MAX, Str), F("topic_id", 6, MAX, Fixed(16))]))),
        F("topic_names", 0, 5, Array(&Str)),
        F("timeout_ms", 0, MAX, Fixed(4)),
    ],
};

pub(super) const DELETE_TOPICS_ANSWER: Message = Message {
    flexible: 4,
    fields: &[
        F("throttle_time_ms", 1, MAX, Fixed(4)),
        F(
            "responses",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("topic_id", 6, MAX, Fixed(16)),
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 5, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const CREATE_PARTITIONS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("count", 0, MAX, Fixed(4)),
                F("assignments", 0, MAX, Array(&Struct(&[F("broker_ids", 0, MAX, Array(&Fixed(4)))]))),
            ])),
        ),
        F("timeout_ms", 0, MAX, Fixed(4)),
        F("validate_only", 0, MAX, Fixed(1)),
    ],
};

pub(super) const CREATE_PARTITIONS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "results",
            0,
            MAX,
            Array(&Struct(&[
                F("name", 0, MAX, Str),
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 0, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const SASL_HANDSHAKE_REQUEST: Message = Message { flexible: MAX, fields: &[F("mechanism", 0, MAX, Str)] };

pub(super) const SASL_HANDSHAKE_ANSWER: Message =
    Message { flexible: MAX, fields: &[F("error_code", 0, MAX, Fixed(2)), F("mechanisms", 0, MAX, Array(&Str))] };

pub(super) const SASL_AUTHENTICATE_REQUEST: Message = Message { flexible: 2, fields: &[F("auth_bytes", 0, MAX, Blob)] };

pub(super) const SASL_AUTHENTICATE_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
        F("auth_bytes", 0, MAX, Blob),
        F("session_lifetime_ms", 1, MAX, Fixed(8)),
    ],
};
