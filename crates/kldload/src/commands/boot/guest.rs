//! What is asked of a running machine, and how its answers are judged: pure text in, verdict out.

use std::collections::BTreeMap;

use host::console::Output;

/// What a question showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be; with what was seen, for the record.
    Fine(String),
    /// Not as it should be; with the evidence.
    Wrong(String),
}

use Verdict::{Fine, Wrong};

/// `systemctl is-system-running`.
pub fn system_state(output: &Output) -> Verdict {
    match output.text.trim() {
        "running" => Fine("running".into()),
        state => Wrong(format!("systemd says: {state}")),
    }
}

/// Asks for the units that failed, with the end of their journals.
pub const FAILED_UNITS: &str = "systemctl list-units --state=failed --plain --no-legend --full\n\
    for unit in $(systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1); do\n\
    journalctl -b -u $unit -n 12 --no-pager -o cat | sed \"s/^/$unit: /\"\n\
    done";

/// The answer to a question whose good answer is nothing at all.
pub fn nothing(output: &Output) -> Verdict {
    match (output.status, output.text.trim()) {
        (0, "") => Fine(String::new()),
        (0, text) => Wrong(text.into()),
        (status, text) => Wrong(format!("exit status {status}: {text}")),
    }
}

/// The answer to something that has to be done: only the exit status counts.
pub fn done(output: &Output) -> Verdict {
    match output.status {
        0 => Fine(String::new()),
        status => Wrong(format!("exit status {status}: {}", tail(&output.text, 20))),
    }
}

/// Asks for the display manager, and whether it runs.
pub const DISPLAY_MANAGER: &str =
    "systemctl show -p Id -p LoadState -p ActiveState display-manager.service";

/// Its name if it runs, nothing if there is none.
pub fn display_manager(output: &Output) -> Verdict {
    let told =
        |key: &str| output.text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (told("Id"), told("LoadState"), told("ActiveState")) {
        (Some(name), Some("loaded"), Some("active")) => Fine(name.into()),
        (Some(_), Some("not-found"), Some("inactive")) => Fine(String::new()),
        _ => Wrong(output.text.trim().replace('\n', ", ")),
    }
}

/// Asks for the kernel command line and what is mounted at `/`.
pub const ROOT: &str = "cat /proc/cmdline; findmnt -no FSTYPE,SOURCE /";

/// The root dataset, if it is the one that the kernel command line names.
pub fn root_dataset(output: &Output) -> Result<String, String> {
    let mut lines = output.text.lines();
    let command_line = lines.next().unwrap_or_default();
    let mounted = lines.next().unwrap_or_default();
    let asked = command_line
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("root="))
        .next_back()
        .and_then(|root| root.strip_prefix("ZFS=").or_else(|| root.strip_prefix("zfs:")))
        .ok_or_else(|| format!("the command line names no root dataset: {command_line}"))?;
    let mut words = mounted.split_whitespace();
    match (words.next(), words.next()) {
        (Some("zfs"), Some(dataset)) if dataset == asked => Ok(dataset.into()),
        (Some(kind), Some(source)) => {
            Err(format!("the command line asks for {asked}, but / is {source} ({kind})"))
        }
        _ => Err(format!("findmnt does not know /: {mounted}")),
    }
}

/// Asks for all file systems of `pool` and for all mounts.
pub fn ask_datasets(pool: &str) -> String {
    format!(
        "zfs list -Hp -t filesystem -o name,canmount,mountpoint -r {pool} && echo && \
         cat /proc/self/mounts"
    )
}

/// Whether every dataset that should be mounted is what stands at its mount point.
pub fn datasets_mounted(output: &Output) -> Verdict {
    let Some((datasets, mounts)) = output.text.split_once("\n\n") else {
        return Wrong(output.text.trim().into());
    };
    // A later line covers an earlier one at the same place.
    let mounts: BTreeMap<String, String> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(unescape);
            let (source, place) = (words.next()?, words.next()?);
            Some((place, source))
        })
        .collect();
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in datasets.lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some(canmount), Some(mountpoint)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Wrong(format!("zfs list printed: {line}"));
        };
        if canmount != "on" || !mountpoint.starts_with('/') {
            continue;
        }
        count += 1;
        match mounts.get(mountpoint) {
            Some(source) if *source == name => {}
            Some(source) => wrong.push(format!("{name}: {source} stands at {mountpoint}")),
            None => wrong.push(format!("{name}: nothing is mounted at {mountpoint}")),
        }
    }
    if wrong.is_empty() { Fine(format!("{count} datasets")) } else { Wrong(wrong.join("\n")) }
}

/// Whether `zpool status -x` is content.
pub fn pools_healthy(output: &Output) -> Verdict {
    match output.text.trim() {
        "all pools are healthy" => Fine(String::new()),
        text => Wrong(text.into()),
    }
}

/// Asks for the sizes of the disk, the partition and the pool: device name, then start and size of
/// the partition and size of the disk in sectors of 512 bytes, then size of the pool in bytes and
/// what it could still grow.
pub fn ask_sizes(pool: &str) -> String {
    format!(
        "name=$(zpool list -vHPLp {pool} | awk '$1 ~ \"^/dev/\" {{ sub(\".*/\", \"\", $1); print $1; exit }}')\n\
         part=$(readlink -f /sys/class/block/$name)\n\
         echo $name $(cat $part/start $part/size $part/../size) \
         $(zpool list -Hpo size,expandsize {pool})"
    )
}

/// How much of a disk may stay unused at its end: the second GPT and what alignment costs.
const UNUSED_END: u64 = 2 << 20;

/// How much smaller than its partition of `size` bytes a pool may be: the labels, and less than one metaslab, whose size
/// is that of the day when the pool was made. So on disks of ordinary size it is 512 MiB at most, and on others not
/// more than a new pool would have.
fn unused_pool(size: u64) -> u64 {
    zfs::metaslab_size(size).unwrap_or_default().max(512 << 20).saturating_add(64 << 20)
}

/// Whether partition and pool fill a disk of `disk` bytes.
pub fn grown(output: &Output, disk: u64) -> Verdict {
    let words: Vec<&str> = output.text.split_whitespace().collect();
    let [name, numbers @ .., more] = words.as_slice() else {
        return Wrong(format!("no answer: {}", output.text.trim()));
    };
    let numbers: Result<Vec<u64>, _> = numbers.iter().map(|word| word.parse()).collect();
    let Ok([start, size, seen, pool]) = numbers.as_deref() else {
        return Wrong(format!("no sizes: {}", output.text.trim()));
    };
    let bytes = |sectors: &u64| sectors.saturating_mul(512);
    if bytes(seen) != disk {
        return Wrong(format!("the machine sees a disk of {} bytes, not {disk}", bytes(seen)));
    }
    let free = disk.saturating_sub(bytes(start).saturating_add(bytes(size)));
    if free > UNUSED_END {
        return Wrong(format!("{free} bytes of the disk after {name} are unused"));
    }
    if pool.saturating_add(unused_pool(bytes(size))) < bytes(size) {
        return Wrong(format!(
            "the pool has {pool} bytes of the {} bytes of {name} (expandsize {more})",
            bytes(size)
        ));
    }
    Fine(format!("pool of {} MiB on a disk of {} MiB", pool >> 20, disk >> 20))
}

/// A file that the machine said it had synced to disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its content, in hexadecimal.
    pub digest: String,
}

/// Writes files into three datasets for ever, and tells of each when it is safe on disk.
pub const WRITE_FOR_EVER: &str = "n=0; while :; do n=$((n+1)); \
    for d in /root /var/log /usr; do f=$d/.kldload-check-$n; \
    dd if=/dev/urandom of=$f bs=4k count=$((n*7%50+1)) conv=fsync 2>/dev/null && \
    printf '\\n<<%s %s %s>>\\n' synced $f $(sha256sum <$f); done; done";

/// The files that the machine told of so far.
pub fn synced(text: &str) -> Vec<Synced> {
    text.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("<<synced ")?.strip_suffix(">>")?;
            let mut words = line.split_whitespace();
            let (path, digest) = (words.next()?, words.next()?);
            let whole = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            whole.then(|| Synced { path: path.into(), digest: digest.into() })
        })
        .collect()
}

/// Asks for the digests of `files`.
pub fn ask_digests(files: &[Synced]) -> String {
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    format!("sha256sum {}", paths.join(" "))
}

/// Whether all of `files` are there as they were.
pub fn files_whole(output: &Output, files: &[Synced]) -> Verdict {
    let found: BTreeMap<&str, &str> = output
        .text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, path)| (path, digest))
        .collect();
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|file| match found.get(file.path.as_str()) {
            Some(digest) if *digest == file.digest => None,
            Some(_) => Some(format!("{}: its content changed", file.path)),
            None => Some(format!("{}: lost", file.path)),
        })
        .collect();
    if wrong.is_empty() { Fine(format!("{} files", files.len())) } else { Wrong(wrong.join("\n")) }
}

/// The last `count` lines.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A word of `/proc/self/mounts`, where four characters are written as `\ooo` (proc(5)).
fn unescape(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Output {
        Output { status: 0, text: text.into() }
    }

    fn is_fine(verdict: &Verdict) -> bool {
        matches!(verdict, Fine(_))
    }

    #[test]
    fn the_root_dataset_is_the_one_that_was_asked_for() {
        let line = "BOOT_IMAGE=x ro root=ZFS=rpool/ROOT/debian console=ttyS0\n";
        assert_eq!(
            root_dataset(&said(&format!("{line}zfs    rpool/ROOT/debian\n"))),
            Ok("rpool/ROOT/debian".into())
        );
        let error = root_dataset(&said(&format!("{line}zfs rpool/ROOT/old\n"))).unwrap_err();
        assert_eq!(
            error,
            "the command line asks for rpool/ROOT/debian, but / is rpool/ROOT/old (zfs)"
        );
        assert!(root_dataset(&said("quiet\next4 /dev/vda1\n")).is_err());
        assert!(root_dataset(&said("")).is_err());
    }

    #[test]
    fn a_display_manager_runs_or_there_is_none() {
        let of = |load: &str, active: &str| {
            let text = format!("Id=gdm.service\nLoadState={load}\nActiveState={active}\n");
            display_manager(&said(&text))
        };
        assert_eq!(of("loaded", "active"), Fine("gdm.service".into()));
        assert_eq!(of("not-found", "inactive"), Fine(String::new()));
        let wrong = "Id=gdm.service, LoadState=loaded, ActiveState=failed";
        assert_eq!(of("loaded", "failed"), Wrong(wrong.into()));
        assert!(!is_fine(&display_manager(&said("Failed to connect to bus"))));
    }

    #[test]
    fn datasets_must_stand_where_they_belong() {
        let datasets = "rpool\toff\tnone\nrpool/ROOT/a\tnoauto\t/\nrpool/home\ton\t/home\n\
                        rpool/my data\ton\t/my data\nrpool/legacy\ton\tlegacy\n";
        let mounts = "rpool/ROOT/a / zfs rw 0 0\nrpool/home /home zfs rw 0 0\n\
                      rpool/my\\040data /my\\040data zfs rw 0 0\n";
        let answer = |mounts: &str| datasets_mounted(&said(&format!("{datasets}\n{mounts}")));
        assert_eq!(answer(mounts), Fine("2 datasets".into()));
        assert_eq!(
            answer(&format!("{mounts}tmpfs /home tmpfs rw 0 0\n")),
            Wrong("rpool/home: tmpfs stands at /home".into())
        );
        assert_eq!(
            answer("rpool/home /home zfs rw 0 0\n"),
            Wrong("rpool/my data: nothing is mounted at /my data".into())
        );
        assert!(!is_fine(&datasets_mounted(&said("cannot open 'rpool'\n"))));
    }

    #[test]
    fn growth_is_judged_by_partition_and_pool() {
        let disk = 5 << 30;
        let end = disk / 512 - 2048;
        let answer = |start: u64, size: u64, pool: u64| {
            grown(&said(&format!("vda3 {start} {size} {} {pool} -\n", disk / 512)), disk)
        };
        let start = 2_101_248;
        let size = end - start;
        assert!(is_fine(&answer(start, size, 3_758_096_384)));
        assert!(!is_fine(&answer(start, size - 4_194_304, 3_758_096_384)));
        assert!(!is_fine(&answer(start, size, 2_000_000_000)));
        assert!(!is_fine(&grown(&said("vda3 1 2 3 4 -"), disk)));
        assert!(!is_fine(&grown(&said("awk: not found"), disk)));
        assert!(!is_fine(&grown(&said(""), disk)));
    }

    #[test]
    fn large_pools_give_space_out_in_larger_pieces() {
        let disk = 309_248_u64 << 20;
        let answer = |pool: u64| {
            let size = 308_221 << 11;
            let start = disk / 512 - 2048 - size;
            grown(&said(&format!("vda3 {start} {size} {} {pool} -\n", disk / 512)), disk)
        };
        assert!(is_fine(&answer(300 << 30)));
        assert!(!is_fine(&answer(299 << 30)));
    }

    #[test]
    fn only_whole_promises_count() {
        let digest = "ab".repeat(32);
        let text = format!(
            "\n<<synced /root/.kldload-check-1 {digest} ->>\nnoise\n<<synced /x {digest}\n\
             <<synced /y abc>>\n<<synced /z {digest} ->>\n<<synced /cut"
        );
        let files = synced(&text);
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/root/.kldload-check-1", "/z"]);
        let answer = format!("{digest}  /root/.kldload-check-1\n");
        assert_eq!(files_whole(&said(&answer), &files), Wrong("/z: lost".into()));
        let answer = format!("{answer}{digest}  /z\n");
        assert!(is_fine(&files_whole(&said(&answer), &files)));
        let answer = answer.replace("ab  /z", "cd  /z");
        assert!(!is_fine(&files_whole(&said(&answer), &files)));
    }

    #[test]
    fn answers_of_one_word() {
        assert!(is_fine(&system_state(&said("running\n"))));
        assert!(!is_fine(&system_state(&said("degraded\n"))));
        assert!(is_fine(&pools_healthy(&said("all pools are healthy\n"))));
        assert!(!is_fine(&pools_healthy(&said("  pool: rpool\n state: DEGRADED\n"))));
        assert!(is_fine(&nothing(&said("\n"))));
        assert!(!is_fine(&nothing(&said("systemd-logind.service loaded failed\n"))));
    }
}
