//! Sluice's kinds as users write them.

/// Sluice's kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `KafkaCluster`.
    KafkaCluster,
    /// `TopicRoute`.
    TopicRoute,
    /// `TopicFuse`.
    TopicFuse,
}

impl Kind {
    /// In lower case: as `kubectl` takes it, and as files and folders are called in directory mode.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KafkaCluster => "kafkacluster",
            Self::TopicRoute => "topicroute",
            Self::TopicFuse => "topicfuse",
        }
    }
}

/// The text of a KafkaCluster.
pub fn cluster_yaml(name: &str, bootstrap: &str, home: bool, exclude: &[&str]) -> String {
    let quoted = |list: &mut dyn Iterator<Item = &str>| list.map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
    let servers = quoted(&mut bootstrap.split(','));
    let home = if home { "  home: true\n" } else { "" };
    let topics = if exclude.is_empty() {
        String::new()
    } else {
        format!("  topics:\n    exclude: [{}]\n", quoted(&mut exclude.iter().copied()))
    };
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: KafkaCluster\nmetadata:\n  name: {name}\nspec:\n  \
         bootstrapServers: [{servers}]\n{home}{topics}"
    )
}

/// The text of a TopicRoute.
pub fn route_yaml(name: &str, topic: &str, cluster: &str) -> String {
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\nmetadata:\n  name: {name}\nspec:\n  topic: {topic}\n  \
         clusterRef:\n    name: {cluster}\n"
    )
}

/// The text of a TopicFuse. Each of `rules` is a line of its spec: `produce: {state: Blocked}` say.
pub fn fuse_yaml(name: &str, topic: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().flat_map(|rule| ["  ", rule, "\n"]).collect();
    format!(
        "apiVersion: sluice.dev/v1alpha1\nkind: TopicFuse\nmetadata:\n  name: {name}\nspec:\n  topic: {topic}\n{rules}"
    )
}
