//! `mayfly pack`: turns a program into something a platform can run.

use mayfly::platform::launch;
use mayfly::platform::pack::{self, Data, Request, Target, To};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
FILES are data files and folders; they keep their relative paths in the program's working folder (FILE=NAME gives another name).
app.zip    bootstrap, the program and its libraries: a function for Lambda (provided.al2023) or any front that starts `bootstrap host`
oci:DIR    an OCI image layout that needs no base image: skopeo copy oci:DIR docker://REGISTRY/NAME puts it anywhere
X.yaml     a Kubernetes manifest (Indexed Job, Service, Secret) that runs the image of --image")]
pub struct Arguments {
    /// The program: a path, or a name in PATH
    program: PathBuf,
    /// Data files and folders
    files: Vec<String>,
    /// Where to: FILE.zip, oci:DIR[:TAG] or FILE.yaml
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// The package's name (the program's)
    #[arg(long)]
    name: Option<String>,
    /// Arguments for the program when a start names none, in one word: --entry '-in in.melt'
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    entry: Option<String>,
    /// A variable for the program, NAME=VALUE; readable by all who have the package
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A library or program that is opened while the program runs; its own libraries come along
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// A file that the program writes in its working folder and that is to appear on its standard output instead
    #[arg(long, value_name = "FILE")]
    print: Vec<String>,
    /// The zip's target: al2023 (as if named), al2, debian12, ubuntu22.04, ..., glibc=2.34
    #[arg(long)]
    target: Option<String>,
    /// Packs this machine's libc and loader into the zip, for a target whose libc is too old
    #[arg(long)]
    libc: bool,
    /// Packs files that look like keys as well
    #[arg(long)]
    allow_secrets: bool,
    /// The Mayfly that goes along: an installation's folder (this one)
    #[arg(long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
}

/// Runs the subcommand; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match run(arguments) {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(text) => {
            for line in text.lines() {
                eprintln!("mayfly pack: {line}");
            }
            1
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, String> {
    let to = place(arguments)?;
    let request = request(arguments)?;
    let packed = pack::pack(&request, &to)?;
    for notice in &packed.notices {
        eprintln!("mayfly pack: {notice}");
    }
    Ok(packed.text(&request, &to))
}

fn place(arguments: &Arguments) -> Result<To, String> {
    let to = &arguments.to;
    if let Some(rest) = to.strip_prefix("oci:") {
        if arguments.libc || arguments.target.is_some() {
            return Err("--libc and --target are for a zip; an image brings its libc".into());
        }
        let (folder, tag) = match rest.rsplit_once(':') {
            Some((folder, tag)) if !tag.contains('/') => (folder, tag),
            _ => (rest, "latest"),
        };
        let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if folder.is_empty() || tag.is_empty() || tag.len() > 128 || !tag.chars().all(sound) {
            return Err(format!("--to {to}: should be oci:FOLDER or oci:FOLDER:TAG"));
        }
        return Ok(To::Oci {
            folder: folder.into(),
            tag: tag.into(),
        });
    }
    if to.ends_with(".zip") {
        let target = match &arguments.target {
            Some(text) => Target::parse(text)?,
            None => pack::usual_target(),
        };
        return Ok(To::Zip {
            path: to.into(),
            target,
            carry: arguments.libc,
        });
    }
    Err(format!(
        "--to {to}: should be FILE.zip, oci:FOLDER or FILE.yaml"
    ))
}

fn request(arguments: &Arguments) -> Result<Request, String> {
    let program = launch::locate_program(&arguments.program)
        .ok_or_else(|| format!("{}: there is no such program", arguments.program.display()))?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    };
    let data = arguments
        .files
        .iter()
        .map(|text| Data::parse(text))
        .collect::<Result<_, _>>()?;
    let mut environment = BTreeMap::new();
    for pair in &arguments.env {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("--env {pair}: should be NAME=VALUE"))?;
        environment.insert(name.to_string(), value.to_string());
    }
    let words = super::run::words::split(arguments.entry.as_deref().unwrap_or_default());
    let (command, mayfly) = mayfly(arguments.prefix.as_deref())?;
    Ok(Request {
        program,
        name,
        data,
        with: arguments.with.clone(),
        print: arguments.print.clone(),
        arguments: words.map_err(|e| format!("--entry: {e}"))?,
        environment,
        command,
        mayfly,
        allow_secrets: arguments.allow_secrets,
    })
}

/// The command and the folder of libraries that go along.
fn mayfly(prefix: Option<&Path>) -> Result<(PathBuf, PathBuf), String> {
    match prefix {
        Some(prefix) => Ok((prefix.join("bin/mayfly"), prefix.join("lib/mayfly"))),
        None => {
            let command =
                std::env::current_exe().map_err(|e| format!("cannot find this command: {e}"))?;
            Ok((command, launch::library_folder()))
        }
    }
}
