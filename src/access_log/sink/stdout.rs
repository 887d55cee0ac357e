//! Lines to the standard output.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd as _;

use bytes::Bytes;

use super::{Fault, Reason};
use crate::access_log::Error;

/// Our output, without the buffer of the standard library: a parcel is one buffer already.
#[derive(Debug)]
pub(in crate::access_log) struct StdoutSink {
    output: File,
    /// Bytes of the parcel at hand that are out: what is written cannot be taken back.
    done: usize,
}

impl StdoutSink {
    pub(super) fn open() -> Result<Self, Error> {
        let output =
            std::io::stdout().as_fd().try_clone_to_owned().map_err(|source| Error::Stdout { source })?;
        Ok(Self { output: output.into(), done: 0 })
    }

    pub(super) fn write(&mut self, chunks: &[Bytes]) -> Result<(), Fault> {
        let mut skip = self.done;
        for chunk in chunks {
            let mut rest = &chunk[skip.min(chunk.len())..];
            skip -= chunk.len() - rest.len();
            while !rest.is_empty() {
                let count = self.output.write(rest).or_else(again).map_err(|error| self.fault(&error))?;
                self.done += count;
                rest = &rest[count..];
            }
        }
        self.done = 0;
        Ok(())
    }

    fn fault(&mut self, error: &std::io::Error) -> Fault {
        if error.kind() == ErrorKind::BrokenPipe {
            // Nobody reads any more.
            self.done = 0;
            return Fault::lasting(Reason::IoError);
        }
        Fault::io(error)
    }
}

fn again(error: std::io::Error) -> std::io::Result<usize> {
    if error.kind() == ErrorKind::Interrupted { Ok(0) } else { Err(error) }
}
