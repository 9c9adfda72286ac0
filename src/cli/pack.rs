//! `mayfly pack`: turns a program into something a platform can run.

use mayfly::base::trace;
use mayfly::platform::pack::{self, Data, Request, Target, To, Under};
use mayfly::platform::{kubernetes, launch};
use std::collections::BTreeMap;
use std::io::Write;
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
    /// A variable for the program, NAME=VALUE; `{package}` in it is the package's folder. Readable by all who have the package
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
    /// What the image stands on: none (it brings its libc), or an OCI image layout, as skopeo copies it: oci:DIR[:TAG]
    #[arg(long, value_name = "IMAGE", default_value = "none")]
    base: String,
    /// Packs files that look like keys as well
    #[arg(long)]
    allow_secrets: bool,
    /// The Mayfly that goes along: an installation's folder (this one)
    #[arg(long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// For a manifest.
#[derive(clap::Args)]
#[command(next_help_heading = "For FILE.yaml")]
struct Kubernetes {
    /// The image that runs, as the cluster pulls it
    #[arg(long, value_name = "REGISTRY/NAME:TAG")]
    image: Option<String>,
    /// The number of ranks
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: u32,
    /// Ranks in each pod
    #[arg(long, value_name = "N", default_value_t = 1)]
    per_instance: u32,
    /// The namespace (that of whoever applies the manifest)
    #[arg(long)]
    namespace: Option<String>,
    /// Processors of each pod
    #[arg(long, value_name = "AMOUNT", default_value = "1")]
    cpu: String,
    /// Memory of each pod
    #[arg(long, value_name = "AMOUNT", default_value = "2Gi")]
    memory: String,
    /// The job ends after so many seconds, whatever happens
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// The LocalQueue of Kueue that admits the job as a whole
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Writes a JobSet instead of a Job and a Service
    #[arg(long)]
    job_set: bool,
}

/// Runs the subcommand; gives the exit status.
pub fn main(arguments: &Arguments) -> i32 {
    match run(arguments) {
        Ok(text) => {
            let mut out = std::io::stdout();
            // The package stands, whether somebody reads about it or not.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            0
        }
        Err(text) => {
            for line in text.lines() {
                trace::say(&format!("mayfly pack: {line}"));
            }
            1
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, String> {
    if arguments.to.ends_with(".yaml") || arguments.to.ends_with(".yml") {
        return manifest(arguments);
    }
    let to = place(arguments)?;
    let request = request(arguments)?;
    let packed = pack::pack(&request, &to)?;
    for notice in &packed.notices {
        trace::say(&format!("mayfly pack: {notice}"));
    }
    Ok(packed.text(&request, &to))
}

/// Writes the manifest that runs the image.
fn manifest(arguments: &Arguments) -> Result<String, String> {
    let flags = &arguments.kubernetes;
    if !arguments.files.is_empty() || !arguments.with.is_empty() || arguments.libc {
        return Err(
            "a manifest holds no files; pack them into the image (--to oci:DIR) that --image names"
                .into(),
        );
    }
    let report = mayfly::platform::elf::examine(&program(arguments)?).map_err(|e| e.to_string())?;
    if let Some(obstacle) = report.obstacles().into_iter().next() {
        return Err(obstacle);
    }
    let image = flags
        .image
        .as_deref()
        .ok_or("--image: which image is to run? (mayfly pack --to oci:DIR makes one)")?;
    if flags.n == 0 || flags.per_instance == 0 {
        return Err("-n and --per-instance: 1 or more".into());
    }
    let name = kubernetes::name_from(&name(arguments)?, kubernetes::NAME_MAX);
    let job = kubernetes::Job {
        namespace: flags.namespace.clone(),
        cpu: flags.cpu.clone(),
        memory: flags.memory.clone(),
        limit_s: flags.limit,
        queue: flags.queue.clone(),
        ..kubernetes::Job::new(&name, image, flags.n.div_ceil(flags.per_instance))
    };
    let text = job.yaml(flags.job_set)?;
    std::fs::write(&arguments.to, text).map_err(|e| format!("{}: {e}", arguments.to))?;
    Ok(format!(
        "written    {}\npods       {} of {}, {} cpu and {} each\nsecret     {name}: its start.json is a placeholder; mayfly run --on kubernetes:image={image} \
         creates all this with a job's own\n",
        arguments.to, job.instances, job.image, job.cpu, job.memory
    ))
}

fn program(arguments: &Arguments) -> Result<PathBuf, String> {
    launch::locate_program(&arguments.program)
        .ok_or_else(|| format!("{}: there is no such program", arguments.program.display()))
}

/// The package's name: as said, or the program's.
fn name(arguments: &Arguments) -> Result<String, String> {
    let file = arguments.program.file_name().unwrap_or_default();
    let name = arguments
        .name
        .clone()
        .unwrap_or_else(|| file.to_string_lossy().into_owned());
    if name.is_empty() || name.contains('/') {
        return Err(format!("--name {name:?}: is no name"));
    }
    Ok(name)
}

fn place(arguments: &Arguments) -> Result<To, String> {
    let to = &arguments.to;
    let target = arguments.target.as_deref().map(Target::parse).transpose()?;
    if to.starts_with("oci:") {
        let (folder, tag) = layout("--to", to)?;
        let base = match arguments.base.as_str() {
            "none" => None,
            base => {
                let (folder, tag) = layout("--base", base)?;
                Some(Under {
                    folder,
                    tag,
                    target: target.clone(),
                })
            }
        };
        if arguments.libc || base.is_none() && target.is_some() {
            return Err(
                "--libc and --target are for a zip; an image without a base brings its libc".into(),
            );
        }
        return Ok(To::Oci { folder, tag, base });
    }
    if arguments.base != "none" {
        return Err("--base is for an image (--to oci:DIR)".into());
    }
    if to.ends_with(".zip") {
        let target = target.unwrap_or_else(pack::usual_target);
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

/// The folder and the tag of `oci:DIR[:TAG]`.
fn layout(flag: &str, text: &str) -> Result<(PathBuf, String), String> {
    let rest = text.strip_prefix("oci:").unwrap_or_default();
    let (folder, tag) = match rest.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') => (folder, tag),
        _ => (rest, "latest"),
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if folder.is_empty() || tag.is_empty() || tag.len() > 128 || !tag.chars().all(sound) {
        return Err(format!(
            "{flag} {text}: should be oci:FOLDER or oci:FOLDER:TAG"
        ));
    }
    Ok((folder.into(), tag.into()))
}

fn request(arguments: &Arguments) -> Result<Request, String> {
    let (program, name) = (program(arguments)?, name(arguments)?);
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
