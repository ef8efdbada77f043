//! `sluice-proxy`: flags, logs, signals. All else is in the library.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sluice_proxy::args::Args;
use sluice_proxy::{App, descriptors};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A configuration that cannot work.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    // The Kubernetes client would say each failed try; whoever asked says it once.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client::client::builder=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let app = args.settings().map_err(|error| error.to_string()).and_then(|settings| {
        descriptors::raise(settings.max_connections);
        App::start(&settings).map_err(|error| error.to_string())
    });
    match app {
        Ok(app) => serve(app),
        Err(error) => {
            refuse(&error);
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a process that cannot start is for a person at a terminal")]
fn refuse(error: &str) {
    eprintln!("sluice-proxy: {error}");
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once.
fn serve(app: App) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return ExitCode::FAILURE;
        };
        let mut draining = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(Duration::from_millis(if draining { 20 } else { 1000 })) => {
                    if !app.is_over() {
                        continue;
                    }
                    let well = app.join();
                    tracing::info!("stopped");
                    return if well && draining { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                }
            }
            if draining {
                tracing::warn!("second signal: stopping at once");
                std::process::exit(1);
            }
            tracing::info!("draining");
            draining = true;
            app.drain();
        }
    })
}
