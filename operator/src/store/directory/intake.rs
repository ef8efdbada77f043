//! From the files that people write to objects: reads them, splits them into YAML documents, finds kind and name. What a
//! document says is not judged here.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sluice_mesh::name::ClusterName;

use super::file;
use crate::store::Kind;

/// Larger files are not read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More files than this are not read.
const MAX_FILES: usize = 10_000;
/// Directories nested deeper than this are not entered.
const MAX_DEPTH: usize = 16;

/// One object as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    /// The file, relative to the directory of resources.
    pub source: PathBuf,
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// The whole document.
    pub object: Value,
}

/// Something in a file that is not an object, with a sentence. `object` is set if kind and name can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The file, or the directory that can't be listed, relative to the directory of resources.
    pub source: PathBuf,
    /// The object that was probably meant.
    pub object: Option<(Kind, String)>,
    /// What is wrong.
    pub message: String,
}

/// All files together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Intake {
    /// Objects in the order of their files' paths.
    pub objects: Vec<Written>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Reads every `*.yaml` and `*.yml` below a directory.
pub(super) fn read(root: &Path) -> Intake {
    let mut files = Vec::new();
    let mut intake = Intake::default();
    find(root, MAX_DEPTH, &mut files, &mut intake.unreadable, root);
    files.sort();
    if files.len() > MAX_FILES {
        let message = format!("there are {} files, only the first {MAX_FILES} are read", files.len());
        intake.unreadable.push(Unreadable { source: PathBuf::new(), object: None, message });
        files.truncate(MAX_FILES);
    }
    for path in files {
        let source = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let text = match file::read(&path, MAX_FILE_BYTES) {
            // Removed between listing and reading: as if it had not been listed.
            Ok(None) => continue,
            Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match text {
            Ok(text) => parse(&source, &text, &mut intake),
            Err(message) => intake.unreadable.push(Unreadable { source, object: None, message }),
        }
    }
    intake
}

fn find(directory: &Path, depth: usize, files: &mut Vec<PathBuf>, unreadable: &mut Vec<Unreadable>, root: &Path) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        // Removed since it was listed. The directory of resources itself is never just gone: that is a mount that is away,
        // or a mistake.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && directory != root => return,
        Err(error) => {
            let source = directory.strip_prefix(root).unwrap_or(directory).to_owned();
            unreadable.push(Unreadable {
                source,
                object: None,
                message: format!("cannot list the directory {}: {error}", directory.display()),
            });
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if file::is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                find(&path, depth - 1, files, unreadable, root);
            }
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
}

fn parse(source: &Path, text: &str, intake: &mut Intake) {
    for chunk in documents(text) {
        let value = match serde_yaml::Deserializer::from_str(chunk).next().map(Value::deserialize) {
            None | Some(Ok(Value::Null)) => continue,
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let message = format!("{} is not valid YAML: {error}", source.display());
                intake.unreadable.push(Unreadable { source: source.to_owned(), object: guess(chunk), message });
                continue;
            }
        };
        match identify(&value) {
            Ok((kind, name)) => {
                intake.objects.push(Written { source: source.to_owned(), kind, name, object: value });
            }
            Err(message) => {
                let message = format!("{}: {message}", source.display());
                intake.unreadable.push(Unreadable { source: source.to_owned(), object: None, message });
            }
        }
    }
}

/// Splits at the lines that begin with `---`, so that one broken document does not hide those behind it.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            documents.push(&text[start..at]);
            start = at + 3;
        }
        at += line.len();
    }
    documents.push(&text[start..]);
    documents.into_iter().filter(|document| !document.trim().is_empty()).collect()
}

fn identify(value: &Value) -> Result<(Kind, String), String> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let wanted = format!("{}/{}", sluice_crds::GROUP, sluice_crds::VERSION);
    let found = text("/apiVersion").unwrap_or_default();
    if found != wanted {
        return Err(format!("apiVersion is {found:?}, it must be {wanted}"));
    }
    let kind = kind(text("/kind").unwrap_or_default())?;
    let name = text("/metadata/name").ok_or("metadata.name is missing")?;
    // Names become file names: nothing that an API server would refuse may get through.
    if ClusterName::new(name).is_err() {
        return Err(format!(
            "metadata.name {name:?} must be lower-case letters, digits, '-' and '.', at most 253 characters"
        ));
    }
    Ok((kind, name.to_owned()))
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        format!("kind {text:?} is not known; known are {known}")
    })
}

/// The object that broken YAML was probably meant to be, so that its status can tell its author.
fn guess(text: &str) -> Option<(Kind, String)> {
    let value_of = |prefix: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(prefix))?;
        let value = line.trim_start().get(prefix.len()..)?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let after_metadata = text.find("metadata:").and_then(|at| text.get(at..))?;
    let inline = after_metadata.split_once("name:").map(|(_, rest)| rest.trim_start())?;
    let name: String = inline.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    let kind = kind(&value_of("kind:")?).ok()?;
    ClusterName::new(&name).is_ok().then_some((kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str =
        "apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\nmetadata: {name: orders}\nspec: {topic: orders}\n";

    fn taken(text: &str) -> Intake {
        let mut intake = Intake::default();
        parse(Path::new("a.yaml"), text, &mut intake);
        intake
    }

    #[test]
    fn a_file_may_hold_several_documents() {
        let text = format!("# a comment\n---\n{ROUTE}--- # the next\n{}\n---\n", ROUTE.replace("orders", "bills"));
        let intake = taken(&text);
        assert_eq!(intake.unreadable, []);
        let names: Vec<_> = intake.objects.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["orders", "bills"]);
    }

    #[test]
    fn one_broken_document_does_not_hide_the_others_and_its_name_is_told() {
        let broken = "kind: TopicRoute\nmetadata:\n  name: bills\nspec: {topic: [}\n";
        let intake = taken(&format!("{ROUTE}---\n{broken}---\n{}", ROUTE.replace("orders", "carts")));
        assert_eq!(intake.objects.len(), 2);
        assert_eq!(intake.unreadable.len(), 1);
        assert_eq!(intake.unreadable[0].object, Some((Kind::TopicRoute, "bills".to_owned())));
        assert!(intake.unreadable[0].message.contains("a.yaml is not valid YAML"));
    }

    #[test]
    fn strangers_are_refused_with_a_sentence() {
        for (text, words) in [
            ("apiVersion: v1\nkind: ConfigMap\n", "must be sluice.dev/v1alpha1"),
            ("apiVersion: sluice.dev/v1alpha1\nkind: Route\n", "known are KafkaCluster, TopicRoute, TopicFuse"),
            ("apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\n", "metadata.name is missing"),
            ("apiVersion: sluice.dev/v1alpha1\nkind: TopicRoute\nmetadata: {name: ../../x}\n", "lower-case letters"),
            ("just text", "apiVersion"),
            ("- a list", "apiVersion"),
        ] {
            let intake = taken(text);
            assert_eq!(intake.objects, []);
            assert!(intake.unreadable[0].message.contains(words), "{:?}", intake.unreadable);
        }
    }

    #[test]
    fn files_are_found_below_and_hidden_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("b/c")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        for path in ["b/c/2.yaml", "a.yml", ".hidden.yaml", ".git/3.yaml", "notes.txt"] {
            std::fs::write(root.join(path), ROUTE).unwrap();
        }
        std::fs::write(root.join("z.yaml"), [0xff, 0xfe]).unwrap();
        let intake = read(root);
        let sources: Vec<_> = intake.objects.iter().map(|object| object.source.to_str().unwrap()).collect();
        assert_eq!(sources, ["a.yml", "b/c/2.yaml"]);
        assert_eq!(intake.unreadable[0].source, Path::new("z.yaml"));
    }
}
