//! Small programs, made by cc when the tests run, packed and looked into.

use super::tree::Node;
use super::*;
use crate::platform::elf::tests::{Folder, USER};
use crate::platform::package::Package;
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::Command;

/// A Mayfly of small files, and a program that needs it and a library of its own.
fn workshop() -> (Folder, Request) {
    let folder = Folder::new();
    for soname in ["libmpi.so.12", "libmpi.so.40", "libmpi_abi.so.1"] {
        let abi = match soname {
            "libmpi.so.12" => "mpich",
            "libmpi.so.40" => "openmpi",
            _ => "standard",
        };
        folder.mpi(&format!("prefix/lib/mayfly/{abi}"), soname);
    }
    let link = folder.at("prefix/lib/mayfly/openmpi/libmpi_mpifh.so.40");
    std::os::unix::fs::symlink("libmpi.so.40", link).unwrap();
    let command = "int main(int n,char**v){return n>1&&v[1][0]=='h'?0:3;}";
    folder.cc("prefix/bin/mayfly", command, &[]);
    folder.mpi("foreign", "libmpi.so.40");
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libflow.so.2"];
    folder.cc("lib/libflow.so.2", "int flow(void){return 42;}", &shared);
    let program = "int MPI_Init(void*,void*);int flow(void);int printf(const char*,...);\
        int main(int n,char**v){MPI_Init(0,0);return printf(\"%s %s %d\\n\",v[0],n>1?v[1]:\"-\",flow())<0;}";
    let run = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib";
    let program = folder.cc(
        "solver",
        program,
        &["foreign/libmpi.so.40", "lib/libflow.so.2", run],
    );
    let request = Request {
        program,
        name: "solver".into(),
        command: folder.at("prefix/bin/mayfly"),
        mayfly: folder.at("prefix/lib/mayfly"),
        arguments: vec!["-in".into()],
        ..Request::default()
    };
    (folder, request)
}

fn zip(folder: &Folder, name: &str, carry: bool) -> To {
    // No newer than what cc made here.
    let target = Target::parse("glibc=2.99").unwrap();
    To::Zip {
        path: folder.at(name),
        target,
        carry,
    }
}

fn unzip(path: &Path, to: &Path) -> Vec<String> {
    let mut zip = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    zip.extract(to).unwrap();
    zip.file_names().map(String::from).collect()
}

#[test]
fn a_zip_holds_the_program_and_what_it_needs() {
    let (folder, mut request) = workshop();
    folder.write("in.txt", "input");
    request.data = vec![Data {
        from: folder.at("in.txt"),
        name: "data/in.txt".into(),
    }];
    request.print = vec!["out.txt".into()];
    let packed = pack(&request, &zip(&folder, "a.zip", false)).unwrap();
    let names = unzip(&folder.at("a.zip"), &folder.at("out"));
    let expected = [
        "app/",
        "app/data/",
        "app/data/in.txt",
        "app/out.txt",
        "app/solver",
        "bin/",
        "bin/mayfly",
        "bootstrap",
        "lib/",
        "lib/app/",
        "lib/app/libflow.so.2",
        "lib/mayfly/",
        "lib/mayfly/openmpi/",
        "lib/mayfly/openmpi/libmpi.so.40",
        "lib/mayfly/openmpi/libmpi_mpifh.so.40",
        "mayfly.json",
    ];
    assert_eq!(names, expected);
    let out = folder.at("out");
    assert_eq!(
        fs::read_link(out.join("app/out.txt")).unwrap(),
        Path::new("/dev/stdout")
    );
    assert_eq!(packed.contents.libraries, ["libflow.so.2"]);
    assert_eq!(packed.digest.len(), 64);

    // As the host runs it: our library before everything, its own found beside it, arguments of the package.
    let package = Package::open(&out).unwrap();
    let command = package.command("", &[]).unwrap();
    let path: Vec<_> = command
        .libraries
        .iter()
        .map(|p| p.to_str().unwrap())
        .collect();
    let run = Command::new(&command.program)
        .args(&command.arguments)
        .env("LD_LIBRARY_PATH", path.join(":"))
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.ends_with("app/solver -in 42\n"),
        "{text} {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn a_carried_libc_starts_the_program() {
    let (folder, request) = workshop();
    pack(&request, &zip(&folder, "a.zip", true)).unwrap();
    let out = folder.at("out");
    let names = unzip(&folder.at("a.zip"), &out);
    assert!(
        names.iter().any(|name| name == "lib/libc/libc.so.6"),
        "{names:?}"
    );
    let command = Package::open(&out)
        .unwrap()
        .command("", &["x".into()])
        .unwrap();
    assert!(command
        .program
        .starts_with(out.canonicalize().unwrap().join("lib/libc")));
    assert!(command.libraries.is_empty());
    let run = Command::new(&command.program)
        .args(&command.arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.ends_with("app/solver x 42\n"),
        "{text} {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (folder, mut request) = workshop();
    fs::create_dir(folder.at("data")).unwrap();
    for name in ["b", "a", "c"] {
        folder.write(&format!("data/{name}"), name);
    }
    request.data = vec![Data {
        from: folder.at("data"),
        name: "data".into(),
    }];
    let oci = |name: &str| To::Oci {
        folder: folder.at(name),
        tag: "latest".into(),
        base: None,
    };
    let first = pack(&request, &zip(&folder, "1.zip", false))
        .unwrap()
        .digest;
    let image = pack(&request, &oci("1")).unwrap().digest;
    // Another time, another order in the folder.
    fs::remove_file(folder.at("data/b")).unwrap();
    let file = fs::File::create(folder.at("data/b")).unwrap();
    fs::write(folder.at("data/b"), "b").unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(
        pack(&request, &zip(&folder, "2.zip", false))
            .unwrap()
            .digest,
        first
    );
    assert_eq!(
        fs::read(folder.at("1.zip")).unwrap(),
        fs::read(folder.at("2.zip")).unwrap()
    );
    assert_eq!(pack(&request, &oci("2")).unwrap().digest, image);
    assert_eq!(
        fs::read(folder.at("1/index.json")).unwrap(),
        fs::read(folder.at("2/index.json")).unwrap()
    );
    // And another input, others.
    folder.write("data/b", "x");
    assert_ne!(
        pack(&request, &zip(&folder, "2.zip", false))
            .unwrap()
            .digest,
        first
    );
    assert_ne!(pack(&request, &oci("2")).unwrap().digest, image);
}

fn blob(folder: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let bytes = fs::read(folder.join("blobs/sha256").join(digest)).unwrap();
    assert_eq!(
        crate::rendezvous::message::hex(&Sha256::digest(&bytes)),
        digest
    );
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn an_image_is_sound_and_complete() {
    let (folder, request) = workshop();
    let place = folder.at("image");
    pack(
        &request,
        &To::Oci {
            folder: place.clone(),
            tag: "v1".into(),
            base: None,
        },
    )
    .unwrap();
    let index: Value =
        serde_json::from_slice(&fs::read(place.join("index.json")).unwrap()).unwrap();
    let listed = &index["manifests"][0];
    assert_eq!(
        listed["annotations"]["org.opencontainers.image.ref.name"],
        "v1"
    );
    let manifest: Value = serde_json::from_slice(&blob(&place, listed)).unwrap();
    let config: Value = serde_json::from_slice(&blob(&place, &manifest["config"])).unwrap();
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/bootstrap", "host"])
    );
    assert_eq!(config["config"]["User"], "65534:65534");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let mut found = BTreeMap::new();
    for (layer, plain) in layers
        .iter()
        .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
    {
        let mut bytes = Vec::new();
        GzDecoder::new(&blob(&place, layer)[..])
            .read_to_end(&mut bytes)
            .unwrap();
        let sum = crate::rendezvous::message::hex(&Sha256::digest(&bytes));
        assert_eq!(*plain, format!("sha256:{sum}"));
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            found.insert(
                path.trim_end_matches('/').to_string(),
                header.mode().unwrap(),
            );
        }
    }
    assert_eq!(found["tmp"], 0o1777);
    assert_eq!(found["bootstrap"], 0o755);
    assert_eq!(found["mayfly.json"], 0o644);
    let image = crate::platform::elf::Image::of(&request.program)
        .unwrap()
        .unwrap();
    let loader = image.interpreter.unwrap();
    assert!(
        found.contains_key(loader.trim_start_matches('/')),
        "{loader}: {found:?}"
    );
    assert!(found.keys().any(|name| name.ends_with("/libc.so.6")));

    // What is no image is not overwritten, an image is.
    pack(
        &request,
        &To::Oci {
            folder: place,
            tag: "v1".into(),
            base: None,
        },
    )
    .unwrap();
    fs::create_dir(folder.at("mine")).unwrap();
    folder.write("mine/file", "x");
    let wrong = pack(
        &request,
        &To::Oci {
            folder: folder.at("mine"),
            tag: "v1".into(),
            base: None,
        },
    )
    .unwrap_err();
    assert!(wrong.contains("is no OCI image layout"), "{wrong}");
    assert!(folder.at("mine/file").exists());
}

#[test]
fn what_would_not_run_is_not_packed() {
    let (folder, mut request) = workshop();
    let to = zip(&folder, "a.zip", false);
    let old = To::Zip {
        path: folder.at("a.zip"),
        target: Target::parse("glibc=2.0").unwrap(),
        carry: false,
    };
    let wrong = pack(&request, &old).unwrap_err();
    assert!(
        wrong.contains("solver: wants glibc 2.") && wrong.contains("--libc"),
        "{wrong}"
    );
    let carry = To::Zip {
        path: folder.at("a.zip"),
        target: Target::parse("glibc=2.0").unwrap(),
        carry: true,
    };
    assert!(pack(&request, &carry)
        .unwrap_err()
        .contains("bin/mayfly: wants glibc"));

    let program = request.program.clone();
    request.program = folder.write("run.sh", "#!/bin/sh\nexec solver\n");
    let packed = pack(&request, &to).unwrap();
    assert!(
        packed.notices[0].contains("/bin/sh must be on the target machine"),
        "{:?}",
        packed.notices
    );
    assert_eq!(packed.contents.abis.len(), 3);
    let image = To::Oci {
        folder: folder.at("image"),
        tag: "v1".into(),
        base: None,
    };
    assert!(pack(&request, &image)
        .unwrap_err()
        .contains("no interpreter"));
    request.program = folder.at("lib/libflow.so.2");
    assert!(pack(&request, &to)
        .unwrap_err()
        .contains("is a shared library"));
    request.program = folder.write("text", "x");
    assert!(pack(&request, &to).unwrap_err().contains("no ELF"));

    request.program = program;
    fs::remove_file(folder.at("lib/libflow.so.2")).unwrap();
    let wrong = pack(&request, &to).unwrap_err();
    assert!(
        wrong.contains("solver: needs libflow.so.2, which is nowhere"),
        "{wrong}"
    );
    fs::remove_file(folder.at("prefix/lib/mayfly/openmpi/libmpi.so.40")).unwrap();
    folder.cc("solver", USER, &["foreign/libmpi.so.40"]);
    assert!(pack(&request, &to)
        .unwrap_err()
        .contains("libmpi.so.40: there is no such file"));
}

#[test]
fn what_is_opened_later_comes_along() {
    let (folder, mut request) = workshop();
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libdeep.so.1"];
    folder.cc("lib/libdeep.so.1", "int deep(void){return 1;}", &shared);
    let beside = "-Wl,--enable-new-dtags,-rpath,$ORIGIN";
    let plugin = folder.cc(
        "lib/plugin.so",
        "int deep(void);int start(void){return deep();}",
        &["-shared", "-fPIC", "lib/libdeep.so.1", beside],
    );
    let opener = "void*dlopen(const char*,int);int main(void){return !dlopen(\"plugin.so\",2);}";
    request.program = folder.cc("solver", opener, &[]);
    let packed = pack(&request, &zip(&folder, "a.zip", false)).unwrap();
    let said = packed
        .notices
        .iter()
        .any(|n| n.contains("solver can load more libraries"));
    assert!(said, "{:?}", packed.notices);
    request.with = vec![plugin];
    let packed = pack(&request, &zip(&folder, "a.zip", false)).unwrap();
    assert_eq!(packed.contents.libraries, ["libdeep.so.1", "plugin.so"]);
    assert!(packed.contents.tree.contains("lib/app/plugin.so"));
}

#[test]
fn mayfly_stands_in_for_the_insides_of_open_mpi() {
    let (folder, mut request) = workshop();
    let shared = ["-shared", "-fPIC", "-Wl,-soname,libopen-pal.so.40"];
    folder.cc(
        "lib/libopen-pal.so.40",
        "int opal_init(void){return 0;}",
        &shared,
    );
    let arguments = [
        "foreign/libmpi.so.40",
        "-Wl,--no-as-needed",
        "lib/libopen-pal.so.40",
        "-Wl,-rpath,$ORIGIN/lib",
    ];
    request.program = folder.cc("solver", USER, &arguments);
    let packed = pack(&request, &zip(&folder, "a.zip", false)).unwrap();
    let entries = packed.contents.tree.entries();
    let link = entries
        .iter()
        .find(|(name, _)| name == "lib/mayfly/openmpi/libopen-pal.so.40");
    assert_eq!(
        link.map(|(_, node)| node),
        Some(&Node::Link("libmpi.so.40".into()))
    );
    let caller = USER
        .replace("return", "opal_init();return")
        .replace("int main", "int opal_init(void);int main");
    request.program = folder.cc("solver", &caller, &arguments);
    let wrong = pack(&request, &zip(&folder, "a.zip", false)).unwrap_err();
    assert!(
        wrong.contains("calls opal_init of libopen-pal.so.40"),
        "{wrong}"
    );
}

#[test]
fn limits_are_said() {
    let mut notices = Vec::new();
    limits(249 << 20, 49 << 20, &mut notices);
    assert!(notices.is_empty());
    limits(249 << 20, 51 << 20, &mut notices);
    assert!(
        notices[0].contains("51.0 MB: Lambda takes 50.0 MB"),
        "{notices:?}"
    );
    limits(251 << 20, 51 << 20, &mut notices);
    assert!(
        notices[1].contains("251.0 MB unpacked: Lambda takes 250.0 MB"),
        "{notices:?}"
    );
}

#[test]
fn an_image_stands_on_another() {
    let (folder, mut request) = workshop();
    let oci = |name: &str, base: Option<&str>| To::Oci {
        folder: folder.at(name),
        tag: "v1".into(),
        base: base.map(|base| Under {
            folder: folder.at(base),
            tag: "v1".into(),
            target: None,
        }),
    };
    pack(&request, &oci("below", None)).unwrap();
    request.program = folder.write("run.sh", "#!/app/solver\n");
    let packed = pack(&request, &oci("above", Some("below"))).unwrap();
    assert!(
        packed
            .notices
            .iter()
            .any(|n| n.contains("glibc the base image has")),
        "{:?}",
        packed.notices
    );
    let read = |name: &str| {
        let index: Value =
            serde_json::from_slice(&fs::read(folder.at(name).join("index.json")).unwrap()).unwrap();
        let manifest: Value =
            serde_json::from_slice(&blob(&folder.at(name), &index["manifests"][0])).unwrap();
        let config: Value =
            serde_json::from_slice(&blob(&folder.at(name), &manifest["config"])).unwrap();
        (manifest, config)
    };
    let ((below, below_config), (above, above_config)) = (read("below"), read("above"));
    let layers = above["layers"].as_array().unwrap();
    assert_eq!(
        (layers.len(), &layers[..2]),
        (4, &below["layers"].as_array().unwrap()[..])
    );
    let plain = above_config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(
        (plain.len(), &plain[..2]),
        (
            4,
            &below_config["rootfs"]["diff_ids"].as_array().unwrap()[..]
        )
    );
    assert_eq!(above_config["config"]["Env"], below_config["config"]["Env"]);
    // Nothing of ours lies where the base may have a link.
    let mut names = Vec::new();
    for layer in &layers[2..] {
        let bytes = blob(&folder.at("above"), layer);
        for entry in tar::Archive::new(GzDecoder::new(&bytes[..]))
            .entries()
            .unwrap()
        {
            names.push(
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    assert!(
        names
            .iter()
            .all(|name| name == "bootstrap" || name.starts_with("package/")),
        "{names:?}"
    );

    let wrong = pack(&request, &oci("x", Some("nowhere"))).unwrap_err();
    assert!(wrong.contains("is it an OCI image layout?"), "{wrong}");
    let first = layers[0]["digest"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:");
    fs::remove_file(folder.at("below/blobs/sha256").join(first)).unwrap();
    assert!(pack(&request, &oci("x", Some("below")))
        .unwrap_err()
        .contains(first));
    assert!(!folder.at("x").exists());
}
