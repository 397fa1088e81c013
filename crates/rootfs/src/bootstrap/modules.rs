//! Kernel modules that dkms builds: kept by everything that decides what comes out, and found again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use archive::compress::{self, Format, MAGIC_LENGTH, Peek};

use super::facts::Facts;
use super::target::Target;
use super::{Event, Fault};
use crate::signing::ModuleKey;

const BUILT: &str = "var/lib/dkms";
/// The certificate of the key that signs modules, where mokutil's users look for it. dkms makes a pair of its
/// own in its place as soon as it signs itself, because it finds no private key.
const CERTIFICATE: &str = "mok.pub";
/// Directory of dkms' modules in that of a kernel.
const INSTALLED: &str = "updates/dkms";
/// How packages are called that dkms compiles.
const SOURCES: &str = "-dkms";

fn at(path: &Path) -> impl FnOnce(io::Error) -> Fault + use<> {
    let path = path.to_owned();
    move |error| Fault::Told(format!("{}: {error}", path.display()))
}

/// Names in a directory, sorted; none if there is no such directory.
fn names(path: &Path) -> Result<Vec<String>, Fault> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(at(path))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Says why the next step takes minutes.
pub(super) fn announce(target: &Target<'_>, kernels: &[Kernel]) {
    let sources = target.facts.iter().map(|facts| &*facts.package.name);
    let sources: Vec<&str> = sources.filter(|name| name.ends_with(SOURCES)).collect();
    for kernel in kernels {
        (target.tell)(Event::Note(format!(
            "compiling {} for {}: this takes minutes, once for each kernel and compiler",
            sources.join(" and "),
            kernel.version
        )));
    }
}

/// The package that dkms compiles, if there is one alone: when it is configured, all modules are built.
pub(super) fn only_source(facts: &[Facts]) -> Option<&String> {
    let mut sources = facts.iter().map(|facts| &facts.package.name);
    let first = sources.find(|name| name.ends_with(SOURCES))?;
    sources.all(|name| !name.ends_with(SOURCES)).then_some(first)
}

/// A kernel that modules can be built for, and what decides what comes out.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` tells it.
    pub version: String,
    /// Name in the cache.
    key: String,
    /// What the key is the digest of.
    facts: String,
}

/// The kernels of the root, as `uname -r` tells them.
pub(super) fn versions(root: &Path) -> Result<Vec<String>, Fault> {
    let modules = root.join("usr/lib/modules");
    let mut versions = names(&modules)?;
    versions.retain(|version| modules.join(version).join("kernel").is_dir());
    Ok(versions)
}

/// The configuration of a kernel; empty if there is none. No package of Debian 14 has it in `/boot`: it comes there
/// when the kernel is configured, which is after this is asked. What modules see is that of the headers.
fn configuration(root: &Path, version: &str) -> Result<Vec<u8>, Fault> {
    for path in
        [format!("boot/config-{version}"), format!("usr/src/linux-headers-{version}/.config")]
    {
        let path = root.join(path);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map_err(at(&path)),
        }
    }
    Ok(Vec::new())
}

/// The kernels of the root. Empty when there is nothing to build for them.
pub(super) fn kernels(root: &Path, facts: &[Facts]) -> Result<Vec<Kernel>, Fault> {
    let sources: Vec<&Facts> =
        facts.iter().filter(|facts| facts.package.name.ends_with(SOURCES)).collect();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let mut kernels = Vec::new();
    for version in versions(root)? {
        let decides = |facts: &&Facts| {
            let name = facts.package.name.as_str();
            let ours = ["linux-headers-", "linux-image-"].iter().any(|start| {
                name.strip_prefix(start).is_some_and(|rest| rest.starts_with(version.as_str()))
            });
            let tools = ["linux-kbuild-", "linux-compiler-", "linux-headers-"];
            // Kernels name the version of their compiler; what else is called gcc-* is not asked.
            let compilers = ["gcc-", "cpp-"].iter().any(|start| {
                name.strip_prefix(start)
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            });
            ours || name.ends_with(SOURCES)
                || ["dkms", "binutils", "make", "libc6-dev", "xz-utils", "zstd"].contains(&name)
                || tools.iter().any(|start| name.starts_with(start))
                || compilers && !name.ends_with("-base")
        };
        let mut lines: Vec<String> = facts
            .iter()
            .filter(decides)
            .map(|facts| {
                let package = &facts.package;
                format!("{} {} {}\n", package.name, package.version, package.architecture)
            })
            .collect();
        lines.sort_unstable();
        let config = configuration(root, &version)?;
        let text =
            format!("kernel {version}\nconfig {}\n{}", tree::Digest::of(&config), lines.concat());
        let key = tree::Digest::of(text.as_bytes()).to_string();
        kernels.push(Kernel { version, key, facts: text });
    }
    Ok(kernels)
}

/// Collects in `directory` what the cache has for these kernels; whether it has anything.
pub(super) fn restore(cache: &Path, kernels: &[Kernel], directory: &Path) -> Result<bool, Fault> {
    let mut found = false;
    for kernel in kernels {
        let place = cache.join(&kernel.key);
        let kept = place.join("modules");
        if kept.is_dir() {
            copy(&kept, directory)?;
            // What was not used for long is removed some day; a time that cannot be set only makes that earlier.
            let key = File::options().write(true).open(place.join("key"));
            let _ = key.and_then(|key| key.set_modified(SystemTime::now()));
            found = true;
        }
    }
    Ok(found)
}

/// Directories of built modules for `kernel`: below `var/lib/dkms`, `MODULE/VERSION/KERNEL`.
fn built(root: &Path, kernel: &str) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    let dkms = root.join(BUILT);
    for module in names(&dkms)? {
        for version in names(&dkms.join(&module))? {
            let path: PathBuf = [&module, &version, kernel].iter().collect();
            if dkms.join(&path).is_dir() && !dkms.join(&module).join(&version).is_symlink() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn installed(root: &Path, kernel: &str) -> PathBuf {
    root.join("usr/lib/modules").join(kernel).join(INSTALLED)
}

/// Signs what dkms built, where it keeps it and where it put it: it compares the two.
pub(super) fn sign(target: &Target<'_>, kernels: &[Kernel], key: &ModuleKey) -> Result<(), Fault> {
    let mut signed = 0;
    for kernel in kernels {
        let mut todo = vec![installed(target.root, &kernel.version)];
        let built = built(target.root, &kernel.version)?;
        todo.extend(built.iter().map(|path| target.root.join(BUILT).join(path)));
        while let Some(directory) = todo.pop() {
            for name in names(&directory)? {
                let path = directory.join(&name);
                if path.is_symlink() {
                    continue;
                } else if path.is_dir() {
                    todo.push(path);
                } else if is_module(&name) {
                    sign_file(&path, key)?;
                    signed += 1;
                }
            }
        }
    }
    if signed == 0 {
        (target.tell)(Event::Warning("there is no module to sign: dkms built none".to_owned()));
    }
    let certificate = target.root.join(BUILT).join(CERTIFICATE);
    fs::create_dir_all(target.root.join(BUILT))
        .and_then(|()| fs::write(&certificate, key.certificate()))
        .map_err(at(&certificate))
}

/// Signs a module, compressed or not, in place.
fn sign_file(path: &Path, key: &ModuleKey) -> Result<(), Fault> {
    let mut input = Peek::new(File::open(path).map_err(at(path))?);
    let format = Format::of(input.peek(MAGIC_LENGTH).map_err(at(path))?);
    let mut module = Vec::new();
    compress::decoder(&mut input)
        .and_then(|mut decoder| decoder.read_to_end(&mut module))
        .map_err(at(path))?;
    let signed =
        key.sign(&module).map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
    let packed = match format {
        Some(format) => format.module(&signed).map_err(at(path))?,
        None => signed,
    };
    fs::write(path, packed).map_err(at(path))
}

/// Looks for the modules of ZFS themselves, as a postinst may end well without having built any; builds
/// what is missing.
pub(super) fn check(target: &Target<'_>, kernels: &[Kernel], facts: &[Facts]) -> Result<(), Fault> {
    let Some(zfs) = facts.iter().find(|facts| facts.package.name == "zfs-dkms") else {
        return Ok(());
    };
    for kernel in kernels {
        if has_zfs(target.root, &kernel.version)? {
            continue;
        }
        (target.tell)(Event::Warning(format!(
            "zfs-dkms {} is installed, but there was no module for {}; building it",
            zfs.package.version, kernel.version
        )));
        let program = target.program("/usr/sbin/dkms").args(["autoinstall", "-k", &kernel.version]);
        target.run(target.unsigned(program)?)?;
        if !has_zfs(target.root, &kernel.version)? {
            return Err(Fault::Told(format!(
                "dkms made no zfs.ko for {}; are its headers (linux-headers-{0}) among the packages?",
                kernel.version
            )));
        }
    }
    Ok(())
}

/// How files of modules end.
const MODULES: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

fn is_module(name: &str) -> bool {
    MODULES.iter().any(|ending| name.ends_with(ending))
}

fn has_zfs(root: &Path, kernel: &str) -> Result<bool, Fault> {
    let directory = installed(root, kernel);
    let there = names(&directory)?;
    let has = |module: &str| {
        there.iter().any(|name| {
            let rest = name.strip_prefix(module);
            rest.is_some_and(|rest| MODULES.contains(&rest))
                && fs::metadata(directory.join(name)).is_ok_and(|file| file.len() > 4096)
        })
    };
    Ok(has("zfs") && has("spl"))
}

/// Takes away what building has left: keys, logs, trees of objects.
pub(super) fn clear(root: &Path) -> Result<(), Fault> {
    let dkms = root.join(BUILT);
    for key in ["mok.key", CERTIFICATE] {
        match fs::remove_file(dkms.join(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&dkms.join(key))(error));
            }
            _ => {}
        }
    }
    let remove = |path: PathBuf| match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
        _ => Ok(()),
    };
    for module in names(&dkms)? {
        for version in names(&dkms.join(&module))? {
            let version = dkms.join(&module).join(version);
            if version.is_symlink() {
                continue;
            }
            remove(version.join("build"))?;
            for kernel in names(&version)? {
                let kernel = version.join(kernel);
                if kernel.is_symlink() || !kernel.is_dir() {
                    continue;
                }
                for architecture in names(&kernel)? {
                    remove(kernel.join(architecture).join("log"))?;
                }
            }
        }
    }
    Ok(())
}

/// Keeps what was built for the next time.
pub(super) fn keep(cache: &Path, root: &Path, kernels: &[Kernel]) -> Result<(), Fault> {
    for kernel in kernels {
        let place = cache.join(&kernel.key);
        let built = built(root, &kernel.version)?;
        if place.exists() || built.is_empty() {
            continue;
        }
        fs::create_dir_all(cache).map_err(at(cache))?;
        let fresh = tempfile::tempdir_in(cache).map_err(at(cache))?;
        for path in built {
            copy(&root.join(BUILT).join(&path), &fresh.path().join("modules").join(&path))?;
        }
        fs::write(fresh.path().join("key"), &kernel.facts).map_err(at(fresh.path()))?;
        // Somebody else may have been faster, with the same.
        if fs::rename(fresh.path(), &place).is_ok() {
            let _ = fresh.keep();
        }
    }
    Ok(())
}

/// Copies directories and regular files; links and anything else are not what dkms builds.
fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    let mut todo = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = todo.pop() {
        fs::create_dir_all(&to).map_err(at(&to))?;
        for name in names(&from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            let kind = fs::symlink_metadata(&from).map_err(at(&from))?.file_type();
            if kind.is_dir() {
                todo.push((from, to));
            } else if kind.is_file() {
                fs::copy(&from, &to).map_err(at(&from))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Package;

    const KERNEL: &str = "6.12.1-amd64";

    fn facts(names: &[&str]) -> Vec<Facts> {
        let package = |name: &&str| Package {
            name: (*name).to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            deb: PathBuf::new(),
            sha256: String::new(),
            automatic: false,
        };
        let facts = |name| Facts {
            package: package(name),
            essential: false,
            same: false,
            preinst: false,
            provides: Vec::new(),
            pre_depends: Vec::new(),
            depends: Vec::new(),
            replaces: String::new(),
        };
        names.iter().map(facts).collect()
    }

    fn key(root: &Path, more: &[&str]) -> String {
        let kernels = kernels(root, &facts(&[&["zfs-dkms", "gcc-14"], more].concat())).unwrap();
        assert_eq!(kernels.len(), 1);
        kernels[0].key.clone()
    }

    /// A root with a kernel and a configuration for it.
    fn root(configuration: &str, content: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in [&*format!("usr/lib/modules/{KERNEL}/kernel/x"), configuration] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn only_what_compiles_decides_what_a_module_is() {
        let root = root(&format!("boot/config-{KERNEL}"), "y");
        let key = |more: &[&str]| key(root.path(), more);
        // What a server or desktop has besides.
        assert_eq!(key(&[]), key(&["gcc", "cpp", "gcc-14-base", "gcc-x86-64-linux-gnu", "g++-14"]));
        for more in ["gcc-15", "linux-headers-6.12.1-common", "linux-compiler-gcc-12-x86", "make"] {
            assert_ne!(key(&[]), key(&[more]), "{more}");
        }
    }

    #[test]
    fn the_configuration_decides_wherever_it_is() {
        for place in
            [format!("boot/config-{KERNEL}"), format!("usr/src/linux-headers-{KERNEL}/.config")]
        {
            let (one, other) = (root(&place, "y"), root(&place, "m"));
            assert_ne!(key(one.path(), &[]), key(other.path(), &[]), "{place}");
        }
    }
}
