//! `KafkaCluster`: which clusters make up the mesh, and what people are told about each.

pub mod status;
pub mod validate;
