use super::*;

fn options(overrides: &[&str], additional: &[&str]) -> Options {
    Options {
        overrides: overrides.iter().map(|text| text.parse().unwrap()).collect(),
        additional: additional.iter().map(|text| text.parse().unwrap()).collect(),
        ..Options::default()
    }
}

fn dump(layout: &Layout) -> String {
    let join = |properties: &[(String, String)]| {
        properties.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>()
    };
    let mut text = format!("pool {}{}\n", layout.pool, join(&layout.pool_properties));
    for dataset in &layout.datasets {
        let place = dataset.mountpoint.as_deref().unwrap_or("-");
        text += &format!("{} {place}{}\n", dataset.name, join(&dataset.properties));
    }
    text
}

fn error(overrides: &[&str], additional: &[&str]) -> String {
    Layout::new("rpool", "debian", &options(overrides, additional)).unwrap_err().to_string()
}

#[test]
fn default_layout() {
    let options = Options { command_line: "quiet loglevel=4".to_owned(), ..Options::default() };
    let layout = Layout::new("rpool", "debian", &options).unwrap();
    let expected = "\
pool rpool ashift=12 autotrim=on bootfs=rpool/ROOT/debian compatibility=openzfs-2.1-linux
rpool - canmount=off mountpoint=none compression=lz4 acltype=posix xattr=sa relatime=on dnodesize=auto
rpool/ROOT - canmount=off mountpoint=none org.zfsbootmenu:commandline=quiet loglevel=4
rpool/ROOT/debian / canmount=noauto mountpoint=/
rpool/home /home mountpoint=/home
rpool/root /root mountpoint=/root
rpool/srv /srv mountpoint=/srv
rpool/opt /opt mountpoint=/opt
rpool/usr - canmount=off mountpoint=/usr
rpool/usr/local /usr/local
rpool/var - canmount=off mountpoint=/var
rpool/var/log /var/log exec=off setuid=off devices=off
rpool/var/cache /var/cache
rpool/var/spool /var/spool setuid=off devices=off
rpool/var/tmp /var/tmp setuid=off devices=off
";
    assert_eq!(dump(&layout), expected);
}

#[test]
fn builtin_properties_are_canonical() {
    let layout = Layout::new("rpool", "debian", &Options::default()).unwrap();
    for dataset in &layout.datasets {
        for (name, value) in &dataset.properties {
            assert_eq!(property::canonical(name, value).as_deref(), Ok(&**value));
        }
    }
}

#[test]
fn requests_change_and_add() {
    let options = options(
        &[
            "rpool:acltype=posixacl",
            "home:compression=zstd-3",
            "rpool/a/b:x:y=1=2",
            "srv:canmount=noauto",
        ],
        &["rpool/a/b", "a:/data", "var/lib:none", "var/lib/docker:/var/lib/docker", "vm"],
    );
    let layout = Layout::new("rpool", "be-1", &options).unwrap();
    let text = dump(&layout);
    for line in [
        "rpool - canmount=off mountpoint=none compression=lz4 acltype=posix ",
        "rpool/home /home mountpoint=/home compression=zstd-3\n",
        "rpool/srv - mountpoint=/srv canmount=noauto\n",
        "rpool/a /data mountpoint=/data\nrpool/a/b /data/b x:y=1=2\n",
        "rpool/var/lib - mountpoint=none\nrpool/var/lib/docker /var/lib/docker mountpoint=/var/lib/docker\n",
        "rpool/vm -\n",
    ] {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
    let parent = |name: &str| name.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    for (index, dataset) in layout.datasets.iter().enumerate().skip(1) {
        let above = parent(&dataset.name).unwrap();
        assert!(layout.datasets[..index].iter().any(|known| known.name == above));
    }
}

#[test]
fn bad_requests_name_the_way_out() {
    for (overrides, additional, message) in [
        (&["rpool/hoem:atime=off"][..], &[][..], "did you mean \"rpool/home\"?"),
        (
            &["home:compresion=lz4"],
            &[],
            "rpool/home: unknown property \"compresion\"; did you mean",
        ),
        (&["home:atime=yes"], &[], "rpool/home: \"yes\" is not a value of atime"),
        (&["ROOT/debian:canmount=on"], &[], "canmount is noauto for a boot environment"),
        (&["ROOT/debian:mountpoint=/x"], &[], "mountpoint is / for a boot environment"),
        (&["home:mountpoint=/root"], &[], "would both be mounted at /root"),
        (&["var:canmount=on"], &[], "cannot be mounted at /var: /var/lib/apt belongs"),
        (&["usr:canmount=on"], &[], "cannot be mounted at /usr: /usr/bin belongs"),
        (&["opt:mountpoint=/"], &[], "cannot be mounted at /: /bin belongs"),
        (&[], &["home"], "\"rpool/home\" is in the layout already"),
        (&[], &["x/y"], "ask for \"rpool/x\" as well"),
        (&[], &["ROOT/other"], "is below ROOT"),
        (&[], &["db:/var/lib/dpkg/info"], "/var/lib/dpkg belongs"),
        (&[], &["db:/etc"], "/etc belongs"),
        (&[], &["a@b"], "has the character '@'"),
        (&[], &["rpool"], "is in the layout already"),
    ] {
        let text = error(overrides, additional);
        assert!(text.contains(message), "{overrides:?} {additional:?}: {text}");
    }
    let bad = |pool, be| Layout::new(pool, be, &Options::default()).unwrap_err();
    assert!(matches!(bad("mirror1", "x"), LayoutError::Name(NameError::Reserved(..))));
    assert!(matches!(bad("rpool", "a/b"), LayoutError::Name(NameError::Character { .. })));
    let set = Options { compatibility: "../x".to_owned(), ..Options::default() };
    assert!(Layout::new("rpool", "x", &set).is_err());
    let ashift = Options { ashift: 17, ..Options::default() };
    assert_eq!(Layout::new("rpool", "x", &ashift), Err(LayoutError::Ashift(17)));
}

#[test]
fn request_text() {
    for bad in ["", "home", "home:", ":a=b", "home:=x", "home:atime"] {
        assert!(bad.parse::<Override>().is_err(), "{bad}");
    }
    for bad in ["", ":", ":/x", "a:", "a:x", "a:/x/../y", "a:/x/"] {
        assert!(bad.parse::<Additional>().is_err(), "{bad}");
    }
}
