//! History files, read in pieces: memory grows with the operations, not with the file.

use crate::history::{Bad, History};
use crate::json;
use crate::memory::{Limits, Stop};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub enum Broken {
    Io(io::Error),
    Bad(Bad),
    Stopped(Stop),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

impl From<Bad> for Broken {
    fn from(bad: Bad) -> Broken {
        Broken::Bad(bad)
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Broken {
        Broken::Stopped(stop)
    }
}

const PIECE: usize = 1 << 22;
/// The limits are checked once in so many lines.
pub const LOOK: u64 = 1 << 12;

/// Read a native file into `history`. The line that was cut off, if the last one was.
pub fn read_native(
    path: &Path,
    history: &mut History,
    limits: &Limits,
) -> Result<Option<u64>, Broken> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    let piece = if about.is_file() { about.len().min(PIECE as u64) as usize + 1 } else { PIECE };
    limits.check_room(piece)?;
    let mut buffer: Vec<u8> = vec![0; piece];
    let (mut held, mut number, mut empty) = (0, 0_u64, true);
    loop {
        if held == buffer.len() {
            limits.check_room(buffer.len())?;
            buffer.resize(buffer.len() * 2, 0); // a line longer than the buffer
        }
        let more = file.read(&mut buffer[held..])?;
        held += more;
        let end = match more {
            0 => held,
            _ => memchr::memrchr(b'\n', &buffer[..held]).map_or(0, |at| at + 1),
        };
        let lines = &buffer[..end];
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', lines) {
            number += 1;
            let text = &lines[start..at];
            start = at + 1;
            if empty && text.trim_ascii().is_empty() {
                continue; // an empty file has another message than an empty line
            }
            if std::mem::replace(&mut empty, false) && number > 1 {
                return Err(Bad::new(1, "is not a JSON object").into());
            }
            line(history, text, number)?;
            if number % LOOK == 0 {
                limits.check()?;
            }
        }
        if more == 0 {
            if empty && lines[start..].trim_ascii().is_empty() {
                return Err(Bad::new(0, "holds no events: the run never began").into());
            }
            if empty && number > 0 {
                return Err(Bad::new(1, "is not a JSON object").into());
            }
            return last_line(history, &lines[start..], number + 1);
        }
        buffer.copy_within(end..held, 0);
        held -= end;
    }
}

fn line(history: &mut History, text: &[u8], number: u64) -> Result<(), Bad> {
    if let Err(error) = std::str::from_utf8(text) {
        let at = error.valid_up_to() + 1;
        return Err(Bad::new(number, format!("byte {at} of the line is not UTF-8")));
    }
    let event = history.parse_native(text).map_err(|message| Bad::new(number, message))?;
    history.push(&event, number)
}

/// The text after the last newline: nothing, a whole event, or an incomplete one.
fn last_line(history: &mut History, text: &[u8], number: u64) -> Result<Option<u64>, Broken> {
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    if std::str::from_utf8(text).is_err() || !json::is_object(text) {
        return match history.events {
            0 => Err(Bad::new(number, "is not a whole event").into()),
            _ => Ok(Some(number)),
        };
    }
    line(history, text, number)?;
    Ok(None)
}
