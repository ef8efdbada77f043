//! Gets and keeps the Lease.
//!
//! Losing touch with the API server is not losing the Lease: a move past its fence must go on, and while the server is
//! away for everybody nobody else can take the Lease either. If it is away for this process alone, another one may take
//! over and there are two leaders for a while; then the ledger decides, whose writer's epoch the brokers fence. So this
//! process stops leading only when it sees another holder. Before it writes the document after a silence (a stopped and
//! woken process has not noticed any time) it asks for the Lease first.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{MANAGER, Trouble, call};
use super::lease::{self, DURATION, Decision, NAME, Observed, Standing};
use crate::clock;
use crate::store::StoreError;

/// How often the holder renews.
const RENEW: Duration = Duration::from_millis(1500);
/// How often a candidate looks, and a holder without an answer tries again.
const LOOK: Duration = Duration::from_millis(500);
/// How often the same trouble is told.
const TELL: Duration = Duration::from_secs(30);
/// Writers in between are given way to this often in one renewal.
const TRIES: usize = 4;

/// What came of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renewal {
    /// This process leads.
    Held,
    /// Another one does.
    Lost(String),
    /// The server could not be asked.
    Away(String),
}

/// The Lease, held.
pub(super) struct Elector {
    api: Api<Lease>,
    me: String,
    /// As this process wrote it last.
    held: tokio::sync::Mutex<Lease>,
    /// When the server last confirmed it.
    contact: Mutex<Instant>,
    lost: CancellationToken,
    /// Counts how often the server turned out to have forgotten everything.
    wiped: watch::Sender<u64>,
}

impl Elector {
    /// Waits until this process leads. `standby` is called once if another one leads now.
    pub(super) async fn lead(api: Api<Lease>, me: &str, standby: impl FnOnce()) -> Self {
        let mut observed = Observed::default();
        let mut standby = Some(standby);
        let mut told = None;
        let held = loop {
            let found = match call(api.get_opt(NAME)).await {
                Ok(found) => found,
                Err(trouble) => {
                    tell(&mut told, &trouble);
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            match lease::decide(&mut observed, found.as_ref(), me, Instant::now()) {
                Decision::Wait(longest) => {
                    if let Some(standby) = standby.take() {
                        standby();
                    }
                    tokio::time::sleep(LOOK.min(longest)).await;
                }
                Decision::Take => {
                    let wanted = lease::taken(found.as_ref(), me, clock::precise_now());
                    match write(&api, found.is_some(), &wanted).await {
                        Ok(lease) => break lease,
                        // Another candidate was faster.
                        Err(Trouble::Conflict | Trouble::Exists | Trouble::Missing) => {}
                        Err(trouble) => {
                            tell(&mut told, &trouble);
                            tokio::time::sleep(LOOK).await;
                        }
                    }
                }
            }
        };
        Self {
            api,
            me: me.to_owned(),
            held: tokio::sync::Mutex::new(held),
            contact: Mutex::new(Instant::now()),
            lost: CancellationToken::new(),
            wiped: watch::Sender::new(0),
        }
    }

    /// Renews for as long as the Lease is held.
    pub(super) async fn keep(&self) {
        let mut told = None;
        let mut pause = RENEW;
        loop {
            tokio::time::sleep(pause).await;
            match self.renew().await {
                Renewal::Held => {
                    if told.take().is_some() {
                        tracing::info!("the API server answers again; this operator still leads");
                    }
                    pause = RENEW;
                }
                Renewal::Lost(_) => return,
                Renewal::Away(trouble) => {
                    tell(&mut told, &Trouble::Away(trouble));
                    pause = LOOK;
                }
            }
        }
    }

    /// Whether this process leads, asked anew if nothing was heard for a while.
    pub(super) async fn confirm(&self) -> Renewal {
        if self.lost.is_cancelled() {
            return Renewal::Lost("another operator".into());
        }
        if self.contact().elapsed() < DURATION { Renewal::Held } else { self.renew().await }
    }

    /// Asks the server now whether this process leads: only a server that takes a write will take a document.
    pub(super) async fn ask(&self) -> Result<(), StoreError> {
        match self.renew().await {
            Renewal::Held => Ok(()),
            Renewal::Lost(_) => Err(StoreError::NotLeader),
            Renewal::Away(trouble) => Err(Trouble::Away(trouble).into_error("renew the lease")),
        }
    }

    /// When the server last confirmed that this process leads.
    pub(super) fn contact(&self) -> Instant {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancelled when another process leads.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Changes when the server has forgotten everything: a watch that goes on from a version of before would see nothing
    /// for a long time.
    pub(super) fn wiped(&self) -> watch::Receiver<u64> {
        self.wiped.subscribe()
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Another process leads, as has shown.
    pub(super) fn lose(&self, holder: &str) {
        if !self.lost.is_cancelled() {
            tracing::warn!(holder, "another operator leads now");
            self.lost.cancel();
        }
    }

    /// Lets another process lead at once.
    pub(super) async fn release(&self) {
        if self.lost.is_cancelled() {
            return;
        }
        self.lost.cancel();
        let held = self.held.lock().await;
        if let Err(trouble) = write(&self.api, true, &lease::released(&held)).await {
            tracing::debug!(%trouble, "the lease is not released; it runs out by itself");
        }
    }

    async fn renew(&self) -> Renewal {
        let mut held = self.held.lock().await;
        if self.lost.is_cancelled() {
            return Renewal::Lost("another operator".into());
        }
        let mut there = true;
        for _ in 0..TRIES {
            let now = clock::precise_now();
            let wanted = if there { lease::renewed(&held, &self.me, now) } else { lease::taken(None, &self.me, now) };
            match write(&self.api, there, &wanted).await {
                Ok(lease) => {
                    self.note(&mut held, lease);
                    return Renewal::Held;
                }
                Err(Trouble::Conflict | Trouble::Exists | Trouble::Missing) => {}
                Err(trouble) => return Renewal::Away(trouble.to_string()),
            }
            match call(self.api.get_opt(NAME)).await {
                Ok(Some(found)) => match lease::standing(&found, &self.me) {
                    // Touched by somebody, or an earlier renewal that was never answered.
                    Standing::Mine | Standing::Free => {
                        there = true;
                        self.note_uid(&held, &found);
                        *held = found;
                    }
                    Standing::Other(holder) => {
                        self.lose(&holder);
                        return Renewal::Lost(holder);
                    }
                },
                Ok(None) => there = false,
                Err(trouble) => return Renewal::Away(trouble.to_string()),
            }
        }
        Renewal::Away("others write the lease all the time".into())
    }

    fn note(&self, held: &mut Lease, lease: Lease) {
        self.note_uid(held, &lease);
        *held = lease;
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn note_uid(&self, held: &Lease, found: &Lease) {
        if held.metadata.uid != found.metadata.uid {
            tracing::warn!("the lease is another one than before: everything is listed again");
            self.wiped.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

async fn write(api: &Api<Lease>, there: bool, lease: &Lease) -> Result<Lease, Trouble> {
    let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    if there { call(api.replace(NAME, &parameters, lease)).await } else { call(api.create(&parameters, lease)).await }
}

fn tell(told: &mut Option<Instant>, trouble: &Trouble) {
    if told.is_none_or(|told| told.elapsed() > TELL) {
        *told = Some(Instant::now());
        tracing::warn!(%trouble, lease = NAME, "the lease cannot be read or written; it is tried again");
    }
}
