//! Writes the definitions of all kinds as YAML into a directory (default: `crds/generated`), one file per kind.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("generated"), PathBuf::from);
    match write(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one line that a person at a terminal needs.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("crdgen: cannot write to {}: {error}\n", directory.display()),
            );
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &std::path::Path) -> Result<(), std::io::Error> {
    std::fs::create_dir_all(directory)?;
    for (file, text) in sluice_crds::definitions().map_err(std::io::Error::other)? {
        std::fs::write(directory.join(file), text)?;
    }
    Ok(())
}
