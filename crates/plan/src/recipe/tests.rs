use super::*;

/// Sets every key once.
pub(crate) const EVERYTHING: &str = r##"
distribution = "debian"
release = "trixie"
architecture = "amd64"
profile = "server"
packages = ["postgresql"]
exclude = ["nano"]
optional = ["firmware-iwlwifi"]
mirror = "http://mirror.example/debian"
hostname = "pear.example.org"
time_zone = "Europe/Berlin"
locale = "de_DE.UTF-8"
keyboard = { layout = "de", variant = "nodeadkeys" }
kernel_arguments = ["quiet", "mitigations=auto"]
cloud_init = true
hold = ["postgresql-*"]

[[pins]]
packages = ["src:zfs-linux"]
suite = "trixie-backports"

[[users]]
name = "alice"
full_name = "Alice Doe"
uid = 1001
groups = ["adm"]
password_hash = "$6$salt$hash"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0v0n2ZpXQm0sD6v7xR1w8QwL5y0sGQm3m1u2k3v4w5 alice@pear"]
ssh_keys_file = "alice.pub"
sudo = "password"
shell = "/bin/bash"
home = "/home/alice"

[[users]]
name = "bob"
password_hash_file = "bob.hash"
sudo = "no_password"

[network]
interface = "en*"
addresses = ["192.0.2.10/24", "2001:db8::10/64"]
gateways = ["192.0.2.1"]
dns = ["192.0.2.53"]
search = ["example.org"]

[services]
enable = ["nftables.service"]
disable = ["apt-daily.timer"]
mask = ["getty@tty2.service"]

[[files]]
path = "/etc/motd"
content = "pears\n"
mode = "0600"

[[scripts]]
name = "late"
content = "#!/bin/sh\ntrue\n"

[[scripts]]
source = "more.sh"

[pool]
name = "tank"
boot_environment = "first"
datasets = [{ name = "docker", mountpoint = "/var/lib/docker" }]
[pool.properties]
tank = { compression = "zstd-9" }
home = { recordsize = "1M", "com.example:keep" = "yes" }

[image]
name = "pear"
disk_size = "20G"
esp_size = "512M"
compression = "zstd-5"
outputs = ["qcow2", "vhd-dynamic"]
seed = "1"

[module_signing]
key = "mok.key"
certificate = "mok.der"
"##;

#[test]
fn everything() {
    let recipe = Recipe::parse(EVERYTHING).unwrap();
    let machine = &recipe.machine;
    assert_eq!(recipe.packages.profile.as_deref(), Some("server"));
    assert_eq!(machine.image.esp_size, Size(512 << 20));
    assert_eq!(recipe.options(None).denser, Some(zfs::Compression::Zstd(5)));
    assert_eq!(machine.cloud_init.as_ref().unwrap().sources, ["NoCloud", "ConfigDrive", "None"]);
    assert_eq!(machine.keyboard.as_ref().unwrap().model, "pc105");
    assert_eq!(machine.users[1].shell.as_str(), "/bin/bash");
    assert!(!machine.network.as_ref().unwrap().dhcp);
    assert_eq!(
        machine.pool.overrides().iter().map(|o| &*o.property).collect::<Vec<_>>(),
        ["com.example:keep", "recordsize", "compression"]
    );
    let files = [
        ("users.0.ssh_keys_file", "alice.pub"),
        ("users.1.password_hash_file", "bob.hash"),
        ("scripts.1.source", "more.sh"),
        ("module_signing.key", "mok.key"),
        ("module_signing.certificate", "mok.der"),
    ];
    assert_eq!(recipe.files(), files.map(|(place, file)| (place.to_owned(), file)));
    // Nobody who reads a plan or a log learns a password's hash.
    let shown = format!("{recipe:?}{}", serde_json::to_string(&recipe).unwrap());
    assert!(!shown.contains("$6$"), "{shown}");
    assert_eq!(Recipe::parse("").unwrap(), Recipe::default());
}

#[test]
fn errors_name_line_and_value() {
    for (text, message) in [
        ("\nhostnam = \"x\"", "line 2: unknown key \"hostnam\"; did you mean \"hostname\"?"),
        ("hostname = \"a_b\"", "line 1: \"a_b\": a host name is labels"),
        (
            "[[users]]\nname = \"alice\"\npasword_hash = \"x\"",
            "line 3: unknown key \"pasword_hash\"; did you mean \"password_hash\"?",
        ),
        ("[[users]]\nname = \"Alice\"", "line 2: \"Alice\": a name of users"),
        (
            "[[users]]\nname = \"a\"\nsudo = \"nopassword\"",
            "line 3: unknown value \"nopassword\"; did you mean \"no_password\"?",
        ),
        ("[[users]]\nname = \"a\"\nssh_keys = [\n\"x\"]", "line 4: \"x\": a public key is like"),
        (
            "\n[[users]]\nname = \"a\"\nsudo = \"password\"",
            "line 2: user a: sudo with a password needs",
        ),
        ("[[users]]\nfull_name = \"a\"", "line 1: missing field `name`"),
        ("[image]\nname = \"../x\"", "line 2: \"../x\": the name of an image has no /"),
        ("[image]\nname = \"\"", "line 2: \"\": the name of an image has no /"),
        ("time_zone = \"../x\"", "line 1: \"../x\": a time zone is like"),
        ("keyboard = 1", "line 1: invalid type: integer `1`; a layout like"),
        (
            "keyboard = {\nlayot = \"de\" }",
            "line 2: unknown key \"layot\"; did you mean \"layout\"?",
        ),
        ("kernel_arguments = [\"a b\"]", "line 1: \"a b\": one kernel argument"),
        ("cloud_init = [\"EC2\"]", "line 1: \"EC2\" is no data source"),
        ("\n[network]\ndhcp = false", "line 3: a network without DHCP needs addresses"),
        (
            "[network]\naddresses = [\"192.0.2.1/24\"]\ngateways = [\n\"192.0.2.2\",\n\"2001:db8::1\"]",
            "line 5: the gateway 2001:db8::1 needs an address of the same family",
        ),
        (
            "[network]\naddresses = [\"192.0.2.1\"]",
            "line 2: \"192.0.2.1\": an address with its prefix",
        ),
        ("[services]\nenable = [\"ssh\"]", "line 2: \"ssh\": a unit is like"),
        (
            "[[files]]\npath = \"etc/motd\"\ncontent = \"\"",
            "line 2: \"etc/motd\": an absolute path",
        ),
        ("[[files]]\npath = \"/etc/motd\"", "line 1: file /etc/motd has either source"),
        (
            "[[files]]\npath = \"/a\"\ncontent = \"\"\nmode = \"999\"",
            "line 4: \"999\": permissions are octal",
        ),
        ("[[scripts]]\ncontent = \"echo\"", "line 1: a script begins with its interpreter"),
        (
            "[pool.properties]\nhome = { quota = \"10G\" }",
            "line 2: rpool/home: unknown property \"quota\"; known are acltype",
        ),
        (
            "[pool.properties]\nhome = { compresion = \"lz4\" }",
            "line 2: rpool/home: unknown property \"compresion\"; did you mean \"compression\"?",
        ),
        (
            "[pool.properties]\nhome = { checksum = \"crc\" }",
            "line 2: rpool/home: \"crc\" is not a value of checksum; it is one of on, fletcher4",
        ),
        ("[pool]\nname = \"my:pool\"", "line 2: \"my:pool\" has a colon"),
        ("[pool]\nboot_environment = \"a:b\"", "line 2: \"a:b\" has a colon"),
        (
            "[pool]\nboot_environment = \".hid\"",
            "line 2: the name of the boot environment \".hid\"",
        ),
        (
            "[image]\ndisk_size = \"16777215T\"",
            "line 2: a disk of 18446742974197923840 bytes is not possible: a file has at most",
        ),
        (
            "[image]\nesp_size = \"16777215T\"",
            "line 2: an ESP of 18446742974197923840 bytes is not possible: FAT32 takes at most 2097151M",
        ),
        (
            "[image]\noutputs = [\"qcow2\",\n\"vhd\"]\ndisk_size = \"4T\"",
            "line 4: a disk of 4398046511104 bytes cannot be written as vhd, which takes at most",
        ),
        ("[image]\noutputs = [\"vhdx\"]\ndisk_size = \"65T\"", "line 3: a disk of 71468255805440"),
        ("[image]\noutputs = [\"vmdk\"]\nesp_size = \"2040G\"", "line 3: an ESP of "),
        (
            "[pool]\ndatasets = [{ name = \"x\" },\n{ name = \"x/a b/c\" }]",
            "line 3: \"a b\" has a space",
        ),
        ("[pool]\ndatasets = []\nname = \"mirror\"", "line 3: "),
        ("[pool]\n\nboot_environment = \"a b\"", "line 3: "),
        (
            "[pool]\ndatasets = [\n{ name = \"x\" },\n{ name = \"y/z\" },\n]",
            "line 4: dataset \"rpool/y/z\" has no parent: ask for \"rpool/y\" as well",
        ),
        (
            "[[pool.datasets]]\nname = \"x\"\n[[pool.datasets]]\nname = \"y\"\nmountpoint = \"/etc\"",
            "line 5: dataset \"rpool/y\" cannot be mounted at /etc",
        ),
        (
            "[[pool.datasets]]\nname = \"x\"\nmountpoint = \"/home\"\n[pool.properties]\nhome = {}",
            "line 3: datasets ",
        ),
        (
            "[pool.properties]\nhome = {}\nhom = { exec = \"off\" }",
            "line 3: there is no dataset \"rpool/hom\" to set properties of",
        ),
        (
            "[pool.properties.home]\nexec = \"off\"\n\"com.example:keep\" = \"yes\"\nsetuid = \"of\"",
            "line 4: ",
        ),
        ("[pool.properties.home]\nexec = \"off\"\n\"com.example:a b\" = \"yes\"", "line 3: "),
        (
            "[image]\ndisk_size = -1",
            "line 2: invalid value: integer `-1`; a number of bytes, or text like \"20G\",",
        ),
        ("[image]\ndisk_size = \"20X\"", "line 2: \"20X\" is not a size"),
        (
            "[image]\noutputs = [\"qcow\"]",
            "line 2: unknown value \"qcow\"; did you mean \"qcow2\"?",
        ),
        (
            "[[users]]\nname = \"a\"\npassword_hash = \"secret\"",
            "line 3: this is no hash of a password",
        ),
        (
            "[[users]]\nname = \"a\"\npassword_hash = 12345678",
            "line 3: this is no hash of a password",
        ),
        ("[[users]]\nname = \"a\"\npassword_hash = \"$$$\"", "line 3: this is no hash"),
        ("[[users]]\nname = \"a\"\npassword_hash = \"$6$salt$\"", "line 3: this is no hash"),
        (
            "[[scripts]]\nname = \"a\\u001b[2J\"\ncontent = \"#!/bin/sh\"",
            "line 1: the name \"a\\u{1b}[2J\" of a script has a control character",
        ),
        (
            "[[files]]\npath = \"/etc/x\"\nsource = \"/etc/shadow\"",
            "line 3: \"/etc/shadow\": files that a recipe names lie beside it",
        ),
        ("[[scripts]]\nsource = \"a/../../x\"", "line 2: \"a/../../x\": files that a recipe"),
        ("[[users]]\nname = \"a\"\nssh_keys_file = \"\"", "line 3: \"\": files that a recipe"),
        ("sets = [\"a\",\n\"/etc/shadow\"]", "line 2: \"/etc/shadow\": files that a recipe names"),
        ("optional_sets = [\"../x\"]", "line 1: \"../x\": files that a recipe names lie beside it"),
        (
            "[module_signing]\nkey = \"/root/mok.key\"\ncertificate = \"mok.der\"",
            "line 2: \"/root/mok.key\": files that a recipe names lie beside it",
        ),
    ] {
        let error = Recipe::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error:?} is not {message:?}");
        assert!(!error.contains("secret") && !error.contains("12345678"), "{error}");
    }
}

/// Each of many is looked at once, or nearly so: this took half a minute.
#[test]
fn large_recipes_are_judged_at_once() {
    let files: String = (0..12_000)
        .map(|at| format!("[[files]]\npath = \"/srv/{at}/{at}\"\ncontent = \"\"\n"))
        .collect();
    Recipe::parse(&files).unwrap();
    let datasets = |count| -> String {
        (0..count).map(|at| format!("[[pool.datasets]]\nname = \"d{at}\"\n")).collect()
    };
    let error = Recipe::parse(&(datasets(1000) + "[[pool.datasets]]\nname = \"a b\"")).unwrap_err();
    assert!(error.to_string().starts_with("line 2002: \"a b\" has a space"), "{error}");
}

/// One rule, in two rooms that do not know each other.
#[test]
fn names_that_a_recipe_may_have_boot() {
    for (pool, be) in [("rpool", "debian"), ("a-b.c_d", "D_1.x-y"), ("r", &"e".repeat(128))] {
        Recipe::parse(&format!("[pool]\nname = \"{pool}\"\nboot_environment = \"{be}\"")).unwrap();
        let options = boot::Options {
            dataset: format!("{pool}/ROOT/{be}"),
            pool: pool.to_owned(),
            be: be.to_owned(),
            kernel_arguments: Vec::new(),
            timestamp: 0,
        };
        let mut tree = tree::Tree::new(tree::Metadata::default());
        let mut blobs = tree::MemoryBlobs::default();
        let problems =
            boot::prepare(&mut tree, &tree::MemoryBlobs::default(), &mut blobs, &options);
        // There is no kernel, of course.
        let wrong = |problem: &boot::Problem| matches!(problem, boot::Problem::Option { .. });
        assert!(!problems.unwrap_err().0.iter().any(wrong), "{pool} {be}");
    }
}

/// What one list offers the other one takes.
#[test]
fn properties_that_are_offered_can_be_written() {
    for name in bootenv::property::names() {
        let error = bootenv::property::canonical(name, "?").unwrap_err().to_string();
        let offered = error.split_once("one of ").map_or("", |(_, offered)| offered);
        for value in offered.split(", ").filter(|value| !value.is_empty() && !value.contains(' ')) {
            let value = bootenv::property::canonical(name, value).unwrap();
            zfs::check_property(name, &value).unwrap();
        }
    }
    for (name, value) in [("recordsize", "512"), ("recordsize", "1M"), ("compression", "zstd-19")] {
        zfs::check_property(name, &bootenv::property::canonical(name, value).unwrap()).unwrap();
    }
}

/// What the recipe alone tells is told before anything is fetched or made.
#[test]
fn contradictions_name_their_line() {
    let user = |name: &str, more: &str| format!("[[users]]\nname = \"{name}\"\n{more}\n");
    let file = |path: &str| format!("[[files]]\npath = \"{path}\"\ncontent = \"\"\n");
    for (text, message) in [
        (user("a", "") + &user("a", ""), "line 5: the user \"a\" is there twice"),
        (user("a", "uid = 7") + &user("b", "uid = 7"), "line 6: the uid 7 is there twice"),
        (
            user("a", "groups = [\"adm\",\n\"adm\"]"),
            "line 4: user a: the group \"adm\" is there twice",
        ),
        (file("/a/b") + &file("/a/b"), "line 5: the file \"/a/b\" is there twice"),
        (file("/a/b") + &file("/a"), "line 2: /a/b cannot be: /a is a file of this recipe"),
        (
            file("/etc/kernel/cmdline"),
            "line 2: /etc/kernel/cmdline would not stay as it is told: kldload",
        ),
        (
            file("/lib/systemd/system/kldload-grow.service"),
            "line 2: /lib/systemd/system/kldload-grow",
        ),
        (file("/etc/hostid"), "line 2: /etc/hostid would not stay"),
        (
            file("/etc/kernel"),
            "line 2: /etc/kernel would not stay as it is told: it is the directory",
        ),
        (file("/etc/kernel/cmdline/x"), "line 2: /etc/kernel/cmdline/x would not stay"),
        (file("/tmp/x"), "line 2: /tmp/x would not stay as it is told: /tmp is emptied"),
        (file("/var/run/x"), "line 2: /var/run/x would not stay"),
        (
            "hostname = \"pear\"\n".to_owned() + &file("/etc/hostname"),
            "line 3: /etc/hostname would not stay as it is told: the key hostname decides",
        ),
        (user("a", "") + &file("/etc/shadow"), "line 5: /etc/shadow would not stay"),
        (user("a", "home = \"/tmp/a\""), "line 3: user a: home = \"/tmp/a\" would not stay: /tmp"),
        (
            user("a", "home = \"/srv/a\"") + &user("b", "home = \"/srv/a\""),
            "line 6: the home \"/srv/a\" is there twice",
        ),
        (
            user("a", "") + &user("b", "home = \"/home/a\""),
            "line 6: the home \"/home/a\" is there twice",
        ),
        (
            "[services]\nenable = [\"a.service\"]\nmask = [\"a.service\"]".to_owned(),
            "line 3: a.service is enabled as well",
        ),
        (
            "[services]\nenable = [\"a.service\"]\ndisable = [\"a.service\"]".to_owned(),
            "line 3: a.service is enabled as well",
        ),
        (
            "[services]\nmask = [\"a.service\",\n\"a.service\"]".to_owned(),
            "line 3: the unit \"a.service\" is there twice",
        ),
        (
            "packages = [\"vim/sid\"]\nexclude = [\"vim\"]".to_owned(),
            "line 2: \"vim\" is among the packages as well",
        ),
        (
            "locale = \"de_DE.UTF-8\"\nexclude = [\"locales\"]".to_owned(),
            "line 2: \"locales\" is what another key of this recipe needs",
        ),
        ("[image]\noutputs = []".to_owned(), "line 2: no output is asked for; known are qcow2"),
        (
            "[image]\noutputs = [\"vhd\",\n\"vhd-dynamic\"]".to_owned(),
            "line 3: vhd and vhd-dynamic would have the same name",
        ),
        (
            "[image]\ncompression = \"zstd-20\"".to_owned(),
            "line 2: \"zstd-20\": compression is off",
        ),
        ("[image]\nesp_size = 0".to_owned(), "line 2: an ESP of 0 bytes is not possible"),
        ("[image]\nesp_size = \"32M\"".to_owned(), "line 2: an ESP of 33554432 bytes is not"),
        ("[image]\nesp_size = 104857601".to_owned(), "line 2: an ESP of 104857601 bytes is not"),
        ("[image]\n\ndisk_size = \"1G\"".to_owned(), "line 3: the disk has 1073741824 bytes"),
        ("[image]\ndisk_size = 8589934593".to_owned(), "line 2: the disk's size of 8589934593"),
        (
            "kernel_arguments = [\"quiet\",\n\"root=/dev/sda\"]".to_owned(),
            "line 2: root=/dev/sda: the root is the boot environment's dataset",
        ),
        (
            "\ntime_zone = \"Europe\"".to_owned(),
            "line 2: \"Europe\" has time zones in it, as Europe/",
        ),
        ("time_zone = \"America/Argentina\"".to_owned(), "line 1: \"America/Argentina\" has time"),
        ("time_zone = \"\"".to_owned(), "line 1: \"\": a time zone is like"),
        ("time_zone = \"zone.tab\"".to_owned(), "line 1: \"zone.tab\": a time zone is like"),
        ("time_zone = \"Etc/../x\"".to_owned(), "line 1: \"Etc/../x\": a time zone is like"),
        ("locale = \"\"".to_owned(), "line 1: \"\": a locale is like"),
        ("locale = \"../x\"".to_owned(), "line 1: \"../x\": a locale is like"),
        ("keyboard = \"us,\"".to_owned(), "line 1: \"us,\": a keyboard has no layout without name"),
        ("keyboard = \"../x\"".to_owned(), "line 1: \"../x\": words of a keyboard have only"),
        (
            user("a", "sudo = true"),
            "line 3: invalid type: boolean `true`; one of \"none\", \"password\", \"no_password\"",
        ),
        (user("a", "") + &user("b", "sudo = \"password\""), "line 4: user b: sudo with a password"),
        (user("a", "groups = [\n\"adm\",\n\"12\"]"), "line 5: \"12\": a name of users and groups"),
        ("kernel_arguments = [\n\"a b\"]".to_owned(), "line 2: \"a b\": one kernel argument"),
        ("[network]\naddresses = [\n\"1/2\"]".to_owned(), "line 3: \"1/2\": an address"),
        (
            "[image]\noutputs = [1]".to_owned(),
            "line 2: invalid type: integer `1`; one of \"qcow2\"",
        ),
    ] {
        let error = Recipe::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error:?} is not {message:?}");
    }
    for fine in [
        "[services]\ndisable = [\"a.service\"]\nmask = [\"a.service\"]",
        "locale = \"C.UTF-8\"\ntime_zone = \"US/Pacific\"\nkeyboard = \"us,de\"",
        &(file("/etc/hostname")
            + &file("/etc/shadow")
            + &file("/var/tmp/x")
            + &file("/etc/machine-id")),
        "locale = \"ca_ES@valencia\"\n[image]\nesp_size = \"33M\"",
    ] {
        Recipe::parse(fine).unwrap();
    }
}

/// Lists grow old, and the packages of the root have the last word.
#[test]
fn what_no_list_has_is_told_and_not_refused() {
    let listed = "time_zone = \"US/Pacific\"\nlocale = \"ca_ES@valencia\"\nkeyboard = \"us,de\"";
    for fine in [listed, "locale = \"C.UTF-8\"", ""] {
        assert_eq!(Recipe::parse(fine).unwrap().unlisted(), []);
    }
    for (text, place, told) in [
        (
            "time_zone = \"Europe/Berln\"",
            "time_zone",
            "time_zone = \"Europe/Berln\": no Debian from 12 to 14 had this when the list was made; \
             did you mean \"Europe/Berlin\"? The packages of the root decide",
        ),
        (
            "locale = \"de_ED.UTF-8\"",
            "locale",
            "locale = \"de_ED.UTF-8\": no Debian from 12 to 14 had this when the list was made; \
             did you mean \"de_DE.UTF-8\"? The packages of the root decide",
        ),
        (
            "keyboard = \"us,gr,xyzzy\"",
            "keyboard.layout",
            "keyboard.layout = \"xyzzy\": no Debian from 12 to 14 had this when the list was made. \
             The packages of the root decide",
        ),
    ] {
        let found = Recipe::parse(text).unwrap().unlisted();
        assert_eq!(found, [Finding { place: place.to_owned(), problem: told.to_owned() }]);
    }
}

/// A zone of a later point release, in a root that has it and in one that has not.
#[test]
fn the_root_decides_about_words_that_no_list_has() {
    let recipe = Recipe::parse("time_zone = \"Europe/Pear\"").unwrap();
    assert_eq!(recipe.unlisted().len(), 1);
    let machine = recipe.personal(&Files::new(), None).unwrap();
    let made = |zone: Option<&[u8]>| {
        let mut blobs = tree::MemoryBlobs::default();
        let directory = || tree::Metadata { mode: 0o755, ..tree::Metadata::default() };
        let mut root = tree::Tree::new(directory());
        if let Some(content) = zone {
            let parent = root.make_directories("usr/share/zoneinfo/Europe", &directory()).unwrap();
            let file = tree::File::dense(content.len() as u64, blobs.insert(content));
            let inode = tree::Inode { metadata: directory(), kind: tree::Kind::File(file) };
            root.insert(parent, b"Pear", inode).unwrap();
        }
        let mut generated = tree::MemoryBlobs::default();
        let time = tree::Timestamp::default();
        let done =
            rootfs::personalise::personalise(&mut root, &blobs, &mut generated, &machine, time);
        // A whole machine needs more than a zone, and is told so after that.
        let place = done.err().and_then(|error| recipe.place_of(&error));
        (place.as_deref() == Some("time_zone"), root.get("etc/localtime").is_some())
    };
    assert_eq!(made(Some(b"TZif2")), (false, true));
    assert_eq!(made(Some(b"# no zone")), (true, false));
    assert_eq!(made(None), (true, false));
}

/// What only the finished root tells has its line all the same.
#[test]
fn what_a_root_cannot_be_made_has_a_place() {
    use rootfs::personalise::PersonaliseError as E;
    let recipe = Recipe::parse(EVERYTHING).unwrap();
    let missing = |path: &str| E::Missing {
        what: String::new(),
        path: path.to_owned(),
        package: String::new(),
    };
    let (user, group) = ("alice".to_owned(), "adm".to_owned());
    for (error, place) in [
        (missing("/usr/share/zoneinfo/Europe/Berlin"), "time_zone"),
        (missing("/usr/lib/locale/locale-archive"), "locale"),
        (missing("/usr/share/i18n/SUPPORTED"), "locale"),
        (E::Locale("de_ED.UTF-8".to_owned()), "locale"),
        (missing("/bin/bash"), "users.0.shell"),
        (E::Group { user, group }, "users.0.groups.0"),
        (E::Uid { user: "bob".to_owned(), uid: 1, other: String::new() }, "users.1.uid"),
        (E::Unit("apt-daily.timer".to_owned()), "services.disable.0"),
        (E::NotInstallable("nftables.service".to_owned()), "services.enable.0"),
        (E::Alias { unit: "getty@tty2.service".to_owned(), of: String::new() }, "services.mask.0"),
        (E::Gateway("192.0.2.1".parse().unwrap()), "network.gateways.0"),
    ] {
        assert_eq!(recipe.place_of(&error).as_deref(), Some(place), "{error}");
    }
    assert_eq!(recipe.place_of(&E::Unit("other.service".to_owned())), None);
}

#[test]
fn schema_knows_every_key() {
    let schema = serde_json::to_value(Recipe::schema()).unwrap();
    let table: toml::Table = EVERYTHING.parse().unwrap();
    for key in table.keys() {
        assert!(schema["properties"].get(key).is_some(), "{key} is not in the schema");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn files_become_part_of_the_machine() {
    let recipe = Recipe::parse(EVERYTHING).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0v0n2ZpXQm0sD6v7xR1w8QwL5y0sGQm3m1u2k3v4w5 x";
    let mut files: Files = [
        ("alice.pub", format!("# keys\n\n{key}\n")),
        ("bob.hash", "$6$a$b\n".to_owned()),
        ("more.sh", "#!/bin/sh\n".to_owned()),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into();
    assert_eq!(recipe.implied_packages(), ["sudo", "cloud-init", "locales"]);
    let machine = recipe.personal(&files, None).unwrap();
    assert_eq!(machine.accounts[0].ssh_keys.len(), 2);
    assert_eq!(machine.accounts[1].password_hash.as_deref(), Some("$6$a$b"));
    // Scripts may have changed it.
    assert_eq!(machine.files[0].content, None);
    assert_eq!(recipe.new_files(&files).unwrap()[0].content.as_deref(), Some(&b"pears\n"[..]));
    assert_eq!(recipe.scripts(&files).unwrap()[1].0, "more.sh");

    let broken = |files: &mut Files, name: &str, text: &str| {
        files.insert(name.to_owned(), text.as_bytes().to_vec());
        recipe.personal(files, None).unwrap_err().to_string()
    };
    let error = broken(&mut files, "alice.pub", "# x\nrubbish\n");
    assert!(error.starts_with("alice.pub: line 2: \"rubbish\": a public key is like"), "{error}");
    files.remove("alice.pub");
    let error = recipe.personal(&files, None).unwrap_err().to_string();
    assert_eq!(error, "alice.pub: the recipe names it, but nobody has read it");
    files.insert("alice.pub".to_owned(), Vec::new());
    let error = broken(&mut files, "bob.hash", "hunter2");
    assert!(error.starts_with("bob.hash: line 1: this is no hash") && !error.contains("hunter2"));
}
