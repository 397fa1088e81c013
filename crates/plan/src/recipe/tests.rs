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
    assert_eq!(machine.cloud_init.as_ref().unwrap().sources, ["NoCloud", "ConfigDrive", "None"]);
    assert_eq!(machine.keyboard.as_ref().unwrap().model, "pc105");
    assert_eq!(machine.users[1].shell.as_str(), "/bin/bash");
    assert!(!machine.network.as_ref().unwrap().dhcp);
    assert_eq!(
        machine.pool.overrides().iter().map(|o| &*o.property).collect::<Vec<_>>(),
        ["com.example:keep", "recordsize", "compression"]
    );
    assert_eq!(recipe.files(), ["alice.pub", "bob.hash", "more.sh", "mok.key", "mok.der"]);
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
        ("[[users]]\nname = \"a\"\nssh_keys = [\n\"x\"]", "line 3: \"x\": a public key is like"),
        (
            "\n[[users]]\nname = \"a\"\nsudo = \"password\"",
            "line 2: user a: sudo with a password needs",
        ),
        ("[[users]]\nfull_name = \"a\"", "line 1: missing field `name`"),
        ("[image]\nname = \"../x\"", "line 2: \"../x\": the name of an image has no /"),
        ("[image]\nname = \"\"", "line 2: \"\": the name of an image has no /"),
        ("time_zone = \"../x\"", "line 1: \"../x\": a time zone is like"),
        ("keyboard = 1", "line 1: invalid type: integer `1`, expected a layout like"),
        (
            "keyboard = {\nlayot = \"de\" }",
            "line 2: unknown key \"layot\"; did you mean \"layout\"?",
        ),
        ("kernel_arguments = [\"a b\"]", "line 1: \"a b\": one kernel argument"),
        ("cloud_init = [\"EC2\"]", "line 1: \"EC2\" is no data source"),
        ("\n[network]\ndhcp = false", "line 2: a network without DHCP needs addresses"),
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
            "line 1: rpool/home: property \"quota\" cannot be set here",
        ),
        (
            "[pool.properties]\nhome = { compresion = \"lz4\" }",
            "line 1: rpool/home: unknown property \"compresion\"; did you mean \"compression\"?",
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
    ] {
        let error = Recipe::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error:?} is not {message:?}");
        assert!(!error.contains("secret"), "{error}");
    }
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
