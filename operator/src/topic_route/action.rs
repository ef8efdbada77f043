//! The things that a move does to brokers, ledgers and the document, and what each brings. Values only.

use sluice_mesh::ledger::TopicState;
use sluice_mesh::name::ClusterName;
use uuid::Uuid;

use super::situation::{Checked, CutTable, Standing, Target};

/// One thing to do. Each can be done again after a crash at any instruction of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the ledgers again: what a write did is not known.
    ReadLedgers,
    /// All checks for a move to that cluster. Reads only.
    Check {
        /// The cluster.
        to: ClusterName,
    },
    /// Record in every ledger where the topic lives now.
    Catalogue,
    /// Publish a document that names the topic's present home.
    PublishEntry,
    /// See whether every proxy that reports has applied that revision.
    AwaitEntry {
        /// The revision.
        revision: u64,
    },
    /// Create the target sealed, or take over one that is; pin its configs; wait until its leaders refuse writes.
    PrepareTarget {
        /// Its cluster.
        to: ClusterName,
    },
    /// Ask the brokers whether they would accept the seal.
    TrySeal,
    /// Record that an attempt begins.
    RecordIntent(Box<TopicState>),
    /// Publish a document that fences the topic.
    Fence {
        /// The attempt.
        attempt: u64,
        /// Longest hold, milliseconds.
        hold_millis: u64,
    },
    /// Wait for the proxies to drain, at most so long.
    AwaitDrained {
        /// Revision of the fence.
        revision: u64,
        /// Longest wait, milliseconds.
        millis: i64,
    },
    /// See that no transaction can touch the topic, before it is sealed.
    CheckTransactions,
    /// Have the old home's brokers refuse writes.
    Seal(Box<TopicState>),
    /// See that they do, on every holder and for every append that was under way.
    ProveSeal(Box<TopicState>),
    /// Read log ends and producers of all partitions, and see again that no transaction can touch the topic.
    ReadCut(Box<TopicState>),
    /// Record the cut on the new home's ledger: producers first.
    RecordCutThere(Box<TopicState>),
    /// Record the cut on the old home's ledger: the commit.
    RecordCut(Box<TopicState>),
    /// Remove the target's seal and see it gone.
    OpenTarget(Box<TopicState>),
    /// Publish a document with the new chains.
    PublishChain(Box<TopicState>),
    /// See whether every proxy that reports has applied that revision.
    AwaitSwitched {
        /// The revision.
        revision: u64,
    },
    /// Record that the new home serves.
    RecordSwitched(Box<TopicState>),
    /// Record on the old home's ledger that the attempt is given up.
    RecordAbort(Box<TopicState>),
    /// Remove the seal of a given-up attempt from the old home.
    Unseal(Box<TopicState>),
    /// Publish a document without the fence of a given-up attempt.
    Unfence,
    /// Delete an empty target that a given-up move left behind.
    DropTarget {
        /// Its cluster.
        cluster: ClusterName,
        /// Its topic id: another topic of the same name is left alone.
        id: Uuid,
    },
}

impl Action {
    /// Prepares a move, or cleans up behind one: nobody waits for it, and it costs brokers, ledgers or proxies something.
    pub fn is_preparation(&self) -> bool {
        match self {
            Self::Check { .. }
            | Self::Catalogue
            | Self::PublishEntry
            | Self::PrepareTarget { .. }
            | Self::TrySeal
            | Self::DropTarget { .. } => true,
            // These two only look, the others are the move.
            Self::ReadLedgers
            | Self::AwaitEntry { .. }
            | Self::RecordIntent(_)
            | Self::Fence { .. }
            | Self::AwaitDrained { .. }
            | Self::CheckTransactions
            | Self::Seal(_)
            | Self::ProveSeal(_)
            | Self::ReadCut(_)
            | Self::RecordCutThere(_)
            | Self::RecordCut(_)
            | Self::OpenTarget(_)
            | Self::PublishChain(_)
            | Self::AwaitSwitched { .. }
            | Self::RecordSwitched(_)
            | Self::RecordAbort(_)
            | Self::Unseal(_)
            | Self::Unfence => false,
        }
    }

    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReadLedgers => "ReadLedgers",
            Self::Check { .. } => "Check",
            Self::Catalogue => "Catalogue",
            Self::PublishEntry => "PublishEntry",
            Self::AwaitEntry { .. } => "AwaitEntry",
            Self::PrepareTarget { .. } => "PrepareTarget",
            Self::TrySeal => "TrySeal",
            Self::RecordIntent(_) => "RecordIntent",
            Self::Fence { .. } => "Fence",
            Self::AwaitDrained { .. } => "AwaitDrained",
            Self::CheckTransactions => "CheckTransactions",
            Self::Seal(_) => "Seal",
            Self::ProveSeal(_) => "ProveSeal",
            Self::ReadCut(_) => "ReadCut",
            Self::RecordCutThere(_) => "RecordCutThere",
            Self::RecordCut(_) => "RecordCut",
            Self::OpenTarget(_) => "OpenTarget",
            Self::PublishChain(_) => "PublishChain",
            Self::AwaitSwitched { .. } => "AwaitSwitched",
            Self::RecordSwitched(_) => "RecordSwitched",
            Self::RecordAbort(_) => "RecordAbort",
            Self::Unseal(_) => "Unseal",
            Self::Unfence => "Unfence",
            Self::DropTarget { .. } => "DropTarget",
        }
    }
}

/// What an action brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// It is done.
    Done,
    /// The checks passed.
    Checked(Box<Checked>),
    /// A document was published.
    Revision(u64),
    /// A document with the fence was published.
    Fenced {
        /// Its revision.
        revision: u64,
        /// Since when proxies may have it, milliseconds since the Unix epoch.
        since: i64,
    },
    /// The proxies, by name, that have not applied the revision; none = all have.
    Late(Vec<String>),
    /// The target is there, sealed.
    Target(Target),
    /// The cut is complete.
    Cut(CutTable),
    /// What the ledgers hold now.
    Ledger(Standing),
}
