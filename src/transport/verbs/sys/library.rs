//! The library itself: looked for only where there is a device, opened by name, its calls found by their symbols.

use super::layout as c;
use super::Error;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::path::Path;
use std::sync::Arc;

/// What every distribution calls it.
const NAME: &CStr = c"libibverbs.so.1";

/// Where the kernel lists the devices.
const DEVICES: &str = "/sys/class/infiniband";

macro_rules! calls {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The calls that are functions of the library, by their names without `ibv_`.
        pub(super) struct Calls {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
        }

        impl Calls {
            fn find(library: *mut c_void) -> Result<Calls, String> {
                Ok(Calls {
                    $($name: {
                        let found = symbol(library, $symbol).ok_or_else(|| missing($symbol))?;
                        // SAFETY: the symbol is the C function of this name, whose type rdma-core keeps for good.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $answer)?>(found) }
                    },)*
                })
            }
        }
    };
}

calls! {
    get_device_list = c"ibv_get_device_list": fn(*mut c_int) -> *mut *mut c::Device;
    free_device_list = c"ibv_free_device_list": fn(*mut *mut c::Device);
    open_device = c"ibv_open_device": fn(*mut c::Device) -> *mut c::Context;
    close_device = c"ibv_close_device": fn(*mut c::Context) -> c_int;
    query_device = c"ibv_query_device": fn(*mut c::Context, *mut c::DeviceAttr) -> c_int;
    query_port = c"ibv_query_port": fn(*mut c::Context, u8, *mut c::PortAttr) -> c_int;
    query_gid = c"ibv_query_gid": fn(*mut c::Context, u8, c_int, *mut c::Gid) -> c_int;
    get_async_event = c"ibv_get_async_event": fn(*mut c::Context, *mut c::AsyncEvent) -> c_int;
    ack_async_event = c"ibv_ack_async_event": fn(*mut c::AsyncEvent);
    alloc_pd = c"ibv_alloc_pd": fn(*mut c::Context) -> *mut c::Pd;
    dealloc_pd = c"ibv_dealloc_pd": fn(*mut c::Pd) -> c_int;
    reg_mr = c"ibv_reg_mr": fn(*mut c::Pd, *mut c_void, usize, c_int) -> *mut c::Mr;
    dereg_mr = c"ibv_dereg_mr": fn(*mut c::Mr) -> c_int;
    create_comp_channel = c"ibv_create_comp_channel": fn(*mut c::Context) -> *mut c::Channel;
    destroy_comp_channel = c"ibv_destroy_comp_channel": fn(*mut c::Channel) -> c_int;
    get_cq_event = c"ibv_get_cq_event": fn(*mut c::Channel, *mut *mut c::Cq, *mut *mut c_void) -> c_int;
    ack_cq_events = c"ibv_ack_cq_events": fn(*mut c::Cq, u32);
    create_cq = c"ibv_create_cq": fn(*mut c::Context, c_int, *mut c_void, *mut c::Channel, c_int) -> *mut c::Cq;
    destroy_cq = c"ibv_destroy_cq": fn(*mut c::Cq) -> c_int;
    create_srq = c"ibv_create_srq": fn(*mut c::Pd, *mut c::SrqInitAttr) -> *mut c::Srq;
    destroy_srq = c"ibv_destroy_srq": fn(*mut c::Srq) -> c_int;
    create_qp = c"ibv_create_qp": fn(*mut c::Pd, *mut c::QpInitAttr) -> *mut c::Qp;
    modify_qp = c"ibv_modify_qp": fn(*mut c::Qp, *mut c::QpAttr, c_int) -> c_int;
    query_qp = c"ibv_query_qp": fn(*mut c::Qp, *mut c::QpAttr, c_int, *mut c::QpInitAttr) -> c_int;
    destroy_qp = c"ibv_destroy_qp": fn(*mut c::Qp) -> c_int;
    create_ah = c"ibv_create_ah": fn(*mut c::Pd, *mut c::AhAttr) -> *mut c::Ah;
    destroy_ah = c"ibv_destroy_ah": fn(*mut c::Ah) -> c_int;
}

fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the library is open (it is never closed) and the name ends with a zero.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

fn missing(name: &CStr) -> String {
    format!(
        "{} has no {}: rdma-core of 2017 or newer is needed",
        NAME.to_string_lossy(),
        name.to_string_lossy()
    )
}

type QueryGidTable =
    unsafe extern "C" fn(*mut c::Context, *mut c::GidEntry, usize, u32, usize) -> isize;

/// libibverbs, open until the process ends.
pub struct Library {
    pub(super) calls: Calls,
    /// Since 1.11.
    pub(super) query_gid_table: Option<QueryGidTable>,
    /// Since 1.13.
    is_fork_initialized: Option<unsafe extern "C" fn() -> c_int>,
}

/// What a fork does to registered pages (`ibv_is_fork_initialized`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fork {
    /// A write of the parent after the fork may move its page away from what the device sees; or the library cannot say.
    Unsafe,
    /// `ibv_fork_init` was called: registered pages are kept from children.
    Kept,
    /// The kernel copies pinned pages at the fork: nothing to do.
    Copied,
}

/// Does the kernel list any device? One system call where there is none.
fn any_device(list: &Path) -> bool {
    std::fs::read_dir(list).is_ok_and(|mut entries| entries.next().is_some())
}

impl Library {
    /// The library, when this machine has a device; `Ok(None)` when it has none, and then nothing was opened.
    /// Errors: there is a device but no (or too old a) library.
    pub fn open() -> Result<Option<&'static Library>, String> {
        Library::open_where(Path::new(DEVICES))
    }

    fn open_where(devices: &Path) -> Result<Option<&'static Library>, String> {
        if !any_device(devices) {
            return Ok(None);
        }
        // SAFETY: the name ends with a zero; the library's initializers are those of any C library.
        let library = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            // SAFETY: dlerror answers null or a string that lives until this thread's next dl call.
            let why = unsafe {
                let text = libc::dlerror();
                if text.is_null() {
                    "cannot be opened".into()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            return Err(format!(
                "there is an RDMA device, but no libibverbs ({why}); install rdma-core (libibverbs1 and ibverbs-providers)"
            ));
        }
        let calls = Calls::find(library)?;
        let query_gid_table = symbol(library, c"_ibv_query_gid_table").map(|found| {
            // SAFETY: the symbol is this C function.
            unsafe { std::mem::transmute::<*mut c_void, QueryGidTable>(found) }
        });
        let is_fork_initialized = symbol(library, c"ibv_is_fork_initialized").map(|found| {
            // SAFETY: as above.
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(found) }
        });
        // Once per process: what is open stays open, so its addresses live as long.
        Ok(Some(Box::leak(Box::new(Library {
            calls,
            query_gid_table,
            is_fork_initialized,
        }))))
    }

    /// What a fork does to registered pages here.
    pub fn fork(&self) -> Fork {
        // SAFETY: the call has no preconditions.
        match self.is_fork_initialized.map(|call| unsafe { call() }) {
            Some(2) => Fork::Copied,
            Some(1) => Fork::Kept,
            _ => Fork::Unsafe,
        }
    }

    /// The devices that the library has a provider for.
    pub fn devices(&'static self) -> Result<Devices, Error> {
        let mut count = 0;
        // SAFETY: the call writes the count and answers an array of that many devices.
        let list = unsafe { (self.calls.get_device_list)(&mut count) };
        if list.is_null() {
            return Err(Error::last(
                "ibv_get_device_list",
                &Arc::from("this machine"),
            ));
        }
        Ok(Devices {
            library: self,
            list,
            count: count.max(0) as usize,
        })
    }
}

/// The devices of this machine, as of now.
pub struct Devices {
    pub(super) library: &'static Library,
    list: *mut *mut c::Device,
    count: usize,
}

impl Devices {
    /// The devices' names, `mlx5_0`.
    pub fn names(&self) -> Vec<String> {
        (0..self.count)
            .map(|i| text(self.head(i).name.as_ptr()))
            .collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<*mut c::Device> {
        let at = self.names().iter().position(|n| n == name)?;
        // SAFETY: at < count, the array's length.
        Some(unsafe { *self.list.add(at) })
    }

    fn head(&self, at: usize) -> &c::Device {
        assert!(at < self.count);
        // SAFETY: the array has count devices, which live until it is freed with us.
        unsafe { &**self.list.add(at) }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: ours; devices that were opened are kept by their contexts.
        unsafe { (self.library.calls.free_device_list)(self.list) };
    }
}

/// A string of C's, which ends with a zero.
pub(super) fn text(from: *const c_char) -> String {
    // SAFETY: callers hand over strings of the library, which it ends with a zero.
    unsafe { CStr::from_ptr(from) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Is the library mapped into this process?
    fn mapped() -> bool {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains("libibverbs")
    }

    #[test]
    fn without_a_device_nothing_is_opened() {
        let before = mapped();
        let folder = std::env::temp_dir().join(format!("mayfly-no-device-{}", std::process::id()));
        assert!(matches!(Library::open_where(&folder), Ok(None)));
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(Library::open_where(&folder), Ok(None)));
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(mapped(), before);
    }
}
