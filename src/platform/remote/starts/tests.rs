use super::*;
use crate::platform::on::{Answer, Failure, Ready};
use crate::platform::start::{Place, Start};
use std::collections::HashSet;
use std::sync::Mutex;

/// Answers each instance's attempts from a list, the last one for ever.
struct Scripted {
    answers: Vec<Result<Delivery, Failure>>,
    letters: Mutex<Vec<Start>>,
}

impl Platform for Scripted {
    fn name(&self) -> String {
        "scripted".into()
    }
    fn preflight<'a>(&'a self, _: &'a Wish) -> Answer<'a, Result<Ready, String>> {
        Box::pin(async { Ok(Ready::new(Duration::from_secs(1))) })
    }
    fn start<'a>(&'a self, letter: &'a Letter) -> Answer<'a, Result<Delivery, Failure>> {
        let start = Start::from_json(letter.body.as_bytes()).unwrap();
        assert_eq!(
            (start.instance, start.attempt),
            (letter.instance, letter.attempt)
        );
        self.letters.lock().unwrap().push(start);
        let answer = self.answers.get(letter.attempt as usize);
        let answer = answer.or(self.answers.last()).unwrap().clone();
        Box::pin(async move { answer })
    }
}

/// Runs starts with this script and this many seconds of patience, until there are no more reports.
fn run(
    answers: Vec<Result<Delivery, Failure>>,
    instances: u32,
    patience: u64,
    arrived: &[u32],
) -> (Vec<Report>, Vec<Start>) {
    let platform = Arc::new(Scripted {
        answers,
        letters: Mutex::default(),
    });
    let common = Common {
        place: Place {
            rendezvous: "http://127.0.0.1:1".into(),
            pin: None,
            job: [1; 16],
        },
        hosts_key: [2; 32],
    };
    let wish = Wish::of(instances);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let reports = runtime.block_on(async {
        let (sender, mut reports) = mpsc::unbounded_channel();
        let deadline = Instant::now() + Duration::from_secs(patience);
        let starts = Starts::begin(platform.clone(), common, &wish, deadline, sender);
        arrived
            .iter()
            .for_each(|&instance| starts.arrived(instance));
        let mut all = Vec::new();
        while let Some(report) = reports.recv().await {
            all.push(report);
        }
        all
    });
    let letters = std::mem::take(&mut *platform.letters.lock().unwrap());
    (reports, letters)
}

fn busy() -> Result<Delivery, Failure> {
    Err(Failure::passing("busy"))
}

#[test]
fn a_busy_platform_is_asked_again_with_a_new_number_and_pass() {
    let (reports, letters) = run(vec![busy(), Ok(Delivery::Accepted)], 3, 60, &[]);
    assert_eq!(reports.len(), 3);
    let trying =
        |report: &Report| matches!(report, Report::Trying { attempt: 0, why, .. } if why == "busy");
    assert!(reports.iter().all(trying), "{reports:?}");
    assert_eq!(letters.len(), 6);
    let passes: HashSet<[u8; 32]> = letters.iter().map(|start| start.pass).collect();
    assert_eq!(passes.len(), 6);
}

#[test]
fn what_cannot_help_is_not_tried_again() {
    let (reports, letters) = run(vec![Err(Failure::last("no such function"))], 1, 60, &[]);
    let failed = Report::Failed {
        instance: 0,
        why: "no such function".into(),
    };
    assert_eq!((reports, letters.len()), (vec![failed], 1));
    // Nor beyond the deadline.
    let (reports, letters) = run(vec![busy()], 1, 0, &[]);
    assert!(matches!(&reports[..], [Report::Failed { why, .. }] if why == "busy"));
    assert_eq!(letters.len(), 1);
}

#[test]
fn the_first_trouble_is_said_with_the_last() {
    let died = Err(Failure::passing("the function died"));
    let full = Err(Failure::last("no instance is free"));
    for (answers, said) in [
        (
            vec![died.clone(), busy(), full.clone()],
            "no instance is free; the first time: the function died",
        ),
        (vec![full.clone()], "no instance is free"),
        (
            vec![died.clone(), Err(Failure::last("the function died"))],
            "the function died",
        ),
    ] {
        let (reports, _) = run(answers, 1, 60, &[]);
        let last = Report::Failed {
            instance: 0,
            why: said.into(),
        };
        assert_eq!(reports.last(), Some(&last));
    }
}

#[test]
fn an_instance_that_arrived_is_never_asked_for_twice() {
    let lost = Failure {
        doubtful: true,
        ..Failure::passing("the answer was cut")
    };
    let (reports, letters) = run(vec![Err(lost.clone()), Ok(Delivery::Accepted)], 2, 60, &[0]);
    assert!(
        matches!(&reports[..], [Report::Trying { instance: 1, .. }]),
        "{reports:?}"
    );
    let of = |instance| letters.iter().filter(|s| s.instance == instance).count();
    assert_eq!((of(0), of(1)), (1, 2));
}

#[test]
fn secrets_are_taken_out_of_what_a_platform_says() {
    let letter = Letter {
        instance: 0,
        attempt: 0,
        body: r#"{"pass":"abcd","hosts_key":"ef01"}"#.into(),
    };
    let said = hide("echo: abcd, ef01, abcd".into(), &letter);
    assert_eq!(said, "echo: ..., ..., ...");
}
