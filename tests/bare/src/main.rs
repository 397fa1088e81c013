//! Lists the contents of a pool without the standard library: `bare DEVICE...`
//!
//! One line for each regular file: the dataset, a tab, and what `sha256sum` prints of the file. That
//! this links at all proves that nothing below it uses `std`: two panic handlers would be an error.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{CStr, c_char, c_int};

use blk::{ReadAt, io};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use zfs::read::{DatasetKind, Device, Filesystem, InodeKind, Pool, ReadError};

/// Memory from the C library, as a boot loader has it from its firmware.
struct Malloc;

// SAFETY: these functions keep what the trait asks for.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the alignment is a power of two, and the size a multiple of it.
        unsafe { libc::aligned_alloc(layout.align(), layout.pad_to_align().size()).cast() }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _: Layout) {
        // SAFETY: it came from `alloc`.
        unsafe { libc::free(pointer.cast()) }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print(libc::STDERR_FILENO, &format!("{info}\n"));
    // SAFETY: it never comes back.
    unsafe { libc::abort() }
}

/// `core` and `alloc` come built to unwind and name this and the next; nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: it never comes back.
    unsafe { libc::abort() }
}

fn print(descriptor: c_int, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: the pointer and the length are a slice's.
        let written = unsafe { libc::write(descriptor, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) => rest = &rest[written..],
            // SAFETY: it never comes back.
            Err(_) => unsafe { libc::abort() },
        }
    }
}

/// A file or block device.
struct Disk(OwnedFd);

impl ReadAt for Disk {
    fn size(&self) -> io::Result<u64> {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::End(0)).map_err(io::Error::other)
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let read = rustix::io::pread(&self.0, &mut *buf, offset).map_err(io::Error::other)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends there"));
            }
            buf = &mut buf[read..];
            offset += read as u64;
        }
        Ok(())
    }
}

fn list(devices: &[Device]) -> Result<(), ReadError> {
    let pool = Pool::open(devices)?;
    for dataset in pool.datasets()?.datasets {
        if dataset.kind == DatasetKind::Filesystem && dataset.has_content() {
            list_filesystem(&dataset.name, &pool.filesystem(&dataset)?)?;
        }
    }
    Ok(())
}

fn list_filesystem(dataset: &str, fs: &Filesystem<'_>) -> Result<(), ReadError> {
    let mut buffer = vec![0; 1 << 20];
    let mut todo = vec![(fs.root, ".".to_owned())];
    while let Some((object, path)) = todo.pop() {
        let inode = fs.inode(object)?;
        match inode.kind() {
            InodeKind::Directory => {
                for entry in fs.read_dir(&inode)? {
                    let name = String::from_utf8_lossy(&entry.name);
                    todo.push((entry.object, format!("{path}/{name}")));
                }
            }
            InodeKind::File => {
                let (mut hash, mut at) = (Sha256::new(), 0);
                loop {
                    let read = fs.read_file(&inode, at, &mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    hash.update(&buffer[..read]);
                    at += read as u64;
                }
                let sum = hash.finalize();
                print(libc::STDOUT_FILENO, &format!("{dataset}\t{sum:x}  {path}\n"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn run(paths: &[&CStr]) -> Result<(), String> {
    let mut devices = Vec::new();
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        let disk = rustix::fs::open(*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| format!("{name}: {error}"))?;
        devices.push(Device { name, data: Arc::new(Disk(disk)) });
    }
    list(&devices).map_err(|error| error.to_string())
}

/// Where the C library begins.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let paths: Vec<&CStr> = (1..usize::try_from(count).unwrap_or(0))
        // SAFETY: there are as many strings as the C library says.
        .map(|at| unsafe { CStr::from_ptr(*arguments.add(at)) })
        .collect();
    match run(&paths) {
        Ok(()) => 0,
        Err(error) => {
            print(libc::STDERR_FILENO, &format!("bare: {error}\n"));
            1
        }
    }
}
