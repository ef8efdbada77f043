//! Fuses without any client: specs that cannot work, fuses of topics that are not there, two for one topic.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sluice_crds::condition::{self, ConditionType};
use sluice_crds::topic_fuse::Position;
use sluice_e2e::mesh::{Kind, Mesh, fuse_summary, fuse_yaml};

use super::{HOLD, READS, REJECT, WITHIN};

/// A topic that is made after its fuse.
pub(super) const LATER: &str = "later";
/// A topic that is never made.
const NEVER: &str = "never";

/// Fuses of topics that are not there yet. Returns when the last one was made.
pub(super) fn before_the_topics(mesh: &Mesh) -> Result<Instant> {
    mesh.apply_fuse(LATER, &[REJECT])?;
    mesh.apply_one(Kind::TopicFuse, "older", &fuse_yaml("older", NEVER, &[HOLD]))?;
    let made = Instant::now();
    for name in [LATER, "older"] {
        let status = mesh.wait_fuse(name, Position::Tripped, Position::Closed, WITHIN)?;
        eprintln!("{name}: {}", fuse_summary(&status));
        let tripped = condition::find(&status.conditions, ConditionType::Tripped).context("no condition Tripped")?;
        ensure!(tripped.status == "True" && tripped.reason == "Blocked", "{tripped:?}");
        let proxies = status.proxies.context("proxies")?;
        ensure!(proxies.summary == "2/2", "{proxies:?}");
    }
    Ok(made)
}

/// Each gets a sentence, and no document has it.
pub(super) fn bad_ones_get_a_sentence(mesh: &Mesh, older_made: Instant) -> Result<()> {
    for (name, rules, words) in [
        ("unknown-state", &["produce: {state: Open}"][..], "Blocked"),
        ("unknown-action", &["produce: {state: Blocked, action: Drop}"][..], "Reject"),
        ("neither", &[][..], "name at least one of produce and consume"),
    ] {
        mesh.apply_one(Kind::TopicFuse, name, &fuse_yaml(name, "payments", rules))?;
        refused(mesh, name, "Invalid", words)?;
    }
    // The order of creation is told in seconds.
    std::thread::sleep(Duration::from_millis(1_100).saturating_sub(older_made.elapsed()));
    // Its name would win.
    mesh.apply_one(Kind::TopicFuse, "newer", &fuse_yaml("newer", NEVER, &[READS]))?;
    refused(mesh, "newer", "Conflicted", "older")?;
    let fuses = |mesh: &Mesh| -> Result<Vec<(String, String)>> {
        let document = mesh.document()?.context("no document")?;
        Ok(document.fuses.iter().map(|fuse| (fuse.topic.as_str().to_owned(), fuse.name.clone())).collect())
    };
    let mut found = fuses(mesh)?;
    found.sort();
    let expected = [(LATER, LATER), (NEVER, "older")].map(|(topic, name)| (topic.to_owned(), name.to_owned()));
    ensure!(found == expected, "the document has the fuses {found:?}");

    mesh.delete_fuse("older")?;
    mesh.wait_fuse("newer", Position::Closed, Position::Tripped, WITHIN).context("the loser's turn")?;
    for name in ["newer", "unknown-state", "unknown-action", "neither"] {
        mesh.delete_fuse(name)?;
    }
    Ok(())
}

/// Waits until a condition of the fuse has this reason, and checks its words.
fn refused(mesh: &Mesh, name: &str, reason: &str, words: &str) -> Result<()> {
    let status = mesh
        .follow_fuse(name, WITHIN, |status| status.conditions.iter().any(|condition| condition.reason == reason))
        .with_context(|| format!("waiting for the reason {reason}"))?;
    let condition = status.conditions.iter().find(|condition| condition.reason == reason).context("a condition")?;
    eprintln!("{name}: {} = {} ({reason}): {}", condition.type_, condition.status, condition.message);
    let message = &condition.message;
    ensure!(message.contains(words), "{reason}: {message:?} does not say {words:?}");
    ensure!(message.split_whitespace().count() >= 6, "{reason}: {message:?} is no sentence that says what to do");
    let ready = condition::find(&status.conditions, ConditionType::Ready).context("no condition Ready")?;
    ensure!(ready.status == "False", "it is Ready all the same: {}", fuse_summary(&status));
    Ok(())
}
