//! What a host is told to run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mayfly::platform::task::Task;

fuzz_target!(|data: &[u8]| {
    let Some((size, json)) = data.split_first() else {
        return;
    };
    let size = u32::from(*size);
    let Ok(task) = Task::from_json(json, size) else {
        return;
    };
    for rank in 0..size {
        assert!(task.part_of(rank).is_some());
        task.stdin.reads(rank);
    }
    assert!(task.part_of(size).is_none());
    let again = task.to_json();
    // NaN is no number of JSON, so a limit survives.
    assert_eq!(Task::from_json(&again, size), Ok(task));
});
