//! Kafka's jars, fetched once per version with Maven into `target/kafka/<version>`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{Spawn, require};

/// Names what is fetched.
const POM: &str = include_str!("../../kafka/pom.xml");
const FETCH_WITHIN: Duration = Duration::from_mins(15);
const NEED_JAVA: (&str, &str) = ("java", "a Java 17 or newer, on Debian: apt-get install openjdk-17-jre-headless");
const NEED_MAVEN: (&str, &str) = ("mvn", "Maven fetches Kafka's jars, on Debian: apt-get install maven");

/// The jars of one Kafka version.
#[derive(Debug, Clone)]
pub struct Jars {
    version: String,
    folder: PathBuf,
}

impl Jars {
    /// The jars of `version`; fetched if they are not there yet. Says at once, in one message, what is missing.
    pub fn of(version: &str) -> Result<Self> {
        ensure!(
            version.starts_with(|c: char| c.is_ascii_digit())
                && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
            "{version:?} is not a Kafka version like 4.3.1"
        );
        let folder = crate::target_folder()?.join("kafka").join(version);
        if folder.is_dir() {
            require(&[NEED_JAVA])?;
        } else {
            require(&[NEED_JAVA, NEED_MAVEN])?;
        }
        java()?;
        if !folder.is_dir() {
            fetch(version, &folder)?;
        }
        Ok(Self { version: version.to_owned(), folder })
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version of Kafka's own Java clients, as their jar names it.
    pub fn clients_version(&self) -> Option<String> {
        clients_version(self.names())
    }

    /// 3.9 brings a logger of its own; two on one class path quarrel.
    fn has_own_logger(&self) -> bool {
        self.names().any(|name| name.starts_with("slf4j-reload4j"))
    }

    fn names(&self) -> impl Iterator<Item = String> {
        std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
    }

    fn class_path(&self) -> String {
        let own_logger = self.has_own_logger();
        let mut jars: Vec<String> = self
            .names()
            .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "jar"))
            .filter(|name| !(own_logger && name.starts_with("slf4j-simple")))
            .map(|name| self.folder.join(name).display().to_string())
            .collect();
        jars.sort();
        jars.join(":")
    }

    /// A `java` process with these jars; the caller adds JVM flags, the main class and its arguments.
    pub fn java(&self, name: &str, log: impl Into<PathBuf>) -> Spawn {
        Spawn::new(name, "java", log).args(["-cp", &self.class_path()])
    }

    /// JVM flags that send the log to standard error.
    pub fn logging(&self, level: &str) -> Result<Vec<String>> {
        if !self.has_own_logger() {
            return Ok(vec![
                format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={}", level.to_ascii_lowercase()),
                "-Dorg.slf4j.simpleLogger.showDateTime=true".to_owned(),
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS".to_owned(),
                "-Dlog4j2.statusLoggerLevel=OFF".to_owned(),
                "-Dlog4j2.level=OFF".to_owned(),
            ]);
        }
        let file = self.folder.with_file_name(format!("log4j-{level}.properties"));
        if !file.is_file() {
            let text = format!(
                "log4j.rootLogger={level}, err\nlog4j.appender.err=org.apache.log4j.ConsoleAppender\n\
                 log4j.appender.err.Target=System.err\nlog4j.appender.err.layout=org.apache.log4j.PatternLayout\n\
                 log4j.appender.err.layout.ConversionPattern=%d{{HH:mm:ss.SSS}} %p %c{{1}} %m%n\n"
            );
            crate::write_by_rename(&file, &text)?;
        }
        Ok(vec![format!("-Dlog4j.configuration=file:{}", file.display())])
    }
}

fn fetch(version: &str, folder: &Path) -> Result<()> {
    let parent = folder.parent().context("a parent folder")?;
    // Fetched beside its place and renamed: a folder with the version's name is always complete.
    let beside = parent.join(format!(".{version}-{}", std::process::id()));
    std::fs::create_dir_all(&beside)?;
    let pom = beside.join("pom.xml");
    std::fs::write(&pom, POM)?;
    tracing::info!("fetching the jars of Kafka {version} from Maven Central into {}", folder.display());
    let log = parent.join(format!("fetch-{version}.log"));
    let mut maven = Spawn::new("mvn", "mvn", &log)
        .args(["-B", "-ntp", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-Dkafka.version={version}"))
        .arg(format!("-DoutputDirectory={}", beside.display()))
        .start()?;
    let end = Instant::now() + FETCH_WITHIN;
    while maven.alive() {
        ensure!(Instant::now() < end, "Maven is still busy after {FETCH_WITHIN:?}: see {}", log.display());
        std::thread::sleep(Duration::from_millis(200));
    }
    let wanted = beside.join(format!("kafka_2.13-{version}.jar"));
    if !wanted.is_file() {
        let tail = maven.log_tail(20);
        let _ = std::fs::remove_dir_all(&beside);
        bail!("Maven could not fetch Kafka {version}; {} ends with\n{tail}", log.display());
    }
    if std::fs::rename(&beside, folder).is_err() {
        // Somebody else was faster; theirs is as complete as ours.
        let _ = std::fs::remove_dir_all(&beside);
        ensure!(folder.is_dir(), "cannot move {} to {}", beside.display(), folder.display());
    }
    Ok(())
}

/// Checks once that `java` is 17 or newer; returns its major version.
pub fn java() -> Result<u32> {
    static MAJOR: OnceLock<Option<u32>> = OnceLock::new();
    let major = *MAJOR.get_or_init(|| {
        let output = Command::new("java").arg("-version").output().ok()?;
        major_version(&String::from_utf8_lossy(&output.stderr))
    });
    match major {
        Some(major) if major >= 17 => Ok(major),
        Some(major) => bail!("`java` is version {major}; Kafka 4 needs 17 or newer"),
        None => bail!("`java -version` could not be read: {} ({})", NEED_JAVA.0, NEED_JAVA.1),
    }
}

/// The 4.3.1 in `kafka-clients-4.3.1.jar`; jars like `kafka-clients-4.3.1-test.jar` are not them.
fn clients_version(names: impl IntoIterator<Item = String>) -> Option<String> {
    names.into_iter().find_map(|name| {
        let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
        version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then(|| version.to_owned())
    })
}

/// The 17 in `openjdk version "17.0.15" 2025-04-15`.
fn major_version(text: &str) -> Option<u32> {
    let digits = text.split('"').nth(1)?;
    digits.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(major_version("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(major_version("java version \"1.8.0_402\""), Some(1));
        assert_eq!(major_version("no java"), None);
    }

    #[test]
    fn the_clients_are_known_by_their_jar() {
        let names = |names: &[&str]| clients_version(names.iter().map(|name| (*name).to_owned()));
        let found = names(&["kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1-test.jar", "kafka-clients-4.3.1.jar"]);
        assert_eq!(found.as_deref(), Some("4.3.1"));
        assert_eq!(names(&["kafka_2.13-4.3.1.jar"]), None);
    }

    #[test]
    fn a_version_is_no_path() {
        assert!(Jars::of("../../etc").is_err());
        assert!(Jars::of("").is_err());
    }
}
