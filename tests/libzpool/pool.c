/* The pool as a whole: import from one file without a cache or a scan, scrub, grow, upgrade, export. */
#include "judge.h"

#define	LABEL_NVLIST_OFFSET (16 << 10)
#define	LABEL_NVLIST_SIZE (112 << 10)

/* The configuration that `zpool import` would put together from the first label of a pool of one vdev. */
static nvlist_t *
label_config(const char *name, const char *path)
{
	static char area[LABEL_NVLIST_SIZE];
	nvlist_t *label, *leaf, *root, *children[1], *config;
	FILE *file = fopen(path, "r");

	if (file == NULL)
		fail("%s: %s", path, strerror(errno));
	if (fseek(file, LABEL_NVLIST_OFFSET, SEEK_SET) != 0 || fread(area, sizeof (area), 1, file) != 1)
		fail("%s: too short for a vdev label", path);
	fclose(file);
	must(nvlist_unpack(area, sizeof (area), &label, 0), "%s: nvlist of label 0", path);
	if (strcmp(fnvlist_lookup_string(label, ZPOOL_CONFIG_POOL_NAME), name) != 0)
		fail("%s: the label names pool %s", path, fnvlist_lookup_string(label, ZPOOL_CONFIG_POOL_NAME));
	if (fnvlist_lookup_uint64(label, ZPOOL_CONFIG_POOL_STATE) != POOL_STATE_EXPORTED)
		fail("%s: the pool was not exported: a kernel would ask for -f", path);
	if (nvlist_exists(label, ZPOOL_CONFIG_HOSTID))
		fail("%s: the label carries a hostid", path);

	leaf = fnvlist_dup(fnvlist_lookup_nvlist(label, ZPOOL_CONFIG_VDEV_TREE));
	fnvlist_add_string(leaf, ZPOOL_CONFIG_PATH, path);
	children[0] = leaf;
	root = fnvlist_alloc();
	fnvlist_add_string(root, ZPOOL_CONFIG_TYPE, VDEV_TYPE_ROOT);
	fnvlist_add_uint64(root, ZPOOL_CONFIG_ID, 0);
	fnvlist_add_uint64(root, ZPOOL_CONFIG_GUID, fnvlist_lookup_uint64(label, ZPOOL_CONFIG_POOL_GUID));
	must(nvlist_add_nvlist_array(root, ZPOOL_CONFIG_CHILDREN, (void *)children, 1), "vdev tree");
	config = fnvlist_dup(label);
	fnvlist_add_nvlist(config, ZPOOL_CONFIG_VDEV_TREE, root);
	return (config);
}

static void
say_why(void)
{
#if OPENZFS == 201
	zfs_dbgmsg_print("import");
#else
	zfs_dbgmsg_print(STDERR_FILENO, "import");
#endif
}

spa_t *
pool_import(char *name, const char *path)
{
	spa_t *spa;
	int error = spa_import(name, label_config(name, path), NULL, ZFS_IMPORT_NORMAL);

	if (error != 0) {
		say_why();
		fail("import of %s read-write: %s", name, strerror(error));
	}
	must(spa_open(name, &spa, "pool_import"), "open %s", name);
	return (spa);
}

void
pool_sync(spa_t *spa)
{
	dsl_pool_t *dp = spa_get_dsl(spa);

	txg_wait_synced(dp, 0);
	/* Destroyed datasets are freed in the background; the judgement that follows wants the end of it. */
	for (int i = 0; i < 1000 && dsl_dir_phys(dp->dp_free_dir)->dd_used_bytes != 0; i++)
		txg_wait_synced(dp, 0);
	if (dsl_dir_phys(dp->dp_free_dir)->dd_used_bytes != 0)
		fail("%llu bytes of destroyed datasets are never freed",
		    (u_longlong_t)dsl_dir_phys(dp->dp_free_dir)->dd_used_bytes);
	/* Frees are deferred by up to TXG_DEFER_SIZE groups. */
	for (int i = 0; i < TXG_CONCURRENT_STATES + TXG_DEFER_SIZE; i++)
		txg_wait_synced(dp, 0);
}

static void
vdev_errors(vdev_t *vd)
{
	vdev_stat_t stat = { 0 };

	vdev_get_stats(vd, &stat);
	if (stat.vs_state != VDEV_STATE_HEALTHY)
		fail("vdev %llu is in state %llu", (u_longlong_t)vd->vdev_id, (u_longlong_t)stat.vs_state);
	if (stat.vs_read_errors + stat.vs_write_errors + stat.vs_checksum_errors + stat.vs_self_healed != 0)
		fail("vdev %llu: %llu read, %llu write, %llu checksum errors, %llu bytes healed",
		    (u_longlong_t)vd->vdev_id, (u_longlong_t)stat.vs_read_errors, (u_longlong_t)stat.vs_write_errors,
		    (u_longlong_t)stat.vs_checksum_errors, (u_longlong_t)stat.vs_self_healed);
	for (uint64_t i = 0; i < vd->vdev_children; i++)
		vdev_errors(vd->vdev_child[i]);
}

void
pool_scrub(spa_t *spa)
{
	dsl_scan_phys_t *scan = &spa_get_dsl(spa)->dp_scan->scn_phys;

	must(spa_scan(spa, POOL_SCAN_SCRUB), "scrub");
	while (dsl_scan_scrubbing(spa_get_dsl(spa)))
		txg_wait_synced(spa_get_dsl(spa), 0);
	if (scan->scn_state != DSS_FINISHED || scan->scn_errors != 0)
		fail("scrub: state %d, %llu errors", (int)scan->scn_state, (u_longlong_t)scan->scn_errors);
	spa_config_enter(spa, SCL_VDEV, FTAG, RW_READER);
	vdev_errors(spa->spa_root_vdev);
	spa_config_exit(spa, SCL_VDEV, FTAG);
	printf("scrub: %llu bytes, 0 errors\n", (u_longlong_t)scan->scn_examined);
}

void
pool_grow(spa_t *spa, const char *path)
{
	vdev_t *leaf = spa->spa_root_vdev->vdev_child[0];
	uint64_t before = leaf->vdev_asize;
	vdev_state_t state;
	struct stat st;

	if (stat(path, &st) != 0 || truncate(path, st.st_size + st.st_size / 2) != 0)
		fail("%s: %s", path, strerror(errno));
	must(vdev_online(spa, leaf->vdev_guid, ZFS_ONLINE_EXPAND, &state), "online -e");
	pool_sync(spa);
	if (leaf->vdev_asize < before + before / 3)
		fail("the file grew by half, the vdev from %llu to %llu", (u_longlong_t)before,
		    (u_longlong_t)leaf->vdev_asize);
	printf("grow: %llu to %llu bytes\n", (u_longlong_t)before, (u_longlong_t)leaf->vdev_asize);
}

/* What `zpool upgrade` and `zpool reguid` do. */
void
pool_upgrade(spa_t *spa)
{
	nvlist_t *wanted = fnvlist_alloc();
	uint64_t guid = spa_guid(spa);
	char name[MAXPATHLEN];

	for (int i = 0; i < SPA_FEATURES; i++) {
		if (!spa_feature_table[i].fi_zfs_mod_supported)
			continue;
		snprintf(name, sizeof (name), "feature@%s", spa_feature_table[i].fi_uname);
		fnvlist_add_uint64(wanted, name, 0);
	}
	must(spa_prop_set(spa, wanted), "upgrade");
#if OPENZFS == 201
	must(spa_change_guid(spa), "reguid");
#else
	must(spa_change_guid(spa, NULL), "reguid");
#endif
	pool_sync(spa);
	if (spa_guid(spa) == guid)
		fail("reguid left guid %llu", (u_longlong_t)guid);
	printf("upgrade: every feature enabled, new guid\n");
}

void
pool_export(spa_t *spa)
{
	char name[ZFS_MAX_DATASET_NAME_LEN];

	pool_sync(spa);
	snprintf(name, sizeof (name), "%s", spa_name(spa));
	spa_close(spa, "pool_import");
	must(spa_export(name, NULL, B_FALSE, B_FALSE), "export %s", name);
}
