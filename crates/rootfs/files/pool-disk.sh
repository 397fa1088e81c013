# Sourced by the programs of this directory: which disk the root pool lives on.
# shellcheck shell=sh disable=SC2034

: "${sysfs:=/sys}"

say() { echo "$*" >&2; }

# Sets pool, vdev (GUID of the leaf vdev), vdev_path (as the pool stores it), partition (/dev/…),
# number and disk (/dev/…) when the root pool is one partition of one disk; else says why not.
find_pool_disk() {
    if [ "$(findmnt -nr -o FSTYPE --mountpoint /)" != zfs ]; then
        say 'the root file system is not ZFS'
        return 1
    fi
    pool=$(findmnt -nr -o SOURCE --mountpoint /)
    pool=${pool%%/*}
    # One line for the pool, then one for each vdev, group of vdevs, spare, log and cache: a tab,
    # the name, and columns that -o does not select.
    vdev_path=$(zpool list -HvP -o name "$pool" | sed 1d | cut -f 2)
    vdev=$(zpool list -Hvg -o name "$pool" | sed 1d | cut -f 2)
    case $vdev_path in
    *'
'*)
        say "pool $pool has more than one device"
        return 1
        ;;
    /dev/*) ;;
    *)
        say "pool $pool is not on a disk: $vdev_path"
        return 1
        ;;
    esac
    partition=$(readlink -f "$vdev_path")
    node=$sysfs/class/block/${partition##*/}
    if ! number=$(cat "$node/partition" 2>/dev/null); then
        say "pool $pool is on $partition, which is no partition"
        return 1
    fi
    disk=$(readlink -f "$node")
    disk=${disk%/*}
    disk=/dev/${disk##*/}
}
