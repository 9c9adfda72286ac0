//! The inside of a regular entry point: decode by kind, call, encode by kind.

use crate::table::{Direction, Parameter, Procedure};
use std::fmt::Write;

/// Is it a handle?
pub fn is_handle(kind: &str) -> bool {
    matches!(
        kind,
        "comm"
            | "group"
            | "datatype"
            | "op"
            | "request"
            | "message"
            | "info"
            | "errhandler"
            | "win"
            | "file"
            | "session"
    )
}

/// The table of `Numbers` that translates the kind.
fn numbers(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "threadlevel" => "THREADLEVEL",
        "comparison" => "COMPARISON",
        "topology" => "TOPOLOGY",
        "splittype" => "SPLITTYPE",
        "order" => "ORDER",
        "distribution" => "DISTRIBUTION",
        "darg" => "DARG",
        "combiner" => "COMBINER",
        "typeclass" => "TYPECLASS",
        "locktype" => "LOCKTYPE",
        "whence" => "WHENCE",
        _ => return None,
    })
}

/// The engine's value of one C value.
fn decode(kind: &str, value: &str, large: bool) -> String {
    match kind {
        kind if is_handle(kind) => format!("{value}.id()"),
        "count" | "displ" if !large => format!("i64::from({value})"),
        "rank" | "root" => format!("rank_in::<A>({value})"),
        "tag" => format!("tag_in::<A>({value})"),
        "logical" => format!("{value} != 0"),
        "keyval" => format!("keyval_in::<A>({value})"),
        "errcode" | "errclass" => format!("code_in::<A>({value})"),
        "amode" => format!("bits_in(A::AMODE, {value})"),
        "assert" => format!("bits_in(A::ASSERT, {value})"),
        "attribute" => format!("{value} as usize"),
        kind => match numbers(kind) {
            Some(table) => format!("number_in(A::{table}, {value})"),
            None => value.to_string(),
        },
    }
}

/// The C value of the engine's.
fn encode(kind: &str, value: &str, large: bool) -> String {
    match kind {
        kind if is_handle(kind) => format!("Handle::of({value})"),
        "count" | "displ" if !large => format!("small({value})"),
        "rank" | "root" => format!("rank_out::<A>({value})"),
        "tag" => format!("tag_out::<A>({value})"),
        "logical" => format!("c_int::from({value})"),
        "keyval" => format!("keyval_out::<A>({value})"),
        "errcode" | "errclass" => format!("code_out::<A>({value})"),
        "amode" => format!("bits_out(A::AMODE, {value})"),
        "assert" => format!("bits_out(A::ASSERT, {value})"),
        kind => match numbers(kind) {
            Some(table) => format!("number_out(A::{table}, {value})"),
            None => value.to_string(),
        },
    }
}

/// A regular shim while it is written.
struct Shim<'a> {
    procedure: &'a Procedure,
    large: bool,
    body: String,
    arguments: Vec<String>,
    /// After the call: the name of each result and what is done with it.
    results: Vec<(String, String)>,
    /// After the call, whatever it gave.
    afterwards: Vec<String>,
    lengths: Vec<String>,
}

/// The statements of the closure that a regular entry point passes to `entry::call`.
pub fn body(procedure: &Procedure, large: bool, indent: &str) -> String {
    let mut shim = Shim {
        procedure,
        large,
        body: String::new(),
        arguments: vec!["rt".into()],
        results: Vec::new(),
        afterwards: Vec::new(),
        lengths: Vec::new(),
    };
    for p in shim.parameters() {
        shim.parameter(p);
    }
    shim.call();
    shim.body
        .lines()
        .map(|line| format!("{indent}{line}\n"))
        .collect()
}

impl<'a> Shim<'a> {
    fn parameters(&self) -> Vec<&'a Parameter> {
        let keep = |p: &&Parameter| self.large || !p.large_only;
        self.procedure.parameters.iter().filter(keep).collect()
    }

    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.body, "{}", text.as_ref()).expect("a String takes all");
    }

    /// Does the parameter only say how long an input array is?
    fn is_length_of_input(&self, p: &Parameter) -> bool {
        let sized = |q: &&&Parameter| q.length == Some(p.name) && q.direction == Direction::In;
        matches!(p.kind, "length" | "count" | "int") && self.parameters().iter().any(|q| sized(&q))
    }

    /// An expression for an array's length, computed once.
    fn length(&mut self, p: &Parameter) -> String {
        let length = p.length.expect("only arrays have a length");
        let (length, unless) = length.split_once('!').unwrap_or((length, ""));
        let name = format!("{length}_n");
        if !self.lengths.contains(&name) {
            let compute = match length {
                "peers" => "peers(rt, comm.id())?".to_string(),
                "local" => "local(rt, comm.id())?".to_string(),
                "root" => "at_root(rt, comm.id(), rank_in::<A>(root))?".to_string(),
                "dims" => "dims_of(rt, comm.id())?".to_string(),
                "indegree" => "degrees(rt, comm.id())?.0".to_string(),
                "outdegree" => "degrees(rt, comm.id())?.1".to_string(),
                other => {
                    let of = self.procedure.parameters.iter().find(|q| q.name == other);
                    let of =
                        of.unwrap_or_else(|| panic!("{}: length {other}?", self.procedure.name));
                    match of.kind {
                        "count" => format!("length_of_count({other}, \"{other}\")?"),
                        _ => format!("length_in({other}, \"{other}\")?"),
                    }
                }
            };
            self.line(format!("let {name} = {compute};"));
            self.lengths.push(name.clone());
        }
        match unless {
            "" => name,
            buffer => format!("if buffer_in::<A>({buffer}) == IN_PLACE {{ 0 }} else {{ {name} }}"),
        }
    }

    fn parameter(&mut self, p: &'a Parameter) {
        let (name, kind) = (p.name, p.kind);
        match (kind, p.direction) {
            ("location", _) => self.arguments.push(format!("{name} as *mut u8")),
            ("buffer", _) => self.arguments.push(format!("buffer_in::<A>({name})")),
            ("resultlen", _) => self.line(format!("need({name}, \"{name}\")?;")),
            ("string", Direction::In) => self
                .arguments
                .push(format!("&string_in({name}, \"{name}\")?")),
            ("string", _) => self.string_out(p),
            ("status", Direction::In) => self
                .arguments
                .push(format!("&status_in::<A>({name}, \"{name}\")?")),
            ("status", Direction::InOut) => {
                self.arguments
                    .push(format!("&status_in::<A>({name}, \"{name}\")?"));
                self.result(name, |value| format!("status_back::<A>({name}, &{value});"));
            }
            ("status", _) if p.length.is_none() => {
                self.result(name, |value| format!("status_out::<A>({name}, &{value});"));
            }
            ("pointer", _) => {
                self.line(format!("need({name}, \"{name}\")?;"));
                let put =
                    |v: &str| format!("{name}.cast::<*mut c_void>().write(buffer_out::<A>({v}));");
                self.result(name, put);
            }
            (_, Direction::In) if p.length.is_some() => self.array_in(p),
            (_, Direction::Out) if p.length.is_some() => self.array_out(p),
            (_, _) if p.length.is_some() => {
                panic!("{}: {name} needs a door of its own", self.procedure.name)
            }
            (_, Direction::In) if p.root_only => {
                let value = format!("significant(rt, comm.id(), rank_in::<A>(root), {name})?");
                self.arguments.push(value);
            }
            (_, Direction::In) => {
                if !self.is_length_of_input(p) {
                    self.arguments.push(decode(kind, name, self.large));
                }
            }
            (_, Direction::Out) => {
                self.line(format!("need({name}, \"{name}\")?;"));
                if is_handle(kind) {
                    // Whatever fails leaves no handle of garbage behind.
                    self.line(format!("clear({name});"));
                }
                let large = self.large;
                self.result(name, |v| {
                    format!("{name}.write({});", encode(kind, v, large))
                });
            }
            (_, Direction::Ref) => {
                self.line(format!("need({name}, \"{name}\")?;"));
                self.arguments
                    .push(decode(kind, &format!("at({name})"), self.large));
            }
            (_, Direction::InOut) => self.in_out(p),
        }
    }

    fn result(&mut self, name: &str, put: impl FnOnce(&str) -> String) {
        let value = format!("{name}_");
        let put = put(&value);
        self.results.push((value, put));
    }

    fn in_out(&mut self, p: &Parameter) {
        let (name, kind) = (p.name, p.kind);
        self.line(format!("need({name}, \"{name}\")?;"));
        if is_handle(kind) {
            self.arguments.push(format!("at({name}).id()"));
            self.afterwards.push(format!("clear({name});"));
        } else if kind == "keyval" {
            self.arguments
                .push(format!("keyval_in::<A>({name}.read())"));
            let put = format!("{name}.write(keyval_out::<A>(KEYVAL_INVALID));");
            self.afterwards.push(put);
        } else {
            let value = decode(kind, &format!("{name}.read()"), self.large);
            self.arguments.push(value);
            let large = self.large;
            self.result(name, |v| {
                format!("{name}.write({});", encode(kind, v, large))
            });
        }
    }

    fn string_out(&mut self, p: &Parameter) {
        let name = p.name;
        let limit = p.length.and_then(|l| l.strip_prefix("MPI_"));
        let limit = limit.unwrap_or_else(|| panic!("{}: how long is {name}?", self.procedure.name));
        let resultlen = self
            .procedure
            .parameters
            .iter()
            .find(|q| q.kind == "resultlen");
        self.line(format!("need({name}, \"{name}\")?;"));
        self.result(name, |value| {
            let write = format!("text_out({name}, A::{limit}, &{value})");
            match resultlen {
                Some(q) => format!("{}.write({write});", q.name),
                None => format!("{write};"),
            }
        });
    }

    fn array_in(&mut self, p: &Parameter) {
        let (name, kind, large) = (p.name, p.kind, self.large);
        let n = self.length(p);
        let one = decode(kind, "v", large);
        if one == "v" {
            self.arguments
                .push(format!("slice({name}, {n}, \"{name}\")?"));
        } else {
            self.line(format!("let mut room_of_{name} = Array::new();"));
            self.line(format!(
                "let {name} = mapped(&mut room_of_{name}, {name}, {n}, \"{name}\", |v| {one})?;"
            ));
            self.arguments.push(name.to_string());
        }
    }

    fn array_out(&mut self, p: &Parameter) {
        let (name, kind, large) = (p.name, p.kind, self.large);
        let n = self.length(p);
        self.line(format!("need_array({name}, {n}, \"{name}\")?;"));
        let one = encode(kind, "v", large);
        self.result(name, |value| {
            format!("fill({name}, {n}, {value}, |v| {one});")
        });
    }

    fn call(&mut self) {
        let status = |p: &&&Parameter| {
            p.kind == "status" && p.direction == Direction::Out && p.length.is_none()
        };
        let caught = self
            .parameters()
            .iter()
            .find(status)
            .map_or(String::new(), |p| {
                format!(
                    ".inspect_err(|error| status_of_error::<A>({}, error))",
                    p.name
                )
            });
        let call = format!(
            "calls::{}({}){caught}?",
            self.procedure.call(self.large),
            self.arguments.join(", ")
        );
        let flag = self.results.iter().position(|(name, _)| name == "flag_");
        let results = std::mem::take(&mut self.results);
        match flag {
            // A flag and more: the call gives an Option of the more.
            Some(flag) if results.len() > 1 => {
                let rest: Vec<_> = (0..results.len())
                    .filter(|&i| i != flag)
                    .map(|i| &results[i])
                    .collect();
                self.line(format!("let found = {call};"));
                self.line("flag.write(c_int::from(found.is_some()));");
                let names: Vec<&str> = rest.iter().map(|r| r.0.as_str()).collect();
                self.line(format!("if let Some({}) = found {{", tuple(&names)));
                for (_, put) in rest {
                    self.line(format!("    {put}"));
                }
                self.line("}");
            }
            _ => {
                let names: Vec<&str> = results.iter().map(|r| r.0.as_str()).collect();
                match names.len() {
                    0 => self.line(format!("{call};")),
                    _ => self.line(format!("let {} = {call};", tuple(&names))),
                }
                for (_, put) in &results {
                    self.line(put);
                }
            }
        }
        for line in std::mem::take(&mut self.afterwards) {
            self.line(line);
        }
        self.line("Ok(())");
    }
}

fn tuple(names: &[&str]) -> String {
    match names {
        [one] => one.to_string(),
        all => format!("({})", all.join(", ")),
    }
}
