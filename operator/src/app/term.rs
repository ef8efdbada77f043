//! One term: everything that is done for a mesh while its home cluster stays the same. Level-triggered: each round looks
//! at everything there is and does what is missing.

mod beside;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mesh::ledger::{Merged, Subject};
use sluice_mesh::name::{ClusterName, TopicName};
use sluice_net::ClientOptions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::concern::{self, Concern, Heard};
use super::topics::Topics;
use crate::args::Args;
use crate::clock;
use crate::compile::Member;
use crate::context::{Context, PREPARATIONS, Permits};
use crate::identity;
use crate::kafka_cluster::validate::{self, Membership};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::observe::{Observations, Observer};
use crate::publish::{Declared, Parts, Publisher};
use crate::reports::{self, Proxies};
use crate::store::{EventType, Reports, Resources, Store, StoreError};
use crate::topic_fuse::validate::Asked;
use crate::topic_fuse::{self, Fuses};
use crate::topic_route;

/// A round is done at least this often: reports grow old without a wake-up.
const ROUND: Duration = Duration::from_secs(1);
/// How soon after a change that moves bring by the dozen. Nobody waits for it: what a move says is published by the move.
const SOON: Duration = Duration::from_millis(100);
/// How long after a failure the ledger of a cluster is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(2);

/// What a route waits for in the beginning.
const UNREAD: &str =
    "the ledgers of the mesh have not all been read yet; the KafkaClusters say which one is waited for";

/// What came of opening a ledger.
type Opened = (ClusterName, Result<Vec<String>, LedgerError>);

/// The world as the topics' tasks know it.
#[derive(Default)]
struct Seen {
    resources: Arc<Resources>,
    observations: Arc<Observations>,
    ledger: Arc<Merged>,
    reports: Vec<Heard>,
}

/// A term.
pub(super) struct Term {
    context: Arc<Context>,
    topics: Topics,
    /// Ledgers being opened.
    opening: JoinSet<Opened>,
    opening_names: BTreeSet<ClusterName>,
    /// Why a ledger could not be opened, and when.
    ledger_troubles: BTreeMap<ClusterName, (String, Instant)>,
    /// Ends the tasks beside.
    beside: CancellationToken,
    started: bool,
    /// What the topics' tasks have been woken for last.
    seen: Seen,
    /// Whether each cluster answered when that was told last.
    told: BTreeMap<ClusterName, bool>,
    /// What fuses were told of last.
    fuses: Fuses,
}

impl Term {
    pub(super) fn new(args: &Args, home: ClusterName, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let holder = format!("pid {} since {}", std::process::id(), clock::now());
        let ledger = Ledger::new(&args.mesh, &holder, home.clone());
        let options = ClientOptions {
            client_id: format!("sluice-operator-{}", args.mesh),
            request_timeout: args.request_timeout(),
            ..ClientOptions::default()
        };
        let observer = Observer::new(options);
        let publisher = Publisher::new(Parts {
            mesh: args.mesh.clone(),
            home: home.clone(),
            store: Arc::clone(&store),
            ledger: ledger.clone(),
            metrics: Arc::clone(&metrics),
            observations: observer.observations(),
            reports: store.reports(),
        });
        let turns = usize::from(store.resources().borrow().settings.max_concurrent_moves.max(1));
        let context = Arc::new(Context {
            mesh: args.mesh.clone(),
            home,
            proxies: Proxies::new(store.reports()),
            store,
            ledger,
            observer,
            publisher,
            metrics,
            turns: Permits::new(turns),
            preparations: Permits::new(PREPARATIONS),
        });
        Self {
            topics: Topics::new(Arc::clone(&context)),
            context,
            opening: JoinSet::new(),
            opening_names: BTreeSet::new(),
            ledger_troubles: BTreeMap::new(),
            beside: CancellationToken::new(),
            started: false,
            seen: Seen::default(),
            told: BTreeMap::new(),
            fuses: Fuses::default(),
        }
    }

    pub(super) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Works until told to stop, until another cluster is the home, or until another operator takes over.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), AppError> {
        tracing::info!(home = %self.context.home, "the mesh has a home");
        let mut resources = self.context.store.resources();
        let mut reports = self.context.store.reports();
        let mut observations = self.context.observer.observations();
        let mut ledger = self.context.ledger.changes();
        let (fenced, lost) = (self.context.ledger.fenced(), self.context.store.lost());
        let renewal = beside::renew_ledgers(Arc::clone(&self.context));
        tokio::spawn(self.beside.clone().run_until_cancelled_owned(renewal));
        let mut next_round = Instant::now();
        let ended = loop {
            // Topics learn at once of what is about them.
            self.wake(&resources.borrow_and_update(), &observations.borrow_and_update(), &ledger.borrow_and_update());
            self.wake_for_reports(&reports.borrow_and_update());
            if Instant::now() >= next_round {
                let (seen, observed) = (Arc::clone(&self.seen.resources), Arc::clone(&self.seen.observations));
                let membership = validate::membership(&seen, &observed, &self.context.ledger.merged());
                if membership.home.as_ref() != Some(&self.context.home) {
                    tracing::warn!(home = %self.context.home, "the mesh has another home now, or none");
                    break Ok(());
                }
                let begun = Instant::now();
                let round = self.round(&seen, &observed, &membership).await;
                self.context.metrics.reconciled("KafkaCluster", round.is_ok(), begun.elapsed());
                if let Err(error @ LedgerError::Fenced { .. }) = round {
                    break Err(error.into());
                }
                next_round = Instant::now() + ROUND;
            }
            let soon = next_round.min(Instant::now() + SOON);
            tokio::select! {
                _ = resources.changed() => next_round = Instant::now(),
                _ = observations.changed() => next_round = Instant::now(),
                _ = ledger.changed() => next_round = soon,
                _ = reports.changed() => next_round = soon,
                Some(opened) = self.opening.join_next(), if !self.opening.is_empty() => {
                    self.note_opened(opened);
                    self.topics.wake(&Concern::All);
                    next_round = Instant::now();
                }
                () = fenced.cancelled() => {
                    break Err(LedgerError::Fenced { cluster: self.context.home.clone() }.into());
                }
                () = lost.cancelled() => break Err(StoreError::NotLeader.into()),
                () = stop.cancelled() => break Ok(()),
                () = tokio::time::sleep_until(next_round.into()) => {}
            }
        };
        self.beside.cancel();
        // Where another operator leads, what is under way ends on the spot, with this term.
        if !fenced.is_cancelled() && !lost.is_cancelled() {
            self.topics.stop().await;
        }
        self.context.observer.set(&BTreeMap::new());
        ended
    }

    /// Looks at everything once.
    async fn round(
        &mut self,
        resources: &Resources,
        observations: &Observations,
        membership: &Membership,
    ) -> Result<(), LedgerError> {
        let watched = membership.members.iter().map(|member| (member.name.clone(), member.bootstrap_servers.clone()));
        let mut watched: BTreeMap<ClusterName, Vec<String>> = watched.collect();
        for (name, resource) in &resources.clusters {
            // One that was refused for what was seen of it is looked at further: it may become right.
            let refused = membership.refused.contains_key(name);
            if refused && let Ok(name) = ClusterName::new(name) {
                watched.insert(name, resource.object.spec.bootstrap_servers.clone());
            }
        }
        self.context.observer.set(&watched);
        self.context.turns.set(usize::from(resources.settings.max_concurrent_moves.max(1)));
        for cluster in self.context.ledger.open_clusters() {
            if !membership.members.iter().any(|member| member.name == cluster) {
                self.context.ledger.close(&cluster);
                self.topics.wake(&Concern::All);
                self.context.metrics.forget_cluster(cluster.as_str());
            }
        }
        self.open_ledgers(membership, observations);
        let ready = self.ledgers_ready(membership, observations);
        let fuses = topic_fuse::validate::asked(resources);
        let result = if ready { self.publish(resources, observations, membership, &fuses).await } else { Ok(()) };
        if self.started {
            self.topics.set(&self.topic_names(resources));
        }
        self.tell(resources, observations, membership);
        self.tell_of_fuses(&fuses);
        self.let_go(resources);
        result
    }

    /// Opens the ledgers of clusters that have been seen, beside everything else.
    fn open_ledgers(&mut self, membership: &Membership, observations: &Observations) {
        for member in &membership.members {
            let name = &member.name;
            let tried = self.ledger_troubles.get(name).is_some_and(|(_, when)| when.elapsed() < LEDGER_RETRY);
            let seen = observations.get(name).is_some_and(|observation| observation.seen.is_some());
            if !seen || tried || self.opening_names.contains(name) || self.context.ledger.is_open(name) {
                continue;
            }
            let Some(client) = self.context.observer.client(name) else { continue };
            self.opening_names.insert(name.clone());
            let (ledger, name) = (self.context.ledger.clone(), name.clone());
            self.opening.spawn(async move {
                let opened = ledger.open(&name, client).await;
                (name, opened)
            });
        }
    }

    fn note_opened(&mut self, opened: Result<Opened, tokio::task::JoinError>) {
        let Ok((name, opened)) = opened else {
            // Which one is not known: all may be tried again.
            self.opening_names.clear();
            return;
        };
        self.opening_names.remove(&name);
        match opened {
            Ok(warnings) => {
                tracing::info!(cluster = %name, "ledger read to its end; this operator writes it now");
                self.ledger_troubles.remove(&name);
                for warning in warnings {
                    self.event(&name, EventType::Warning, "LedgerSettings", warning);
                }
            }
            Err(error) => {
                tracing::warn!(cluster = %name, %error, "the ledger could not be opened; it is tried again");
                self.ledger_troubles.insert(name, (error.to_string(), Instant::now()));
            }
        }
    }

    /// Nothing is published before every ledger has been read: that of each cluster which the mesh knows. A cluster that
    /// is new to it cannot hold anything of it, and must not stop the rest while it is away.
    fn ledgers_ready(&self, membership: &Membership, observations: &Observations) -> bool {
        if !self.context.ledger.is_open(&self.context.home) {
            return false;
        }
        let merged = self.context.ledger.merged();
        membership.members.iter().all(|member| {
            let known = merged.clusters.values().any(|identity| identity.name == member.name);
            let observation = observations.get(&member.name);
            let away = observation.is_some_and(|seen| seen.seen.is_none() && seen.failure.is_some());
            let shut = self.ledger_troubles.contains_key(&member.name);
            self.context.ledger.is_open(&member.name) || (!known && (away || shut))
        })
    }

    async fn publish(
        &mut self,
        resources: &Resources,
        observations: &Observations,
        membership: &Membership,
        fuses: &[Asked],
    ) -> Result<(), LedgerError> {
        let open = |member: &&Member| self.context.ledger.is_open(&member.name);
        let members: Vec<Member> = membership.members.iter().filter(open).cloned().collect();
        for member in &members {
            self.identify(&member.name, observations).await?;
        }
        let fuses = topic_fuse::validate::entries(fuses);
        let declared = Declared { members, fuses, limits: resources.settings.limits.clone() };
        let published = if self.started {
            self.context.publisher.update(declared).await
        } else {
            let merged = self.context.ledger.merged();
            let Some(routed) = topic_route::entries(&merged, clock::now_millis()) else {
                tracing::warn!(
                    "the ledgers that could be read do not say where every topic lives; nothing is published"
                );
                return Ok(());
            };
            self.started = true;
            let placeholders = beside::look_after_placeholders(Arc::clone(&self.context));
            tokio::spawn(self.beside.clone().run_until_cancelled_owned(placeholders));
            self.context.publisher.start(routed, declared).await
        };
        if published.is_ok() && !self.context.store.document_is_there() {
            tracing::warn!("the mesh document has vanished; it is written again");
            if let Err(error) = self.context.publisher.write_again().await {
                tracing::error!(%error, "the mesh document cannot be written");
            }
        }
        match published {
            Err(crate::publish::PublishError::Ledger(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives a cluster, and brokers that are new to it, what they keep for ever.
    async fn identify(&self, name: &ClusterName, observations: &Observations) -> Result<(), LedgerError> {
        let Some(seen) = observations.get(name).and_then(|observation| observation.seen.as_ref()) else {
            return Ok(());
        };
        let brokers: Vec<i32> = seen.view.brokers.iter().map(|broker| broker.id).collect();
        let known = self.context.ledger.merged();
        match identity::assign(&known.clusters, &seen.view.cluster_id, name, &brokers) {
            Ok(None) => Ok(()),
            Ok(Some(identity)) => {
                tracing::info!(cluster = %name, base = identity.node_id_base, tag = identity.tag, "identity recorded");
                let subject = Subject::Cluster(seen.view.cluster_id.clone());
                self.context.ledger.append_everywhere(subject, identity::fact(identity)).await
            }
            Err(error) => {
                self.event(name, EventType::Warning, "NoIdentity", error.to_string());
                Ok(())
            }
        }
    }

    fn topic_names(&self, resources: &Resources) -> BTreeSet<TopicName> {
        let routed = resources.routes.values().filter_map(|route| TopicName::new(&route.object.spec.topic).ok());
        routed.chain(self.context.ledger.merged().topics.keys().cloned()).collect()
    }

    /// Wakes the topics that changes are about.
    fn wake(&mut self, resources: &Arc<Resources>, observations: &Arc<Observations>, ledger: &Arc<Merged>) {
        let seen = &mut self.seen;
        if !Arc::ptr_eq(&seen.resources, resources) {
            self.topics.wake(&concern::resources(&seen.resources, resources));
            seen.resources = Arc::clone(resources);
        }
        if !Arc::ptr_eq(&seen.observations, observations) {
            self.topics.wake(&concern::observations(&seen.observations, observations));
            seen.observations = Arc::clone(observations);
        }
        if !Arc::ptr_eq(&seen.ledger, ledger) {
            self.topics.wake(&concern::ledger(&seen.ledger, ledger));
            seen.ledger = Arc::clone(ledger);
        }
    }

    /// Wakes the topics that reports are about, and counts the proxies.
    fn wake_for_reports(&mut self, reports: &Reports) {
        let now = clock::now_millis();
        let heard = concern::heard(reports, now);
        if self.seen.reports != heard {
            match concern::reports(&self.seen.reports, &heard) {
                Some(counts_anew) => self.topics.wake_by_revision(counts_anew),
                None => self.topics.wake(&Concern::All),
            }
            self.seen.reports = heard;
        }
        let live = reports.values().filter(|report| report.is_live(now)).count();
        let lost = reports.values().filter(|report| report.is_desired(now)).count() - live;
        let revision = self.context.publisher.revision();
        let applied = reports::count(reports, revision, now, |report| report.has_applied(revision));
        self.context.metrics.set_proxies(live, lost, applied.stale.len(), applied.rejected.len());
    }
}
