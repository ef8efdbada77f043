//! What a cluster is given once and keeps for ever: producer tag, node-id base, a port index per broker. Kept in the
//! ledger by Kafka's cluster id, so that neither renaming a KafkaCluster nor losing every file changes it. Pure.

use std::collections::BTreeMap;

use sluice_mesh::ledger::{ClusterIdentity, Fact};
use sluice_mesh::name::ClusterName;

/// Distance between the node-id bases of two clusters, unless a broker id needs more room.
const ROOM: i32 = 10_000;

/// Why a cluster cannot be given an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// All 127 tags are given out.
    #[error("the mesh has had 127 clusters and there is no producer tag left: start another mesh")]
    NoTag,
    /// No room for node ids or ports.
    #[error("there is no room for {what} any more: start another mesh")]
    NoRoom {
        /// For what.
        what: &'static str,
    },
}

/// The identity that a cluster with these brokers should have: `None` if what it has is enough.
pub fn assign(
    known: &BTreeMap<String, ClusterIdentity>,
    cluster_id: &str,
    name: &ClusterName,
    brokers: &[i32],
) -> Result<Option<ClusterIdentity>, IdentityError> {
    let mut identity = match known.get(cluster_id) {
        Some(identity) => identity.clone(),
        None => ClusterIdentity {
            name: name.clone(),
            tag: free_tag(known)?,
            node_id_base: free_base(known)?,
            indexes: Vec::new(),
        },
    };
    let used = known.values().flat_map(|identity| &identity.indexes).map(|(_, index)| u32::from(*index));
    let mut next = used.max().map_or(0, |highest| highest + 1);
    let mut sorted: Vec<i32> = brokers.iter().copied().filter(|id| *id >= 0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    for broker in sorted {
        if identity.indexes.iter().all(|(id, _)| *id != broker) {
            let index = u16::try_from(next).map_err(|_| IdentityError::NoRoom { what: "ports of brokers" })?;
            identity.indexes.push((broker, index));
            next += 1;
        }
    }
    let changed = known.get(cluster_id) != Some(&identity);
    Ok(changed.then_some(identity))
}

/// The ledger's fact of an identity.
pub fn fact(identity: ClusterIdentity) -> Fact {
    let ClusterIdentity { name, tag, node_id_base, indexes } = identity;
    Fact::Cluster { name, tag, node_id_base, indexes }
}

fn free_tag(known: &BTreeMap<String, ClusterIdentity>) -> Result<u8, IdentityError> {
    // Never one that was given out before: producers of a cluster that has left may still be about.
    let highest = known.values().map(|identity| identity.tag).max().unwrap_or(0);
    if highest < 127 { Ok(highest + 1) } else { Err(IdentityError::NoTag) }
}

fn free_base(known: &BTreeMap<String, ClusterIdentity>) -> Result<i32, IdentityError> {
    let no_room = IdentityError::NoRoom { what: "node ids" };
    let ends: Option<Vec<i32>> = known.values().map(end).collect();
    // A cluster whose own ids run over the end leaves no room behind it.
    let end = ends.ok_or(no_room.clone())?.into_iter().max().unwrap_or(0);
    let base = end.checked_add(ROOM - 1).map(|end| end / ROOM * ROOM).map(|base| base.max(ROOM));
    // The new cluster needs room of its own above its base.
    base.filter(|base| base.checked_add(ROOM).is_some()).ok_or(no_room)
}

/// One past the node ids of a cluster.
fn end(identity: &ClusterIdentity) -> Option<i32> {
    let highest = identity.indexes.iter().map(|(broker, _)| *broker).max().unwrap_or(0);
    let used = identity.node_id_base.checked_add(highest)?.checked_add(1)?;
    Some(used.max(identity.node_id_base.checked_add(ROOM)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ClusterName {
        ClusterName::new(text).unwrap()
    }

    fn give(known: &mut BTreeMap<String, ClusterIdentity>, id: &str, brokers: &[i32]) -> ClusterIdentity {
        let identity = assign(known, id, &name(&id.to_lowercase()), brokers).unwrap().unwrap();
        known.insert(id.to_owned(), identity.clone());
        identity
    }

    #[test]
    fn clusters_get_room_and_brokers_get_ports_once() {
        let mut known = BTreeMap::new();
        let east = give(&mut known, "E", &[3, 1, 2]);
        assert_eq!((east.tag, east.node_id_base), (1, 10_000));
        assert_eq!(east.indexes, [(1, 0), (2, 1), (3, 2)]);
        let west = give(&mut known, "W", &[1]);
        assert_eq!((west.tag, west.node_id_base, west.indexes.as_slice()), (2, 20_000, [(1, 3)].as_slice()));
        assert_eq!(assign(&known, "E", &name("other-name"), &[1, 2]), Ok(None));
        let grown = give(&mut known, "E", &[4, 1]);
        assert_eq!(grown.indexes, [(1, 0), (2, 1), (3, 2), (4, 4)]);
        assert_eq!(grown.name, name("e"));
    }

    #[test]
    fn a_large_broker_id_gets_the_room_it_needs() {
        let mut known = BTreeMap::new();
        give(&mut known, "E", &[25_000]);
        assert_eq!(give(&mut known, "W", &[1]).node_id_base, 40_000);
    }

    #[test]
    fn nothing_is_given_out_twice_even_at_the_end() {
        let mut known = BTreeMap::new();
        for number in 0..127 {
            give(&mut known, &format!("C{number}"), &[1]);
        }
        assert_eq!(assign(&known, "X", &name("x"), &[1]), Err(IdentityError::NoTag));
        let mut known = BTreeMap::new();
        give(&mut known, "E", &[i32::MAX - 10_000]);
        let error = assign(&known, "W", &name("w"), &[1]);
        assert_eq!(error, Err(IdentityError::NoRoom { what: "node ids" }));
    }
}
