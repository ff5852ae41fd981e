//! `gifee image import|pull|list|remove`: the images of this machine's node.
//!
//! Works on the image store of a data directory, whether or not its cluster runs.

use super::up::DATA_DIR;
use crate::layout;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use gifee_oci::ImageService;
use gifee_oci::images::{Image, ImageStore, ProcessConfig, PullProgress};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The images of this machine's node
#[derive(Parser, Debug)]
#[command(name = "image", bin_name = "gifee image")]
struct Arguments {
    /// The cluster's data directory
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Take an image out of an OCI or Docker archive, or make one of the tar of a root file system
    Import(Import),
    /// Fetch an image from its registry
    Pull {
        /// Such as registry.example/app:1.0
        name: String,
    },
    /// List the images that are present
    List,
    /// Remove an image, or one of its names
    Remove {
        /// Name or id
        name: String,
    },
}

#[derive(Args, Debug)]
struct Import {
    /// The archive, also compressed
    file: PathBuf,
    /// What to call the image; an archive may name it itself
    #[arg(long)]
    name: Option<String>,
    /// FILE is a tar of a root file system
    #[arg(long)]
    rootfs: bool,
    /// With --rootfs: program and arguments before those of a container, as a JSON list or one word
    #[arg(long, value_name = "PROGRAM", requires = "rootfs")]
    entrypoint: Option<String>,
    /// With --rootfs: default arguments, as a JSON list or one word
    #[arg(long, value_name = "ARGUMENTS", requires = "rootfs")]
    cmd: Option<String>,
    /// With --rootfs: an environment variable, NAME=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "rootfs")]
    env: Vec<String>,
    /// With --rootfs: working directory
    #[arg(long, value_name = "DIR", requires = "rootfs")]
    workdir: Option<String>,
    /// With --rootfs: user, by name or number
    #[arg(long, value_name = "USER", requires = "rootfs")]
    user: Option<String>,
}

/// Runs an action on the images.
///
/// # Errors
/// What went wrong with it.
pub fn image(words: &[String]) -> Result<ExitCode> {
    let arguments = Arguments::parse_from(std::iter::once(&"image".to_owned()).chain(words));
    std::fs::create_dir_all(&arguments.data_dir)
        .with_context(|| format!("creating the data directory {}", arguments.data_dir.display()))?;
    let images = layout::open_images(&arguments.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(act(&images, arguments.action))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(images: &ImageStore, action: Action) -> Result<()> {
    match action {
        Action::Import(import) => bring(images, import).await,
        Action::Pull { name } => {
            let image = images.pull(&name, None, progress()).await?;
            println!("{name} is present: {}", image.id);
            Ok(())
        }
        Action::List => {
            print(&images.list().await?);
            Ok(())
        }
        Action::Remove { name } => {
            if images.inspect(&name).await?.is_none() {
                bail!("there is no image {name:?}; `gifee image list` shows those that are present");
            }
            images.remove(&name).await?;
            println!("{name} is removed");
            Ok(())
        }
    }
}

async fn bring(images: &ImageStore, import: Import) -> Result<()> {
    let imported = if import.rootfs {
        let Some(name) = &import.name else {
            bail!("--rootfs needs --name: a root file system has none of its own")
        };
        let list = |text: Option<String>| text.map(list).transpose();
        let config = ProcessConfig {
            entrypoint: list(import.entrypoint).context("--entrypoint")?,
            cmd: list(import.cmd).context("--cmd")?,
            env: (!import.env.is_empty()).then_some(import.env),
            working_dir: import.workdir,
            user: import.user,
            ..ProcessConfig::default()
        };
        vec![images.import_rootfs(&import.file, name, config).await?]
    } else {
        images.import_archive(&import.file, import.name.as_deref()).await?
    };
    for image in imported {
        println!("{} {}", image.names.first().map_or("(no name)", String::as_str), image.id);
    }
    Ok(())
}

/// A JSON list of words, or one word.
fn list(text: String) -> Result<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).context("not a JSON list of words");
    }
    Ok(vec![text])
}

fn progress() -> gifee_oci::images::Progress {
    if !std::io::stderr().is_terminal() {
        return gifee_oci::images::silent();
    }
    Arc::new(|at: PullProgress| {
        let end = if at.layers_done == at.layers && at.layers > 0 { "\n" } else { "" };
        eprint!(
            "\rlayers {}/{}, {} of {} MB{end}",
            at.layers_done,
            at.layers,
            at.bytes_done >> 20,
            at.bytes >> 20
        );
    })
}

fn print(images: &[Image]) {
    println!("{:<60} {:<15} {:>10}", "NAME", "ID", "SIZE");
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let megabytes = format!("{:.1} MB", image.size as f64 / 1e6);
        for name in image.names.iter().chain(image.names.is_empty().then_some(&image.id)) {
            println!("{name:<60} {id:<15} {megabytes:>10}");
        }
    }
}
