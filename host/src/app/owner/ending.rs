//! Whether a process is about to end: it was killed, and the system has not yet taken back all that it had.

/// Whether this process is gone, or about to go; false where the system does not tell.
pub(in crate::app) fn is_ending(process: u32) -> bool {
    #[cfg(target_os = "linux")]
    {
        match std::fs::read(format!("/proc/{process}/stat")) {
            Ok(stat) => is_said_to_end(&stat),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = process;
        false
    }
}

/// By this bit of its flags a process is known that is being taken apart.
#[cfg(target_os = "linux")]
const EXITING: u64 = 4;

/// What the system tells of a process: its number, its name in brackets, which may hold anything, its state, five numbers, and its flags.
#[cfg(target_os = "linux")]
fn is_said_to_end(stat: &[u8]) -> bool {
    let Some(behind) = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 1..)) else { return false };
    let mut words = behind.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    // A dead one of which another thread is still there, or nobody has taken note.
    let is_dead = words.next().is_some_and(|state| matches!(state, b"Z" | b"X" | b"x"));
    let flags = words.nth(5).and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
    is_dead || flags.is_some_and(|flags| flags & EXITING != 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn one_that_lives_is_not_about_to_end_and_one_that_is_taken_apart_is() {
        assert!(!is_ending(std::process::id()));
        assert!(is_ending(u32::MAX), "there is none");
        let stat = |state, flags| is_said_to_end(format!("7 (a) Z (b) {state} 1 7 7 0 -1 {flags} 0 0").as_bytes());
        assert!(!stat("S", 4_194_560));
        assert!(stat("D", 4_194_564) && stat("Z", 4_194_560));
        assert!(!is_said_to_end(b"nonsense") && !is_said_to_end(b"7 (a) S 1"));
    }
}
