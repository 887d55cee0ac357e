//! What the ring uses of memmap2. A file is mapped as it is there; memory without a file is an allocation of exactly that
//! size, so that AddressSanitizer sees each step over its end. It sees none over the end of a mapping.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io;

const PAGE: usize = 4096;

#[derive(Debug, Default)]
pub struct MmapOptions {
    len: usize,
}

/// Memory that is reached by pointers only.
#[derive(Debug)]
pub enum MmapRaw {
    File(memmap2::MmapRaw),
    Allocated(Allocated),
}

#[derive(Debug)]
pub struct Allocated {
    memory: *mut u8,
    layout: Layout,
}

// SAFETY: it is plain memory that belongs to nobody else; who reads and writes it is the user's matter, as with memmap2.
unsafe impl Send for Allocated {}
// SAFETY: as above.
unsafe impl Sync for Allocated {}

impl MmapOptions {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&mut self, len: usize) -> &mut Self {
        self.len = len;
        self
    }

    /// # Errors
    /// As memmap2.
    pub fn map_raw(&self, file: &File) -> io::Result<MmapRaw> {
        memmap2::MmapOptions::new().len(self.len).map_raw(file).map(MmapRaw::File)
    }

    /// # Errors
    /// There is no memory.
    pub fn map_anon(&self) -> io::Result<Allocated> {
        let layout = Layout::from_size_align(self.len.max(1), PAGE).map_err(io::Error::other)?;
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            Err(io::ErrorKind::OutOfMemory.into())
        } else {
            Ok(Allocated { memory, layout })
        }
    }
}

impl From<Allocated> for MmapRaw {
    fn from(memory: Allocated) -> Self {
        Self::Allocated(memory)
    }
}

impl MmapRaw {
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    pub fn as_mut_ptr(&self) -> *mut u8 {
        match self {
            Self::File(mapped) => mapped.as_mut_ptr(),
            Self::Allocated(allocated) => allocated.memory,
        }
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and given back once.
        unsafe { dealloc(self.memory, self.layout) };
    }
}
