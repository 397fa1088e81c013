# Sourced by the programs of this directory: which disk the root pool lives on.
# shellcheck shell=sh disable=SC2034

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
    # One line for the pool, then one for each vdev, group of vdevs, spare, log and cache.
    vdev_path=$(zpool list -HvP -o name "$pool" | sed 1d | tr -d '\t')
    vdev=$(zpool list -Hvg -o name "$pool" | sed 1d | tr -d '\t')
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
    if ! number=$(cat "/sys/class/block/${partition##*/}/partition" 2>/dev/null); then
        say "pool $pool is on $partition, which is no partition"
        return 1
    fi
    disk=$(readlink -f "/sys/class/block/${partition##*/}")
    disk=${disk%/*}
    disk=/dev/$(echo "${disk##*/}" | tr '!' /)
    if [ ! -b "$disk" ]; then
        say "$disk, the disk of $partition, is no block device"
        return 1
    fi
}
