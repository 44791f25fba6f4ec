//! Archives: any bytes, as they are and as the content of a gzip file, give members or an error, within limits of memory and
//! time; every member is safe to place and has the content it was said to have. So do configuration texts whose secrets are removed.
#![no_main]

use std::io::Write as _;

use archive::{ArchiveError, Kind, Limits};
use libfuzzer_sys::fuzz_target;

/// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../supervisor/cli/src/archive.rs"]
pub mod archive;

const LIMITS: Limits = Limits { members: 1000, total: 4 << 20, ratio: 100, free: 1 << 20 };

fn read(bytes: &[u8]) {
    let Ok(decoded) = archive::decode(bytes, LIMITS) else { return };
    let _ = archive::read::<ArchiveError>(decoded, LIMITS, &mut |member, _, content| {
        assert_eq!(archive::member_path(member.path.as_str().as_bytes()).as_ref(), Some(&member.path));
        assert!(!member.path.as_str().is_empty() && member.mode <= 0o777 && member.size <= LIMITS.total);
        if let Kind::Link(target) = &member.kind {
            assert!(archive::link_stays_inside(&member.path, target.as_str().as_bytes()).is_some());
        }
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        assert_eq!(all.len() as u64, member.size);
        Ok(())
    });
}

fuzz_target!(|data: &[u8]| {
    read(data);
    // The checksum of a header is not what keeps anybody out.
    let mut signed = data.to_vec();
    for block in signed.chunks_exact_mut(512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    signed.extend_from_slice(&[0; 1024]);
    read(&signed);
    // By one thread: the sanitizer takes what ending threads still hold for a leak.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&signed).expect("memory takes everything");
    read(&packed.finish().expect("memory takes everything"));
    let _ = hermes_config::redact::yaml(data);
    let _ = hermes_config::redact::json(data);
});
