//! Tasks that have tasks of their own: what becomes of those when a process is gone, and what is
//! said when every process waits for some.

use argon_core::ids::{PeerId, PoolProcess, SlotId};

#[test]
fn processes_are_written_as_they_are_read() {
    let process = PoolProcess {
        worker: PeerId(0x0123_4567_89ab_cdef),
        slot: SlotId(11),
        life: u64::MAX,
    };
    let text = process.to_string();
    assert_eq!(text, "0123456789abcdef.11.18446744073709551615");
    assert_eq!(text.parse(), Ok(process));
    for bad in [
        "",
        "1",
        "1.2",
        "x.1.1",
        "1.-1.1",
        "1.1.1.1",
        "1.4294967296.1",
    ] {
        assert!(bad.parse::<PoolProcess>().is_err(), "{bad}");
    }
}
