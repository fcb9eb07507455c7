//! A terminal with nobody before it: what is typed goes through the system's own line discipline, so that Ctrl-C is a real signal.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::shared::{LIFETIME, lock};
use super::{Bench, Finished, Output, Process, STARTING};

/// Ctrl-C, as a keyboard sends it.
pub(crate) const CTRL_C: &[u8] = b"\x03";
/// Ctrl-D.
pub(crate) const CTRL_D: &[u8] = b"\x04";

/// A program at a terminal.
pub(crate) struct Terminal {
    keyboard: File,
    pub(crate) screen: Output,
    process: Process,
}

impl Bench {
    /// Starts the program at a terminal of its own.
    pub(crate) fn start_at_terminal(&self, arguments: &[&str]) -> Terminal {
        let _starting = lock(&STARTING);
        let (master, slave) = open();
        let mut command = self.command(arguments);
        command.env("TERM", "xterm");
        command.stdin(Stdio::from(slave.try_clone().expect("copied"))).stdout(Stdio::from(slave.try_clone().expect("copied")));
        command.stderr(Stdio::from(slave));
        control(&mut command);
        let child = command.spawn().expect("the program starts");
        // The copies of the terminal's end go with the command: the screen ends when the program does.
        drop(command);
        let keyboard = File::from(master.try_clone().expect("copied"));
        Terminal { keyboard, screen: Output::of(File::from(master)), process: Process::watched(child, LIFETIME) }
    }
}

#[expect(unsafe_code, reason = "the standard library opens no pseudo-terminals")]
fn open() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let (none, nothing, no_size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: both descriptors are written by the call, and the other parameters may be null.
    let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, nothing, no_size) };
    assert_eq!(result, 0, "no pseudo-terminal: {}", io::Error::last_os_error());
    // SAFETY: the call has opened it, and nobody else owns it.
    let master = unsafe { OwnedFd::from_raw_fd(master) };
    // SAFETY: as above.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    // Copies are not handed down to programs, the first ones would be.
    (master.try_clone().expect("copied"), slave.try_clone().expect("copied"))
}

/// Makes the terminal the one that its Ctrl-C goes to.
#[expect(unsafe_code, reason = "the standard library starts no sessions")]
fn control(command: &mut std::process::Command) {
    let begin = || {
        // SAFETY: the call takes nothing and may be made between fork and exec.
        if unsafe { libc::setsid() } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: descriptor 0 is the terminal, and the call may be made between fork and exec.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(begin) };
}

impl Terminal {
    /// Types a line and ends it.
    pub(crate) fn enter(&mut self, line: &str) {
        self.press(format!("{line}\n").as_bytes());
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal takes keys");
    }

    /// Waits until words are shown, and returns what came before and with them.
    pub(crate) fn shows(&self, words: &str) -> String {
        self.screen.expect(words)
    }

    /// Waits for the prompt, at the beginning of a line.
    pub(crate) fn asks(&self) -> String {
        self.screen.expect("\n> ")
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for the program's end.
    pub(crate) fn finish(self) -> Finished {
        let out = self.screen.to_end();
        Finished { code: self.process.code(), out, err: String::new() }
    }
}
