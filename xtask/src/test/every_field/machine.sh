#!/bin/sh
# shellcheck disable=SC2016,SC2018,SC2019
# Runs on the machine of recipe.toml and asks it for every key: a line "ok KEY" or "not ok KEY: why" each.
export LC_ALL=C

# KEY EXPECTED COMMAND...: the command prints what is expected.
is() {
    key=$1 expected=$2
    shift 2
    got=$("$@" 2>&1)
    if [ "$got" = "$expected" ]; then echo "ok $key"; else echo "not ok $key: $* says '$got', not '$expected'"; fi
}

# KEY COMMAND...: the command ends well.
holds() {
    key=$1
    shift
    if why=$("$@" 2>&1); then echo "ok $key"; else echo "not ok $key: $* says '$why'"; fi
}

sh_is() { is "$1" "$2" sh -c "$3"; }
sh_holds() { holds "$1" sh -c "$2"; }
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' installed$'; }
absent() { ! installed "$1"; }

sh_is distribution debian '. /etc/os-release; echo $ID'
sh_is release trixie '. /etc/os-release; echo $VERSION_CODENAME'
is architecture amd64 dpkg --print-architecture
holds profile installed zfs-zed
holds packages installed file
holds sets installed nftables
holds optional installed hello
# One of its packages cannot be had: the whole set is left out.
holds optional_sets absent tree
holds exclude absent nano
holds recommends absent eatmydata
# Optional, but kept away.
holds pins.packages absent cowsay
holds pins.suite absent cowsay
holds pins.version absent sl
holds pins.priority absent sl

is hostname pear.example.org hostname --fqdn
is time_zone 14CEST date -d '2026-07-01 12:00 UTC' +%H%Z
sh_is locale 'de_DE.UTF-8 März' '. /etc/default/locale; export LC_ALL=$LANG; echo "$LANG $(date -d 2026-03-01 +%B)"'
for word in layout=de variant=nodeadkeys model=pc104 options=ctrl:nocaps; do
    name=${word%%=*}
    is "keyboard.$name" "${word#*=}" sh -c ". /etc/default/keyboard; eval echo \$XKB$(echo "$name" | tr a-z A-Z)"
done
holds kernel_arguments grep -q ' mitigations=auto kldload.pears=1$' /proc/cmdline
sh_holds cloud_init 'cloud-init status --wait >/dev/null; grep -q DataSourceNone /run/cloud-init/result.json'

is users.name alice id -un 1234
is users.full_name 'Alice Doe' sh -c 'getent passwd alice | cut -d: -f5 | cut -d, -f1'
is users.uid 1234 id -u alice
is users.groups 'alice adm dialout' id -Gn alice
sh_is users.shell /bin/sh 'getent passwd alice | cut -d: -f7'
sh_is users.home '/srv/alice 1234' 'home=$(getent passwd alice | cut -d: -f6); echo $home $(stat -c %u $home)'
password() { getent shadow "$1" | cut -d: -f2 | perl -e '$_ = <STDIN>; chomp; exit(crypt($ARGV[0], $_) ne $_)' "$2"; }
holds users.password_hash password alice pears
holds users.password_hash_file password bob apples
holds users.ssh_keys grep -q ' alice@pear$' /srv/alice/.ssh/authorized_keys
holds users.ssh_keys_file grep -q ' alice@elsewhere$' /srv/alice/.ssh/authorized_keys
sh_is users.sudo '0 0' '! su alice -c "sudo -n true" 2>/dev/null && echo $(echo pears | su alice -c "sudo -S -p \"\" id -u") $(su bob -c "sudo -n id -u")'

sh_holds network.interface 'networkctl --no-legend list | grep -q " en.* configured"'
sh_holds network.addresses 'ip -br addr | grep "^en" | grep " 192.0.2.10/24 " | grep -q " 2001:db8::10/64 "'
sh_is network.gateways 192.0.2.1 'ip route show default | cut -d" " -f3'
holds network.dns grep -q '^nameserver 192.0.2.53$' /etc/resolv.conf
holds network.search grep -q '^search .*example.org' /etc/resolv.conf
# QEMU would give one.
sh_is network.dhcp '' 'ip -4 -br addr | grep " 10\."'

is services.enable active systemctl is-active nftables.service
is services.disable disabled systemctl is-enabled apt-daily.timer
is services.mask masked systemctl is-enabled getty@tty2.service

is files.content sweet cat /etc/pears
is files.mode 640 stat -c %a /etc/pears
is files.owner alice stat -c %U /etc/pears
is files.group adm stat -c %G /etc/pears
holds files.path test -f /etc/pears
holds files.source test -x /usr/local/sbin/every-field
is scripts.content sweet cat /etc/pears-of-script
is scripts.source late cat /etc/late-script

is pool.name tank zpool list -Ho name
is pool.boot_environment tank/ROOT/first findmnt -no SOURCE /
holds pool.datasets.name zfs list tank/docker
is pool.datasets.mountpoint tank/docker findmnt -no SOURCE /var/lib/docker
sh_is pool.properties 'on 1M yes' 'echo $(zfs get -Ho value -s local compression tank) $(zfs get -Ho value -s local recordsize,com.example:keep tank/home)'
is image.disk_size 12884901888 blockdev --getsize64 /dev/vda
# The property tells what comes later.
is image.compression active zpool get -Ho value feature@zstd_compress tank
is image.esp_size 536870912 blockdev --getsize64 /dev/vda2

# The kernel has loaded what was signed.
is module_signing.certificate 'subject=CN=Pear modules' openssl x509 -inform DER -in /var/lib/dkms/mok.pub -noout -subject -nameopt RFC2253
sh_is module_signing.key 'Pear modules Pear modules' 'echo $(modinfo -F signer zfs) $(modinfo -F signer spl); test ! -e /var/lib/dkms/mok.key || echo a private key'
