//! File descriptors: a connection takes two or more, and the soft limit that processes start with is often 1024, for the
//! sake of programs that use `select`. This one does not: it takes what the hard limit allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The client's, and the one to its broker. Old segments take more, for a while.
const PER_CONNECTION: u64 = 2;

/// Raises the soft limit to the hard one, and says so if that is not enough for `max_connections`. Its effect is on the
/// whole process, so it is for `main` alone.
pub fn raise(max_connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, ..before };
    if wanted != before
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "the soft limit on file descriptors cannot be raised; it stays as it is");
    }
    let limit = getrlimit(Resource::Nofile).current;
    tracing::info!(limit = %Shown(limit), before = %Shown(before.current), "file descriptors");
    if let Some(needed) = shortage(limit, max_connections) {
        tracing::warn!(
            limit = %Shown(limit),
            needed,
            max_connections,
            "there are fewer file descriptors than the connections may need: raise the hard limit (LimitNOFILE= of systemd, \
             ulimit -Hn), or lower --max-connections"
        );
    }
}

/// What is needed, if the limit is below it.
fn shortage(limit: Option<u64>, max_connections: usize) -> Option<u64> {
    let needed = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_mul(PER_CONNECTION);
    limit.is_some_and(|limit| limit < needed).then_some(needed)
}

/// A limit, for people.
struct Shown(Option<u64>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = getrlimit(Resource::Nofile);
        let hard = limit.maximum.unwrap_or(1 << 20);
        // One less hurts no test beside this one.
        setrlimit(Resource::Nofile, Rlimit { current: Some(hard - 1), ..limit }).unwrap();
        assert_ne!(getrlimit(Resource::Nofile).current, limit.maximum);
        raise(1);
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: limit.maximum, ..limit });
    }

    #[test]
    fn two_descriptors_for_each_connection_have_to_fit() {
        assert_eq!(shortage(Some(40_000), 20_000), None);
        assert_eq!(shortage(Some(39_999), 20_000), Some(40_000));
        assert_eq!(shortage(None, usize::MAX), None);
        assert_eq!(shortage(Some(u64::MAX - 1), usize::MAX), Some(u64::MAX));
    }
}
