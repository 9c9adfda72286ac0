//! Info objects (MPI-5.0 §10). Lengths of keys and values are limited at the door: each ABI has its own limits.

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{InfoId, Table};
use crate::fail;

/// Keys and values in the order they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub pairs: Vec<(String, String)>,
}

impl Info {
    pub fn get(&self, key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(k, _)| k == key);
        pair.map(|(_, value)| value.as_str())
    }

    /// Adds the pair, or replaces the key's value.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.pairs.iter_mut().find(|(k, _)| k == key) {
            Some(pair) => pair.1 = value.to_string(),
            None => self.pairs.push((key.to_string(), value.to_string())),
        }
    }

    /// Removes the pair; says whether there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        let before = self.pairs.len();
        self.pairs.retain(|(k, _)| k != key);
        self.pairs.len() < before
    }
}

/// All info handles.
pub struct Infos {
    pub table: Table<InfoId, Info>,
}

impl Infos {
    pub fn new() -> Infos {
        Infos {
            table: Table::new(handle::INFO_NULL.0),
        }
    }

    pub fn get(&self, id: InfoId) -> Result<&Info> {
        match self.table.get(id) {
            Some(info) => Ok(info),
            None => missing(id),
        }
    }

    /// For change.
    ///
    /// # Errors
    /// `Info`: MPI_INFO_ENV is read-only.
    pub fn get_mut(&mut self, id: InfoId) -> Result<&mut Info> {
        if id == handle::INFO_ENV {
            fail!(Info, "MPI_INFO_ENV cannot be changed");
        }
        match self.table.get_mut(id) {
            Some(info) => Ok(info),
            None => missing(id),
        }
    }

    /// What a call got as hints: nothing for MPI_INFO_NULL.
    pub fn hints(&self, id: InfoId) -> Result<Info> {
        if id == handle::INFO_NULL {
            return Ok(Info::default());
        }
        self.get(id).cloned()
    }

    pub fn free(&mut self, id: InfoId) -> Result<()> {
        self.get_mut(id)?;
        self.table.remove(id);
        Ok(())
    }
}

impl Default for Infos {
    fn default() -> Infos {
        Infos::new()
    }
}

#[cold]
fn missing<T>(id: InfoId) -> Result<T> {
    if id == handle::INFO_NULL {
        fail!(Info, "the info object is MPI_INFO_NULL");
    }
    fail!(Info, "info object {:#x} does not exist (freed?)", id.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    #[test]
    fn pairs_keep_their_order() {
        let mut info = Info::default();
        info.set("file", "a");
        info.set("soft", "b");
        info.set("file", "c");
        assert_eq!(info.get("file"), Some("c"));
        assert_eq!(info.pairs[0].0, "file");
        assert!(info.delete("file") && !info.delete("file"));
        assert_eq!(info.get("file"), None);
        assert_eq!(info.pairs.len(), 1);
    }

    #[test]
    fn handles() {
        let mut infos = Infos::new();
        let id = infos.table.insert(Info::default());
        infos.get_mut(id).unwrap().set("k", "v");
        assert_eq!(infos.hints(id).unwrap().get("k"), Some("v"));
        assert_eq!(infos.hints(handle::INFO_NULL).unwrap(), Info::default());
        assert_eq!(infos.get(handle::INFO_NULL).unwrap_err().class, Class::Info);
        infos.table.set(handle::INFO_ENV, Info::default());
        assert!(infos.get(handle::INFO_ENV).is_ok());
        assert_eq!(infos.free(handle::INFO_ENV).unwrap_err().class, Class::Info);
        assert!(infos.free(id).is_ok() && infos.free(id).is_err());
    }
}
