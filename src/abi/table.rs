//! The two tables, read: what the generator writes from and what `mayfly inspect` tells.

use std::sync::OnceLock;

/// Which way an argument goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    In,
    Out,
    InOut,
    /// A pointer to something that is only read.
    Ref,
}

/// One parameter of a procedure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    pub name: &'static str,
    /// What it means; of a callback, `function` or `polyfunction`.
    pub kind: &'static str,
    /// A callback's type.
    pub function: &'static str,
    pub direction: Direction,
    /// How long an array is; see the head of procedures.table.
    pub length: Option<&'static str>,
    /// Only in the large-count form.
    pub large_only: bool,
    /// Looked at only at the root.
    pub root_only: bool,
}

/// One procedure of MPI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Procedure {
    /// Its name in C, as `MPI_Send`.
    pub name: &'static str,
    pub chapter: &'static str,
    /// Implemented?
    pub ready: bool,
    pub flags: Vec<&'static str>,
    pub parameters: Vec<Parameter>,
}

/// One constant of MPI: its values as written in the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Constant {
    pub name: &'static str,
    pub kind: &'static str,
    pub standard: &'static str,
    pub mpich: &'static str,
    pub openmpi: &'static str,
    /// A handle's number in Open MPI's Fortran.
    pub fortran: Option<i32>,
}

/// One of the three ABIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Mpich,
    OpenMpi,
    Standard,
}

impl Family {
    pub const ALL: [Family; 3] = [Family::Mpich, Family::OpenMpi, Family::Standard];

    /// As in folder names and flags.
    pub fn name(self) -> &'static str {
        match self {
            Family::Mpich => "mpich",
            Family::OpenMpi => "openmpi",
            Family::Standard => "standard",
        }
    }
}

impl Parameter {
    fn parse(text: &'static str) -> Parameter {
        let (text, mark) = text.split_once('+').unwrap_or((text, ""));
        let (text, length) = match text.split_once('[') {
            Some((text, length)) => (text, Some(length.trim_end_matches(']'))),
            None => (text, None),
        };
        let (name, kind) = text.split_once(':').unwrap_or((text, text));
        let (kind, word) = kind.split_once('.').unwrap_or((kind, ""));
        let function = if kind.ends_with("function") { word } else { "" };
        let direction = match word {
            "out" => Direction::Out,
            "inout" => Direction::InOut,
            "ref" => Direction::Ref,
            _ => Direction::In,
        };
        Parameter {
            name,
            kind,
            function,
            direction,
            length,
            large_only: mark == "large",
            root_only: mark == "root",
        }
    }

    /// Is its C type another one in the large-count form?
    pub fn is_poly(&self) -> bool {
        matches!(self.kind, "count" | "displ" | "extent" | "polyfunction")
    }
}

impl Procedure {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The value of a flag `name=value`.
    pub fn value(&self, name: &str) -> Option<&'static str> {
        self.flags
            .iter()
            .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
    }

    /// Has it a large-count form, `name_c`?
    pub fn has_large(&self) -> bool {
        let standard = !matches!(self.chapter, "removed" | "extension");
        self.has("large") || (standard && self.parameters.iter().any(Parameter::is_poly))
    }

    /// Is it exported by that ABI's library?
    pub fn exported(&self, family: Family) -> bool {
        let names = |list: &str| list.split(',').any(|n| n == family.name());
        self.value("only").is_none_or(names) && !self.value("not").is_some_and(names)
    }

    /// The semantic function's name in `runtime::calls`.
    pub fn call(&self, large: bool) -> String {
        let name = self.value("as").map_or_else(|| self.door(), str::to_string);
        match large && self.has("own-large") {
            true => name + "_c",
            false => name,
        }
    }

    /// The name of a door written by hand: the procedure's without `MPI_`, in lower case.
    pub fn door(&self) -> String {
        let name = self.name.strip_prefix("MPI_").unwrap_or(self.name);
        name.to_lowercase()
    }
}

fn parse_procedures(text: &'static str) -> Vec<Procedure> {
    let mut list: Vec<Procedure> = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if line.starts_with(' ') {
            let row = list
                .last_mut()
                .expect("procedures.table begins with parameters");
            row.parameters
                .extend(line.split_whitespace().map(Parameter::parse));
            continue;
        }
        let mut words = line.split_whitespace();
        let mut word = || words.next().expect("a row has name, chapter and state");
        let (name, chapter) = (word(), word());
        let ready = match word() {
            "ready" => true,
            "later" => false,
            other => panic!("procedures.table: {name} is `{other}`, neither ready nor later"),
        };
        list.push(Procedure {
            name,
            chapter,
            ready,
            flags: words.collect(),
            parameters: Vec::new(),
        });
    }
    list
}

fn parse_constants(text: &'static str) -> Vec<Constant> {
    let rows = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    rows.map(|line| {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        let word = |i: usize| words.get(i).copied().unwrap_or("-");
        Constant {
            name: word(0),
            kind: word(1),
            standard: word(2),
            mpich: word(3),
            openmpi: word(4),
            fortran: words.get(5).and_then(|w| w.parse().ok()),
        }
    })
    .collect()
}

impl Constant {
    /// As written in that ABI's column, without what concerns the engine alone.
    pub fn value(&self, family: Family) -> &'static str {
        let text = match family {
            Family::Mpich => self.mpich,
            Family::OpenMpi => self.openmpi,
            Family::Standard => self.standard,
        };
        match text.split_once('(') {
            Some(("", _)) => "-",
            Some((value, _)) => value,
            None => text,
        }
    }

    /// The value in that ABI, where it is a number.
    pub fn number(&self, family: Family) -> Option<i64> {
        number(self.value(family))
    }

    /// The engine's number.
    pub fn engine(&self) -> Option<i64> {
        match self.standard.split_once('(') {
            Some((_, own)) => number(own.trim_end_matches(')')),
            None => number(self.standard),
        }
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Every row of procedures.table, in its order.
pub fn procedures() -> &'static [Procedure] {
    static TABLE: OnceLock<Vec<Procedure>> = OnceLock::new();
    TABLE.get_or_init(|| parse_procedures(include_str!("procedures.table")))
}

/// Every row of constants.table, in its order.
pub fn constants() -> &'static [Constant] {
    static TABLE: OnceLock<Vec<Constant>> = OnceLock::new();
    TABLE.get_or_init(|| parse_constants(include_str!("constants.table")))
}

/// The procedure behind a symbol that a program imports: `MPI_X`, `PMPI_X`, and their `_c` forms.
pub fn procedure_of(symbol: &str) -> Option<&'static Procedure> {
    let name = symbol.strip_prefix("PMPI").map_or(symbol, |_| &symbol[1..]);
    let find = |name: &str| procedures().iter().find(|p| p.name == name);
    find(name).or_else(|| find(name.strip_suffix("_c")?).filter(|p| p.has_large()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let send = procedure_of("PMPI_Send_c").unwrap();
        assert_eq!(send.name, "MPI_Send");
        assert_eq!(send.parameters.len(), 6);
        assert_eq!(send.parameters[0].kind, "buffer");
        assert_eq!(procedure_of("MPI_Comm_rank_c"), None);
        let waitall = procedure_of("MPI_Waitall").unwrap();
        assert_eq!(waitall.parameters[1].length, Some("count"));
        assert_eq!(waitall.parameters[1].direction, Direction::InOut);
    }

    #[test]
    fn the_engine_has_its_own_numbers_where_it_says_so() {
        let find = |name| constants().iter().find(|c| c.name == name).unwrap();
        let darg = find("MPI_DISTRIBUTE_DFLT_DARG");
        assert_eq!(
            (darg.number(Family::Standard), darg.engine()),
            (Some(19), Some(-1))
        );
        let lb = find("MPI_LB");
        assert_eq!(
            (lb.value(Family::Standard), lb.engine()),
            ("-", Some(0x3f0))
        );
        assert_eq!(find("MPI_INT").number(Family::Mpich), Some(0x4c000405));
    }
}
