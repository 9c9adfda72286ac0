//! A kubeconfig, or two with a zero byte between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::on::kubernetes::kubeconfig::Config;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for context in [None, Some("c")] {
        let mut all = Config::default();
        for (one, folder) in text.split('\0').zip(["/a", "/b"]) {
            if let Ok(one) = Config::parse(one) {
                all.add(one, Path::new(folder));
            }
        }
        if let Ok(found) = all.select(context) {
            assert!(context.is_none_or(|name| name == found.name));
            for folder in [&found.cluster.folder, &found.user.folder] {
                assert!(["/a", "/b", ""].map(Path::new).contains(&folder.as_path()));
            }
        }
    }
});
