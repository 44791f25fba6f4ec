//! Files that other processes wrote: status and PID records of any release, or of none.
#![no_main]

use hermes_wire::contract::pid_record::{PidRecord, start_time_from_stat};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(status) = RuntimeStatus::read(data) {
        let again = RuntimeStatus::read(&status.write()).expect("what was written can be read");
        assert_eq!(again, status);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(record) = PidRecord::read(text) {
            assert_eq!(PidRecord::read(&record.write()).expect("what was written can be read"), record);
        }
        let _ = start_time_from_stat(text);
    }
});
