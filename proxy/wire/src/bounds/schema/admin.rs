//! Fields of administration: configs, log directories, rights, replicas.

use super::F;
use super::Kind::{Array, Fixed, Str, Struct};
use super::{MAX, Message};

pub(super) const DESCRIBE_CONFIGS_REQUEST: Message = Message {
    flexible: 4,
    fields: &[
        F(
            "resources",
            0,
            MAX,
            Array(&Struct(&[
                F("resource_type", 0, MAX, Fixed(1)),
                F("resource_name", 0, MAX, Str),
                F("configuration_keys", 0, MAX, Array(&Str)),
            ])),
        ),
        F("include_synonyms", 1, MAX, Fixed(1)),
        F("include_documentation", 3, MAX, Fixed(1)),
    ],
};

pub(super) const DESCRIBE_CONFIGS_ANSWER: Message = Message {
    flexible: 4,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "results",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 0, MAX, Str),
                F("resource_type", 0, MAX, Fixed(1)),
                F("resource_name", 0, MAX, Str),
                F(
                    "configs",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("name", 0, MAX, Str),
                        F("value", 0, MAX, Str),
                        F("read_only", 0, MAX, Fixed(1)),
                        F("config_source", 1, MAX, Fixed(1)),
                        F("is_sensitive", 0, MAX, Fixed(1)),
                        F(
                            "synonyms",
                            1,
                            MAX,
                            Array(&Struct(&[
                                F("name", 1, MAX, Str),
                                F("value", 1, MAX, Str),
                                F("source", 1, MAX, Fixed(1)),
                            ])),
                        ),
                        F("config_type", 3, MAX, Fixed(1)),
                        F("documentation", 3, MAX, Str),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const INCREMENTAL_ALTER_CONFIGS_REQUEST: Message = Message {
    flexible: 1,
    fields: &[
        F(
            "resources",
            0,
            MAX,
            Array(&Struct(&[
                F("resource_type", 0, MAX, Fixed(1)),
                F("resource_name", 0, MAX, Str),
                F(
                    "configs",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("name", 0, MAX, Str),
                        F("config_operation", 0, MAX, Fixed(1)),
                        F("value", 0, MAX, Str),
                    ])),
                ),
            ])),
        ),
        F("validate_only", 0, MAX, Fixed(1)),
    ],
};

pub(super) const INCREMENTAL_ALTER_CONFIGS_ANSWER: Message = Message {
    flexible: 1,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "responses",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 0, MAX, Str),
                F("resource_type", 0, MAX, Fixed(1)),
                F("resource_name", 0, MAX, Str),
            ])),
        ),
    ],
};

pub(super) const DESCRIBE_LOG_DIRS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[F(
        "topics",
        0,
        MAX,
        Array(&Struct(&[F("topic", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))])),
    )],
};

pub(super) const DESCRIBE_LOG_DIRS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 3, MAX, Fixed(2)),
        F(
            "results",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("log_dir", 0, MAX, Str),
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
                                F("partition_size", 0, MAX, Fixed(8)),
                                F("offset_lag", 0, MAX, Fixed(8)),
                                F("is_future_key", 0, MAX, Fixed(1)),
                            ])),
                        ),
                    ])),
                ),
                F("total_bytes", 4, MAX, Fixed(8)),
                F("usable_bytes", 4, MAX, Fixed(8)),
                F("is_cordoned", 5, MAX, Fixed(1)),
            ])),
        ),
    ],
};

pub(super) const ALTER_REPLICA_LOG_DIRS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[F(
        "dirs",
        0,
        MAX,
        Array(&Struct(&[
            F("path", 0, MAX, Str),
            F("topics", 0, MAX, Array(&Struct(&[F("name", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))]))),
        ])),
    )],
};

pub(super) const ALTER_REPLICA_LOG_DIRS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "results",
            0,
            MAX,
            Array(&Struct(&[
                F("topic_name", 0, MAX, Str),
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

pub(super) const DESCRIBE_ACLS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[
        F("resource_type_filter", 0, MAX, Fixed(1)),
        F("resource_name_filter", 0, MAX, Str),
        F("pattern_type_filter", 1, MAX, Fixed(1)),
        F("principal_filter", 0, MAX, Str),
        F("host_filter", 0, MAX, Str),
        F("operation", 0, MAX, Fixed(1)),
        F("permission_type", 0, MAX, Fixed(1)),
    ],
};

pub(super) const DESCRIBE_ACLS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
        F(
            "resources",
            0,
            MAX,
            Array(&Struct(&[
                F("resource_type", 0, MAX, Fixed(1)),
                F("resource_name", 0, MAX, Str),
                F("pattern_type", 1, MAX, Fixed(1)),
                F(
                    "acls",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("principal", 0, MAX, Str),
                        F("host", 0, MAX, Str),
                        F("operation", 0, MAX, Fixed(1)),
                        F("permission_type", 0, MAX, Fixed(1)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const CREATE_ACLS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[F(
        "creations",
        0,
        MAX,
        Array(&Struct(&[
            F("resource_type", 0, MAX, Fixed(1)),
            F("resource_name", 0, MAX, Str),
            F("resource_pattern_type", 1, MAX, Fixed(1)),
            F("principal", 0, MAX, Str),
            F("host", 0, MAX, Str),
            F("operation", 0, MAX, Fixed(1)),
            F("permission_type", 0, MAX, Fixed(1)),
        ])),
    )],
};

pub(super) const CREATE_ACLS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("results", 0, MAX, Array(&Struct(&[F("error_code", 0, MAX, Fixed(2)), F("error_message", 0, MAX, Str)]))),
    ],
};

pub(super) const DELETE_ACLS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[F(
        "filters",
        0,
        MAX,
        Array(&Struct(&[
            F("resource_type_filter", 0, MAX, Fixed(1)),
            F("resource_name_filter", 0, MAX, Str),
            F("pattern_type_filter", 1, MAX, Fixed(1)),
            F("principal_filter", 0, MAX, Str),
            F("host_filter", 0, MAX, Str),
            F("operation", 0, MAX, Fixed(1)),
            F("permission_type", 0, MAX, Fixed(1)),
        ])),
    )],
};

pub(super) const DELETE_ACLS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F(
            "filter_results",
            0,
            MAX,
            Array(&Struct(&[
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 0, MAX, Str),
                F(
                    "matching_acls",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("error_code", 0, MAX, Fixed(2)),
                        F("error_message", 0, MAX, Str),
                        F("resource_type", 0, MAX, Fixed(1)),
                        F("resource_name", 0, MAX, Str),
                        F("pattern_type", 1, MAX, Fixed(1)),
                        F("principal", 0, MAX, Str),
                        F("host", 0, MAX, Str),
                        F("operation", 0, MAX, Fixed(1)),
                        F("permission_type", 0, MAX, Fixed(1)),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const ALTER_PARTITION_REASSIGNMENTS_REQUEST: Message = Message {
    flexible: 0,
    fields: &[
        F("timeout_ms", 0, MAX, Fixed(4)),
        F("allow_replication_factor_change", 1, MAX, Fixed(1)),
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
                    Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4)), F("replicas", 0, MAX, Array(&Fixed(4)))])),
                ),
            ])),
        ),
    ],
};

pub(super) const ALTER_PARTITION_REASSIGNMENTS_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("allow_replication_factor_change", 1, MAX, Fixed(1)),
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
        F(
            "responses",
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
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const LIST_PARTITION_REASSIGNMENTS_REQUEST: Message = Message {
    flexible: 0,
    fields: &[
        F("timeout_ms", 0, MAX, Fixed(4)),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[F("name", 0, MAX, Str), F("partition_indexes", 0, MAX, Array(&Fixed(4)))])),
        ),
    ],
};

pub(super) const LIST_PARTITION_REASSIGNMENTS_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
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
                        F("replicas", 0, MAX, Array(&Fixed(4))),
                        F("adding_replicas", 0, MAX, Array(&Fixed(4))),
                        F("removing_replicas", 0, MAX, Array(&Fixed(4))),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const ELECT_LEADERS_REQUEST: Message = Message {
    flexible: 2,
    fields: &[
        F("election_type", 1, MAX, Fixed(1)),
        F(
            "topic_partitions",
            0,
            MAX,
            Array(&Struct(&[F("topic", 0, MAX, Str), F("partitions", 0, MAX, Array(&Fixed(4)))])),
        ),
        F("timeout_ms", 0, MAX, Fixed(4)),
    ],
};

pub(super) const ELECT_LEADERS_ANSWER: Message = Message {
    flexible: 2,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 1, MAX, Fixed(2)),
        F(
            "replica_election_results",
            0,
            MAX,
            Array(&Struct(&[
                F("topic", 0, MAX, Str),
                F(
                    "partition_result",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_id", 0, MAX, Fixed(4)),
                        F("error_code", 0, MAX, Fixed(2)),
                        F("error_message", 0, MAX, Str),
                    ])),
                ),
            ])),
        ),
    ],
};

pub(super) const DESCRIBE_QUORUM_REQUEST: Message = Message {
    flexible: 0,
    fields: &[F(
        "topics",
        0,
        MAX,
        Array(&Struct(&[
            F("topic_name", 0, MAX, Str),
            F("partitions", 0, MAX, Array(&Struct(&[F("partition_index", 0, MAX, Fixed(4))]))),
        ])),
    )],
};

pub(super) const DESCRIBE_QUORUM_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 2, MAX, Str),
        F(
            "topics",
            0,
            MAX,
            Array(&Struct(&[
                F("topic_name", 0, MAX, Str),
                F(
                    "partitions",
                    0,
                    MAX,
                    Array(&Struct(&[
                        F("partition_index", 0, MAX, Fixed(4)),
                        F("error_code", 0, MAX, Fixed(2)),
                        F("error_message", 2, MAX, Str),
                        F("leader_id", 0, MAX, Fixed(4)),
                        F("leader_epoch", 0, MAX, Fixed(4)),
                        F("high_watermark", 0, MAX, Fixed(8)),
                        F(
                            "current_voters",
                            0,
                            MAX,
                            Array(&Struct(&[
                                F("replica_id", 0, MAX, Fixed(4)),
                                F("replica_directory_id", 2, MAX, Fixed(16)),
                                F("log_end_offset", 0, MAX, Fixed(8)),
                                F("last_fetch_timestamp", 1, MAX, Fixed(8)),
                                F("last_caught_up_timestamp", 1, MAX, Fixed(8)),
                            ])),
                        ),
                        F(
                            "observers",
                            0,
                            MAX,
                            Array(&Struct(&[
                                F("replica_id", 0, MAX, Fixed(4)),
                                F("replica_directory_id", 2, MAX, Fixed(16)),
                                F("log_end_offset", 0, MAX, Fixed(8)),
                                F("last_fetch_timestamp", 1, MAX, Fixed(8)),
                                F("last_caught_up_timestamp", 1, MAX, Fixed(8)),
                            ])),
                        ),
                    ])),
                ),
            ])),
        ),
        F(
            "nodes",
            2,
            MAX,
            Array(&Struct(&[
                F("node_id", 2, MAX, Fixed(4)),
                F(
                    "listeners",
                    2,
                    MAX,
                    Array(&Struct(&[F("name", 2, MAX, Str), F("host", 2, MAX, Str), F("port", 2, MAX, Fixed(2))])),
                ),
            ])),
        ),
    ],
};

pub(super) const UPDATE_FEATURES_REQUEST: Message = Message {
    flexible: 0,
    fields: &[
        F("timeout_ms", 0, MAX, Fixed(4)),
        F(
            "feature_updates",
            0,
            MAX,
            Array(&Struct(&[
                F("feature", 0, MAX, Str),
                F("max_version_level", 0, MAX, Fixed(2)),
                F("allow_downgrade", 0, 0, Fixed(1)),
                F("upgrade_type", 1, MAX, Fixed(1)),
            ])),
        ),
        F("validate_only", 1, MAX, Fixed(1)),
    ],
};

pub(super) const UPDATE_FEATURES_ANSWER: Message = Message {
    flexible: 0,
    fields: &[
        F("throttle_time_ms", 0, MAX, Fixed(4)),
        F("error_code", 0, MAX, Fixed(2)),
        F("error_message", 0, MAX, Str),
        F(
            "results",
            0,
            1,
            Array(&Struct(&[
                F("feature", 0, MAX, Str),
                F("error_code", 0, MAX, Fixed(2)),
                F("error_message", 0, MAX, Str),
            ])),
        ),
    ],
};
