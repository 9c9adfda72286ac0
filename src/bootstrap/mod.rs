//! How a process learns who it is. Provisional: a singleton; helper "rendezvous" replaces this file.
use crate::base::error::Result;

/// Who a process is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub rank: u32,
    pub size: u32,
    pub job: [u8; 16],
    pub token: [u8; 32],
    pub local_rank: u32,
    pub local_size: u32,
    pub appnum: i32,
    pub universe: Option<i32>,
    pub launcher: &'static str,
}

pub struct Bootstrap(Identity);

impl Bootstrap {
    pub fn find() -> Result<Bootstrap> {
        Ok(Bootstrap(Identity {
            rank: 0,
            size: 1,
            job: [0; 16],
            token: [0; 32],
            local_rank: 0,
            local_size: 1,
            appnum: 0,
            universe: None,
            launcher: "none",
        }))
    }
    pub fn identity(&self) -> &Identity {
        &self.0
    }
    pub fn exchange(&mut self, blob: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![blob.to_vec()])
    }
    pub fn barrier(&mut self) -> Result<()> {
        Ok(())
    }
    pub fn abort(&mut self, _code: i32, _text: &str) {}
    pub fn finalize(&mut self) -> Result<()> {
        Ok(())
    }
}
