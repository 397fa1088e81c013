/* Pools whose disks were changed: FILE is removed, or is being replaced by FILE.2. */
#include "judge.h"

extern int zfs_scan_suspend_progress;
#if OPENZFS == 201
extern int zfs_remove_max_segment;
#else
extern uint_t zfs_remove_max_segment;
#endif

/* A vdev tree of one more file as large as the first. */
static nvlist_t *
second_file(const char *first)
{
	nvlist_t *leaf = fnvlist_alloc(), *root = fnvlist_alloc(), *children[1] = { leaf };
	char path[MAXPATHLEN];
	struct stat st;
	int fd;

	snprintf(path, sizeof (path), "%s.2", first);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || stat(first, &st) != 0 || ftruncate(fd, st.st_size) != 0)
		fail("%s: %s", path, strerror(errno));
	close(fd);
	fnvlist_add_string(leaf, ZPOOL_CONFIG_TYPE, VDEV_TYPE_FILE);
	fnvlist_add_string(leaf, ZPOOL_CONFIG_PATH, path);
	fnvlist_add_uint64(leaf, ZPOOL_CONFIG_ASHIFT, 12);
	fnvlist_add_string(root, ZPOOL_CONFIG_TYPE, VDEV_TYPE_ROOT);
	must(nvlist_add_nvlist_array(root, ZPOOL_CONFIG_CHILDREN, (void *)children, 1), "vdev tree");
	return (root);
}

static void
change(spa_t *spa, const char *name, unsigned round)
{
	fs_t fs;

	fs_open(&fs, name, B_FALSE);
	change_fs(&fs, round);
	fs_close(&fs);
	pool_sync(spa);
}

/* Moves the pool to FILE.2 by removing FILE, in pieces that blocks do not fit into, and then frees some of it. */
void
remove_first(spa_t *spa, const char *name, const char *path)
{
	uint64_t guid = spa->spa_root_vdev->vdev_child[0]->vdev_guid;

	zfs_remove_max_segment = 20 << 10;
#if OPENZFS == 201
	must(spa_vdev_add(spa, second_file(path)), "add %s.2", path);
#else
	must(spa_vdev_add(spa, second_file(path), B_FALSE), "add %s.2", path);
#endif
	must(spa_vdev_remove(spa, guid, B_FALSE), "remove %s", path);
	while (spa->spa_vdev_removal != NULL)
		txg_wait_synced(spa_get_dsl(spa), 0);
	change(spa, name, 1);
}

/* Begins to replace FILE by FILE.2, which gets what is new but nothing of what there was. */
void
replace_first(spa_t *spa, const char *name, const char *path)
{
	uint64_t guid = spa->spa_root_vdev->vdev_child[0]->vdev_guid;

	zfs_scan_suspend_progress = 1;
	must(spa_vdev_attach(spa, guid, second_file(path), B_TRUE, B_FALSE), "replace %s", path);
	change(spa, name, 1);
}
