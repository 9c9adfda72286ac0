//! Writes inputs that are sound, a few for each target, as a start for the corpus: `seeds FOLDER`. Run by `ci/fuzz --seeds`.

use mayfly::platform::start::{Common, Place, Start};
use mayfly::platform::task::{Part, Stdin, Task};
use mayfly::rendezvous::message::{
    Errand, Event, Frame, FromHost, FromOwner, Ticket, ToHost, ToMember, ToOwner, ToService,
};
use mayfly::wire::{address, frame, hello, note, relay, verbs_address, verbs_hello};
use std::path::PathBuf;

struct Seeds {
    folder: PathBuf,
    count: usize,
}

impl Seeds {
    fn put(&mut self, target: &str, bytes: &[u8]) {
        let folder = self.folder.join(target);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        self.count += 1;
        std::fs::write(folder.join(format!("seed-{}", self.count)), bytes).expect("a seed");
    }
    fn frames<T: Frame>(&mut self, target: &str, messages: &[T]) {
        for message in messages {
            // Without the length, which is read before.
            self.put(target, &message.encode()[4..]);
        }
    }
}

fn main() {
    let folder = std::env::args_os().nth(1).expect("seeds FOLDER");
    let mut seeds = Seeds {
        folder: folder.into(),
        count: 0,
    };
    wire(&mut seeds);
    members(&mut seeds);
    hosts(&mut seeds);
    owners(&mut seeds);
    texts(&mut seeds);
    println!("{} seeds", seeds.count);
}

fn wire(seeds: &mut Seeds) {
    use frame::Kind::*;
    for kind in [
        Eager, Ready, Clear, Piece, Done, Credit, Cancel, Cancelled, Goodbye, Loss, Placed,
    ] {
        let header = frame::Header {
            length: 5,
            source: 3,
            total: 77,
            ..frame::Header::new(kind)
        };
        seeds.put("frame", &header.encode());
    }
    for (role, path) in [
        (hello::Role::Dialler, hello::Path::Private),
        (hello::Role::Listener, hello::Path::Punched),
        (hello::Role::Dialler, hello::Path::Relayed),
    ] {
        let greeting = hello::Hello {
            role,
            path,
            sealed: true,
            job: [1; 16],
            from: 2,
            to: 3,
            nonce: [4; 16],
        };
        seeds.put("hello", &greeting.encode());
    }
    for (attempt, ready_for, refuses) in [(1, 0, false), (2, 1, false), (3, 0, true)] {
        let greeting = verbs_hello::VerbsHello {
            job: [1; 16],
            from: 2,
            to: 3,
            attempt,
            ready_for,
            asks: ready_for == 0,
            refuses,
            offer: verbs_hello::Offer {
                queue_pair: 17,
                first_packet: 5,
                mtu: 3,
                reads: 16,
                terms: [8; 32],
            },
        };
        seeds.put("verbs_hello", &greeting.encode(&[7; 32]));
    }
    seeds.put("relay", &relay::greeting(&[8; 16]));
    for op in [relay::Op::Observe, relay::Op::Dial, relay::Op::Listen] {
        let request = relay::Request {
            op,
            job: [1; 16],
            expiry: 1_800_000_000,
            from: 1,
            to: 2,
        };
        seeds.put("relay", &request.encode(&[1; 32], &[2; 16]));
    }
    seeds.put("relay", b"relay.example:7718,relay.example:7719");
    for address in addresses() {
        seeds.put("address", &address.encode());
        // A table of two of them.
        let one = address.encode();
        let entry = [&(one.len() as u32).to_le_bytes()[..], &one].concat();
        seeds.put("note", &[&[2], &entry[..], &entry].concat());
    }
    seeds.put("note", &note::Note::Call(1).encode());
}

fn addresses() -> Vec<address::Address> {
    let ips = [
        "192.0.2.1".parse().expect("an address"),
        "2001:db8::1".parse().expect("an address"),
    ];
    let segments = [
        address::Segment::None,
        address::Segment::Descriptor(5),
        address::Segment::File("/tmp/mayfly".into()),
    ];
    segments
        .into_iter()
        .map(|segment| address::Address {
            rank: 1,
            boot: [1; 16],
            pid_namespace: 2,
            net_namespace: 3,
            pid: 4,
            start: 5,
            nonce: [6; 16],
            probe: 7,
            segment,
            port: 4000,
            ips: ips.to_vec(),
            public: Some("203.0.113.7:4000".parse().expect("an address")),
            symmetric: true,
            punches: true,
            relays: true,
            near: false,
            crowded: false,
            key: Some([8; 32]),
            verbs: Some(verbs_address::VerbsAddress {
                fabric: verbs_address::Fabric::RoceV2,
                mtu: 3,
                modes: 1,
                lid: 2,
                gid: [9; 16],
                queue_pair: 17,
                queue_key: 18,
            }),
        })
        .collect()
}

fn members(seeds: &mut Seeds) {
    let name = || "addresses".to_string();
    let blob = || b"blob".to_vec();
    seeds.frames(
        "to_service",
        &[
            ToService::Join {
                rank: 1,
                size: 4,
                epoch: 0,
                pid: 77,
                host: "host".into(),
            },
            ToService::Fence {
                name: name(),
                blob: blob(),
            },
            ToService::TreeFence {
                name: name(),
                blob: blob(),
            },
            ToService::Renew,
            ToService::Abort {
                code: 3,
                text: "why".into(),
            },
            ToService::Finished,
            ToService::Note {
                to: 2,
                blob: blob(),
            },
        ],
    );
    seeds.frames(
        "to_member",
        &[
            ToMember::Welcome { lease: 10_000 },
            ToMember::Refused { text: "no".into() },
            ToMember::Table {
                name: name(),
                blobs: vec![blob(), Vec::new()],
            },
            ToMember::Branch {
                name: name(),
                blobs: vec![(0, blob()), (9, Vec::new())],
            },
            ToMember::Alive,
            ToMember::Aborted {
                rank: 1,
                code: 2,
                text: "why".into(),
            },
            ToMember::Over,
            ToMember::Goodbye,
            ToMember::Note {
                from: 3,
                blob: blob(),
            },
        ],
    );
    let ticket = Ticket {
        job: [1; 16],
        token: [2; 32],
        pass: [3; 32],
        rank: 1,
        size: 4,
        epoch: 0,
        local_rank: 0,
        local_size: 1,
        appnum: 0,
        universe: -1,
        service: "127.0.0.1:7717".into(),
        relays: vec!["192.0.2.1:7718,192.0.2.1:7719".into()],
        relay_expiry: 1_800_000_000,
        relay_grant: [4; 32],
        deadline_ms: 1_800_000_000_000,
    };
    seeds.put("ticket", &ticket.encode());
}

fn hosts(seeds: &mut Seeds) {
    seeds.frames(
        "from_host",
        &[
            FromHost::Begin {
                host: "host".into(),
                platform: "lambda".into(),
                cores: 1,
                memory_mib: 1769,
                left_ms: 900_000,
            },
            FromHost::Started { rank: 1, pid: 77 },
            FromHost::Output {
                rank: 1,
                stream: 2,
                bytes: b"text\n".to_vec(),
            },
            FromHost::Exited {
                rank: 1,
                code: 0,
                signal: 9,
            },
            FromHost::Usage {
                init_ms: 5,
                run_ms: 6,
                memory_mib: 7,
            },
            FromHost::Log { text: "log".into() },
            FromHost::Renew,
            FromHost::Done,
        ],
    );
    let errand = Errand {
        first_rank: 1,
        ranks: 2,
        size: 4,
        per_instance: 1,
        epoch: 0,
        mesh: [1; 32],
        passes: vec![[2; 32], [3; 32]],
        relays: vec!["192.0.2.1:7718,192.0.2.1:7719".into()],
        relay_expiry: 1_800_000_000,
        relay_grant: [4; 32],
        task: task().to_json(),
    };
    seeds.frames(
        "to_host",
        &[
            ToHost::Welcome {
                lease: 10_000,
                errand,
            },
            ToHost::Refused { text: "no".into() },
            ToHost::Input {
                rank: 1,
                bytes: b"text\n".to_vec(),
            },
            ToHost::Stop {
                text: "why".into(),
                grace_ms: 500,
            },
            ToHost::Alive,
            ToHost::Goodbye,
        ],
    );
}

fn owners(seeds: &mut Seeds) {
    seeds.frames(
        "from_owner",
        &[
            FromOwner::Input {
                rank: 0,
                bytes: b"text\n".to_vec(),
            },
            FromOwner::Stop {
                code: 1,
                text: "why".into(),
            },
            FromOwner::Renew,
            FromOwner::Done,
        ],
    );
    let host = || "host".to_string();
    let events = [
        Event::Joined {
            rank: 1,
            pid: 77,
            host: host(),
        },
        Event::Refused { why: host() },
        Event::Lost {
            rank: 1,
            why: host(),
        },
        Event::Aborted {
            rank: 1,
            code: 2,
            text: host(),
        },
        Event::Finished { rank: 1 },
        Event::Over,
        Event::HostArrived {
            instance: 1,
            attempt: 0,
            host: host(),
            platform: "http".into(),
        },
        Event::HostLost {
            instance: 1,
            why: host(),
        },
        Event::HostDone { instance: 1 },
        Event::Started { rank: 1, pid: 77 },
        Event::Output {
            rank: 1,
            stream: 1,
            bytes: b"text\n".to_vec(),
        },
        Event::Exited {
            rank: 1,
            code: 0,
            signal: 0,
        },
        Event::Usage {
            instance: 1,
            init_ms: 2,
            run_ms: 3,
            memory_mib: 4,
        },
        Event::Log {
            instance: 1,
            text: host(),
        },
    ];
    let mut all = vec![
        ToOwner::Welcome { lease: 10_000 },
        ToOwner::Refused { text: "no".into() },
        ToOwner::Alive,
        ToOwner::Goodbye,
    ];
    all.extend(events.map(ToOwner::Event));
    seeds.frames("to_owner", &all);
}

fn task() -> Task {
    Task {
        parts: vec![Part {
            ranks: 4,
            program: "app".into(),
            arguments: vec!["-x".into()],
            environment: [("NAME".to_string(), "value".to_string())].into(),
            folder: Some("/tmp".into()),
        }],
        stdin: Stdin::Rank(0),
        limit_s: Some(1.5),
        tag: true,
        universe: Some(8),
    }
}

fn texts(seeds: &mut Seeds) {
    seeds.put("task", &[&[4], task().to_json().as_slice()].concat());
    let place = Place {
        rendezvous: "https://meet.example:7717".into(),
        pin: Some([9; 32]),
        job: [1; 16],
    };
    let common = Common {
        place: place.clone(),
        hosts_key: [7; 32],
    };
    seeds.put("start", common.to_json().as_bytes());
    let start = Start {
        place,
        instance: 3,
        attempt: 2,
        pass: [8; 32],
    };
    let json = start.to_json();
    seeds.put("start", json.as_bytes());
    seeds.put("letter", json.as_bytes());
    seeds.put("letter", format!("{{\"value\":{json}}}").as_bytes());
    seeds.put(
        "letter",
        format!("{{\"body\":{json:?},\"isBase64Encoded\":false}}").as_bytes(),
    );
    seeds.put(
        "letter",
        b"{\"mayfly\":1,\"name\":\"a\",\"program\":\"app/a\",\"libraries\":[\"lib/app\"]}",
    );
    for path in ["member/1/0", "host/3/1", "owner", "https://[::1]:7717"] {
        seeds.put("path", path.as_bytes());
    }
    seeds.put(
        "ini",
        b"[default]\naws_access_key_id = AKID\naws_secret_access_key=a/b+c\n[profile  \"my dev\"] ; c\nregion=us-east-1 # here\n\
          s3 =\n  endpoint_url = http://x\ncredential_process = /bin/x --a \"b c\"\n",
    );
    let file = |user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: u, \
             namespace: n}}\nclusters:\n- name: k\n  cluster:\n    server: https://h:6443\n    \
             certificate-authority-data: QQ==\nusers:\n- name: u\n  user:\n    {user}\n"
        )
    };
    let plugin = file("exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [x], interactiveMode: Never}");
    seeds.put("kubeconfig", plugin.as_bytes());
    let two =
        file("tokenFile: token") + "\0" + &file("client-key: &a key\n    client-certificate: *a");
    seeds.put("kubeconfig", two.as_bytes());
    seeds.put(
        "http_head",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mayfly\r\n\r\n",
    );
    seeds.put(
        "pmi1",
        b"cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\ncmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n\
          cmd=appnum appnum=0\ncmd=universe_size size=4\ncmd=my_kvsname kvsname=kvs_1\n\
          cmd=get_result rc=0 value=(vector,(0,2,2))\ncmd=put_result rc=0\ncmd=barrier_out\n\
          cmd=get_result rc=0 value=x\ncmd=finalize_ack\n",
    );
    let mut two = b"cmd=response_to_init pmi_version=2 pmi_subversion=0 rc=0\n".to_vec();
    for text in [
        "cmd=fullinit-response;pmi-version=2;rank=1;size=4;appnum=0;rc=0;",
        "cmd=job-getid-response;jobid=7;rc=0;",
        "cmd=info-getjobattr-response;found=TRUE;value=4;rc=0;",
        "cmd=info-getjobattr-response;found=TRUE;value=(vector,(0,2,2));rc=0;",
        "cmd=kvs-put-response;rc=0;",
        "cmd=kvs-fence-response;rc=0;",
        "cmd=kvs-get-response;found=TRUE;value=x;rc=0;",
        "cmd=finalize-response;rc=0;",
    ] {
        two.extend_from_slice(format!("{:>6}{text}", text.len()).as_bytes());
    }
    seeds.put("pmi2", &two);
    // A sound program to begin with, as long as it is small: this one's first pages.
    if let Ok(bytes) = std::fs::read("/bin/true") {
        seeds.put("elf", &bytes[..bytes.len().min(16 * 1024)]);
    }
}
