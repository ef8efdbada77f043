//! Conditions in the shape that `kubectl wait`, kstatus, Helm and Argo CD understand: `metav1.Condition`, one per type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The condition types in use. `Reconciling` and `Stalled` are abnormal-true: absent while all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object obeys every rule and lost no conflict.
    Accepted,
    /// What the object refers to exists and may be used.
    ResolvedRefs,
    /// All live proxies have applied the document that carries the object.
    Programmed,
    /// What the object asks for is true now.
    Ready,
    /// A fuse stops something. It is meant to: such an object is ready.
    Tripped,
    /// Work is under way.
    Reconciling,
    /// No progress is possible until a person changes something.
    Stalled,
}

impl ConditionType {
    /// The text in the condition's `type` field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::Tripped => "Tripped",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// A closed set of reasons: CamelCase words that scripts may rely on.
pub trait Reason: Copy {
    /// The text in the condition's `reason` field.
    fn as_str(self) -> &'static str;
}

/// Builds the `conditions` list of one object, keeping the transition times of conditions whose status stays.
#[derive(Debug, Clone)]
pub struct Conditions {
    generation: i64,
    now: Timestamp,
    before: Vec<Condition>,
    list: Vec<Condition>,
}

impl Conditions {
    /// Starts a list for an object of `generation`; `before` is what its status says so far.
    pub fn new(generation: i64, now: Timestamp, before: &[Condition]) -> Self {
        Self { generation, now, before: before.to_vec(), list: Vec::new() }
    }

    /// Sets a condition to `True`.
    pub fn yes(&mut self, kind: ConditionType, reason: impl Reason, message: impl Into<String>) -> &mut Self {
        self.set(kind, "True", reason, message.into())
    }

    /// Sets a condition to `False`.
    pub fn no(&mut self, kind: ConditionType, reason: impl Reason, message: impl Into<String>) -> &mut Self {
        self.set(kind, "False", reason, message.into())
    }

    /// Sets a condition to `Unknown`.
    pub fn unknown(&mut self, kind: ConditionType, reason: impl Reason, message: impl Into<String>) -> &mut Self {
        self.set(kind, "Unknown", reason, message.into())
    }

    /// The list, ordered by type.
    pub fn finish(&mut self) -> Vec<Condition> {
        self.list.sort_by(|a, b| a.type_.cmp(&b.type_));
        std::mem::take(&mut self.list)
    }

    fn set(&mut self, kind: ConditionType, status: &str, reason: impl Reason, message: String) -> &mut Self {
        let kind = kind.as_str();
        let since = self
            .before
            .iter()
            .find(|old| old.type_ == kind && old.status == status)
            .map_or(Time(self.now), |old| old.last_transition_time.clone());
        self.list.retain(|set| set.type_ != kind);
        self.list.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            last_transition_time: since,
            observed_generation: Some(self.generation),
        });
        self
    }
}

/// The condition of a type in a list.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Whether a condition is `True`.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// The `x-kubernetes-list-type: map` schema of a list of conditions.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let items = generator.subschema_for::<Condition>();
    schemars::json_schema!({
        "type": "array",
        "description": "What is true of the object now; one entry per type.",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Because;
    impl Reason for Because {
        fn as_str(self) -> &'static str {
            "Because"
        }
    }

    #[test]
    fn a_condition_that_keeps_its_status_keeps_its_time() {
        let first = Timestamp::from_second(1_000).unwrap();
        let later = Timestamp::from_second(2_000).unwrap();
        let before = Conditions::new(1, first, &[])
            .yes(ConditionType::Ready, Because, "fine")
            .yes(ConditionType::Accepted, Because, "fine")
            .finish();
        let after = Conditions::new(2, later, &before)
            .no(ConditionType::Ready, Because, "broken")
            .yes(ConditionType::Accepted, Because, "still fine")
            .finish();
        assert_eq!(find(&after, ConditionType::Ready).unwrap().last_transition_time.0, later);
        let accepted = find(&after, ConditionType::Accepted).unwrap();
        assert_eq!(accepted.last_transition_time.0, first);
        assert_eq!(accepted.observed_generation, Some(2));
        assert_eq!(accepted.message, "still fine");
    }

    #[test]
    fn a_type_appears_once() {
        let list = Conditions::new(1, Timestamp::UNIX_EPOCH, &[])
            .yes(ConditionType::Ready, Because, "a")
            .no(ConditionType::Ready, Because, "b")
            .finish();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].status, "False");
    }
}
