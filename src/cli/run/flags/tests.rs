use super::*;

fn read(line: &str) -> Parsed {
    parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
}

fn complaint(line: &str) -> String {
    match parse(line.split_whitespace().map(OsString::from).collect()) {
        Err(Wrong::Text(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn pair(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

#[test]
fn both_launchers_habits_are_understood() {
    for line in [
        "-n 4 ./a -x 1",
        "--n 4 ./a -x 1",
        "-np 4 ./a -x 1",
        "--np=4 -- ./a -x 1",
        "--allow-run-as-root --oversubscribe --bind-to core --mca btl tcp,self -ppn 2 -c 4 ./a -x 1",
    ] {
        let plan = read(line).plan;
        assert_eq!(plan.parts.len(), 1, "{line}");
        assert_eq!((plan.parts[0].ranks, &plan.parts[0].program), (4, &"./a".into()), "{line}");
        assert_eq!(plan.parts[0].arguments, ["-x", "1"], "{line}");
    }
    assert_eq!(read("./a").plan.parts[0].ranks, 1);
    assert_eq!(read("--bind-to core ./a").notices.len(), 1);
    let plan =
        read("--tag-output --timeout 1.5 -stdin all -outfile-pattern o.%r -usize 9 ./a").plan;
    assert!(plan.tag && plan.timeout == Some(Duration::from_millis(1500)));
    assert_eq!((plan.stdin, plan.universe), (Stdin::All, Some(9)));
    assert_eq!(plan.stdout_pattern, Some("o.%r".into()));
    assert!(read("-l ./a").plan.tag && read("-prepend-rank ./a").plan.tag);
}

#[test]
fn parts_have_their_own_and_common_settings() {
    let plan = read(
        "-n 2 -env A 1 -x C=3=3 -wdir /x ./a : -genv B 2 -np 3 -envnone ./b arg : -gwdir /y ./c",
    )
    .plan;
    let counts: Vec<u32> = plan.parts.iter().map(|part| part.ranks).collect();
    assert_eq!(counts, [2, 3, 1]);
    let (c, b) = (pair("C", "3=3"), pair("B", "2"));
    assert_eq!(plan.parts[0].set, [c.clone(), b.clone(), pair("A", "1")]);
    assert_eq!(plan.parts[1].set, [c, b]);
    assert_eq!(plan.parts[1].inherit, Inherit::Some(vec![]));
    assert_eq!(plan.parts[0].inherit, Inherit::All);
    assert_eq!(plan.parts[0].folder, Some("/x".into()));
    assert_eq!(plan.parts[2].folder, Some("/y".into()));
    assert_eq!(plan.parts[1].arguments, ["arg"]);
    let plan = read("-genvlist A,B ./a : -envall ./b").plan;
    assert_eq!(
        plan.parts[0].inherit,
        Inherit::Some(vec!["A".into(), "B".into()])
    );
    assert_eq!(plan.parts[1].inherit, Inherit::All);
}

#[test]
fn mistakes_are_named() {
    for (line, expected) in [
        ("", "which program"),
        ("-n 4", "which program"),
        ("-n", "needs a value"),
        ("-n x ./a", "number"),
        ("-n 0 ./a", "number from 1 on"),
        ("-n -3 ./a", "number"),
        ("-n4 ./a", "did you mean -n 4?"),
        ("--timout 3 ./a", "did you mean -timeout?"),
        ("--tag-ouput ./a", "did you mean -tag-output?"),
        ("--launcher-agent ./a", "unknown flag --launcher-agent"),
        ("--hostfile h ./a", "takes no hosts"),
        ("-H a,b ./a", "takes no hosts"),
        ("--timeout soon ./a", "number of seconds"),
        ("--timeout -1 ./a", "number of seconds"),
        ("--timeout nan ./a", "number of seconds"),
        ("-genv A", "needs a value"),
        ("-genv=A B ./a", "takes no `=`"),
        ("-stdin 4 -n 2 ./a", "only 2 ranks"),
        ("./a :", "one side"),
        (": ./a", "one side"),
        ("-x =3 ./a", "NAME"),
        ("-configfile /does/not/exist", "cannot be read"),
        ("--rendezvous no/where ./a", "HOST:PORT"),
        ("--key-file k ./a", "needs --rendezvous"),
    ] {
        let text = complaint(line);
        assert!(text.contains(expected), "{line:?}: {text:?}");
    }
    let help = |line: &str| parse(line.split_whitespace().map(OsString::from).collect()).err();
    assert_eq!(help("--help"), Some(Wrong::Help));
    assert_eq!(help("-V"), Some(Wrong::Version));
}

#[test]
fn a_file_gives_parts_line_by_line() {
    let path = std::env::temp_dir().join(format!("mayfly-flags-{}", std::process::id()));
    std::fs::write(
        &path,
        "# two programs\n-n 2 ./a 'b c' :\n\n-n 3 -env A 1 ./d\n",
    )
    .unwrap();
    let line = |before: &str| read(&format!("{before} -configfile {}", path.display())).plan;
    let plan = line("-l");
    assert!(plan.tag);
    let parts: Vec<_> = plan
        .parts
        .iter()
        .map(|p| (p.ranks, p.program.clone()))
        .collect();
    assert_eq!(parts, [(2, "./a".into()), (3, "./d".into())]);
    assert_eq!(plan.parts[0].arguments, ["b c"]);
    std::fs::write(&path, "-n 2 ./a\n-n x ./b\n").unwrap();
    let text = complaint(&format!("--app {}", path.display()));
    assert!(
        text.contains("line 2: ") && text.contains("number"),
        "{text}"
    );
    std::fs::remove_file(&path).unwrap();
}
