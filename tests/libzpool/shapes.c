/* Pools of several disks, FILE and FILE.2 and so on, with what is in their files, and streams of their snapshots. */
#include "judge.h"
#include <fcntl.h>

#define	MOST 6              /* disks of a shape */
#define	DISK (256ULL << 20) /* bytes of each */

/* The disk with this number, FILE, FILE.2, FILE.3; made unless it is there. */
static nvlist_t *
disk(const char *first, int number)
{
	nvlist_t *leaf = fnvlist_alloc();
	char path[MAXPATHLEN];
	struct stat st;
	int fd;

	snprintf(path, sizeof (path), number == 1 ? "%s" : "%s.%d", first, number);
	fd = open(path, O_RDWR | O_CREAT, 0644);
	if (fd < 0 || fstat(fd, &st) != 0 || (st.st_size < (off_t)DISK && ftruncate(fd, DISK) != 0))
		fail("%s: %s", path, strerror(errno));
	close(fd);
	fnvlist_add_string(leaf, ZPOOL_CONFIG_TYPE, VDEV_TYPE_FILE);
	fnvlist_add_string(leaf, ZPOOL_CONFIG_PATH, path);
	fnvlist_add_uint64(leaf, ZPOOL_CONFIG_ASHIFT, 12);
	return (leaf);
}

static void
add_children(nvlist_t *vdev, nvlist_t **children, int count)
{
	must(nvlist_add_nvlist_array(vdev, ZPOOL_CONFIG_CHILDREN, (void *)children, count), "vdev tree");
}

/* A vdev of the disks from `from` on. */
static nvlist_t *
group(const char *type, uint64_t parity, const char *path, int from, int count)
{
	nvlist_t *vdev = fnvlist_alloc(), *children[MOST];

	fnvlist_add_string(vdev, ZPOOL_CONFIG_TYPE, type);
	fnvlist_add_uint64(vdev, ZPOOL_CONFIG_ASHIFT, 12);
	if (parity != 0)
		fnvlist_add_uint64(vdev, ZPOOL_CONFIG_NPARITY, parity);
	for (int i = 0; i < count; i++)
		children[i] = disk(path, from + i);
	add_children(vdev, children, count);
	return (vdev);
}

/* A vdev that is kept for something: the intent log, small blocks and metadata. */
static nvlist_t *
reserved(nvlist_t *vdev, const char *bias)
{
	fnvlist_add_uint64(vdev, ZPOOL_CONFIG_IS_LOG, strcmp(bias, VDEV_ALLOC_BIAS_LOG) == 0);
	fnvlist_add_string(vdev, ZPOOL_CONFIG_ALLOCATION_BIAS, bias);
	return (vdev);
}

/*
 * The vdev tree of a shape: "raidz2" and so on have two disks of data, "classes" has a disk, a mirror, a special and a
 * log vdev.
 */
nvlist_t *
shape_vdevs(const char *shape, const char *path)
{
	nvlist_t *root = fnvlist_alloc(), *tops[4];
	int count = 0;

	fnvlist_add_string(root, ZPOOL_CONFIG_TYPE, VDEV_TYPE_ROOT);
	if (strncmp(shape, "raidz", 5) == 0) {
		int parity = atoi(shape + 5);

		tops[count++] = group(VDEV_TYPE_RAIDZ, parity, path, 1, parity + 2);
	} else if (strcmp(shape, "classes") == 0) {
		tops[count++] = disk(path, 1);
		tops[count++] = group(VDEV_TYPE_MIRROR, 0, path, 2, 2);
		tops[count++] = reserved(disk(path, 4), VDEV_ALLOC_BIAS_SPECIAL);
		tops[count++] = reserved(disk(path, 5), VDEV_ALLOC_BIAS_LOG);
	} else {
		tops[count++] = disk(path, 1);
	}
	add_children(root, tops, count);
	return (root);
}

/* FNV-1a of a file's bytes. */
static uint64_t
digest(fs_t *fs, uint64_t object, uint64_t size)
{
	static unsigned char chunk[SPA_OLD_MAXBLOCKSIZE];
	uint64_t hash = 0xcbf29ce484222325;

	for (uint64_t at = 0; at < size; at += sizeof (chunk)) {
		uint64_t now = MIN(sizeof (chunk), size - at);

		must(dmu_read(fs->os, object, at, now, chunk, DMU_READ_NO_PREFETCH), "%s object %llu", fs->name,
		    (u_longlong_t)object);
		for (uint64_t i = 0; i < now; i++)
			hash = (hash ^ chunk[i]) * 0x100000001b3;
	}
	return (hash);
}

/* Prints dataset, path, size and digest of the files that have one name and that are not too large to be read. */
void
show_contents(const char *name)
{
	walk_t all;
	fs_t fs;

	fs_open(&fs, name, B_TRUE);
	walk(&fs, &all);
	for (size_t i = 0; i < all.count; i++) {
		const entry_t *e = &all.entries[i];
		char path[MAXPATHLEN], below[MAXPATHLEN];

		if (!S_ISREG(e->attrs.mode) || e->attrs.links != 1 || e->attrs.size > 64 << 20 ||
		    (e->attrs.flags & ZFS_XATTR) != 0)
			continue;
		snprintf(path, sizeof (path), "%s", e->name);
		for (uint64_t parent = e->parent; parent != fs.root; ) {
			size_t j = 0;

			while (j < all.count && all.entries[j].object != parent)
				j++;
			if (j == all.count)
				fail("%s: directory %llu has no name", name, (u_longlong_t)parent);
			strcpy(below, path);
			if (snprintf(path, sizeof (path), "%s/%s", all.entries[j].name, below) >= (int)sizeof (path))
				fail("%s: a path is too long", name);
			parent = all.entries[j].parent;
		}
		printf("%s\t%s\t%llu\t%016llx\n", name, path, (u_longlong_t)e->attrs.size,
		    (u_longlong_t)digest(&fs, e->object, e->attrs.size));
	}
	walk_free(&all);
	fs_close(&fs);
}

/* Files of several sizes, also such as a special vdev takes, that nothing links to. */
void
shape_files(const char *name, unsigned seed)
{
	static const uint64_t sizes[] = { 1, 100, 4000, 20000, 131072, 131073, 700000, 3 << 20 };
	uint64_t directory;
	char file[32];
	fs_t fs;

	fs_open(&fs, name, B_FALSE);
	snprintf(file, sizeof (file), "files-%u", seed);
	directory = fs_create(&fs, fs.root, file, S_IFDIR | 0755, 0, 0);
	for (unsigned i = 0; i < sizeof (sizes) / sizeof (sizes[0]); i++) {
		snprintf(file, sizeof (file), "%llu", (u_longlong_t)sizes[i]);
		fs_write(&fs, fs_create(&fs, directory, file, S_IFREG | 0640, seed, i), 0, sizes[i], seed + i);
	}
	fs_close(&fs);
}
