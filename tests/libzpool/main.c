/*
 * A pool in a file, judged by OpenZFS itself: Debian's libzpool is the DMU, the DSL and the SPA with every kernel
 * assertion on, in user land. Needs no root, no module, no /dev/zfs. Test only: never part of the product.
 *
 *   judge make    POOL FILE   a pool with every feature, datasets and files, to try the judge itself on
 *   judge raidz1, raidz2, raidz3, classes POOL FILE   the same on FILE, FILE.2 and so on, print what is in its files:
 *                             dataset, path, size, digest; of "classes" an intent log is left
 *   judge check   POOL FILE   import read-write, scrub, read everything, compare accounting, export
 *   judge show    POOL FILE   print the local properties: dataset, property, value
 *   judge change  POOL FILE   change files, properties, snapshots, clones in every dataset
 *   judge destroy POOL FILE   destroy every snapshot and dataset below the root
 *   judge grow    POOL FILE   make the file larger, expand the pool
 *   judge upgrade POOL FILE   enable every feature, new pool guid
 *   judge interrupt POOL FILE receive streams and break off, print the tokens to go on with: dataset, token
 *   judge send    POOL FILE   change, write streams of all snapshots of a file system to FILE.0 and so on, print its files
 *   judge stop    POOL FILE   stop while three writes are in an intent log only, print its dataset
 *   judge remove  POOL FILE   move to FILE.2 by removing the first vdev
 *   judge replace POOL FILE   begin to replace FILE by FILE.2, and stop
 *
 * All but `show` and `make` change FILE. Exit status 0 when nothing was wrong.
 */
#include "judge.h"
#include <stdarg.h>
#include <sys/resource.h>

#define	MAX_DATASETS 4096

static char *datasets[MAX_DATASETS];
static int dataset_count;

void
fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "judge: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	_exit(1);
}

static int
remember(const char *name, void *arg)
{
	(void) arg;
	if (dataset_count == MAX_DATASETS)
		fail("more than %d datasets and snapshots", MAX_DATASETS);
	datasets[dataset_count++] = strdup(name);
	return (0);
}

static int
by_name(const void *a, const void *b)
{
	return (strcmp(*(char *const *)a, *(char *const *)b));
}

static void
list_datasets(const char *pool)
{
	dataset_count = 0;
	must(dmu_objset_find((char *)pool, remember, NULL, DS_FIND_CHILDREN | DS_FIND_SNAPSHOTS), "datasets of %s", pool);
	qsort(datasets, dataset_count, sizeof (char *), by_name);
}

static boolean_t
is_snapshot(const char *name)
{
	return (strchr(name, '@') != NULL);
}

/* A pool created by libzpool has no file system inside its root dataset. */
static boolean_t
is_formatted(const char *name)
{
	objset_t *os;
	uint64_t version;
	int error;

	must(dmu_objset_hold(name, "formatted", &os), "open %s", name);
	error = dmu_objset_type(os) == DMU_OST_ZFS ?
	    zap_lookup(os, MASTER_NODE_OBJ, ZPL_VERSION_STR, 8, 1, &version) : ENOENT;
	dmu_objset_rele(os, "formatted");
	return (error == 0);
}

static void
check_datasets(const char *pool, boolean_t expect_all)
{
	int read = 0;

	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++) {
		walk_t all;
		fs_t fs;

		if (!is_formatted(datasets[i])) {
			if (expect_all)
				fail("%s is no ZFS file system", datasets[i]);
			continue;
		}
		fs_open(&fs, datasets[i], B_TRUE);
		walk(&fs, &all);
		account_check(&fs, all.count > 0);
		printf("read: %s: %zu entries, %llu bytes\n", fs.name, all.count, (u_longlong_t)all.bytes);
		walk_free(&all);
		fs_close(&fs);
		read++;
	}
	if (read == 0)
		fail("%s holds no file system at all", pool);
}

static void
set_properties(const char *name)
{
	uint64_t value;
	char text[ZFS_MAX_DATASET_NAME_LEN], where[ZFS_MAX_DATASET_NAME_LEN];

	must(dsl_prop_set_int(name, "compression", ZPROP_SRC_LOCAL, ZIO_COMPRESS_GZIP_1), "%s: set compression", name);
	must(dsl_prop_set_int(name, "recordsize", ZPROP_SRC_LOCAL, 65536), "%s: set recordsize", name);
	must(dsl_prop_set_string(name, "org.kldload:judge", ZPROP_SRC_LOCAL, "was here"), "%s: set a user property", name);
	must(dsl_dir_set_quota(name, ZPROP_SRC_LOCAL, 1ULL << 50), "%s: set quota", name);
	must(dsl_prop_get(name, "compression", 8, 1, &value, where), "%s: get compression", name);
	must(dsl_prop_get(name, "org.kldload:judge", 1, sizeof (text), text, where), "%s: get a user property", name);
	if (value != ZIO_COMPRESS_GZIP_1 || strcmp(text, "was here") != 0 || strcmp(where, name) != 0)
		fail("%s: properties do not read back", name);
}

static void
snapshot(const char *name, const char *snap)
{
	must(dmu_objset_snapshot_one(name, snap), "snapshot %s@%s", name, snap);
}

static void
destroy_snapshot(const char *name)
{
	must(dsl_destroy_snapshot(name, B_FALSE), "destroy %s", name);
}

static void
change_dataset(const char *name, unsigned round)
{
	fs_t fs;

	fs_open(&fs, name, B_FALSE);
	change_fs(&fs, round);
	txg_wait_synced(dmu_objset_pool(fs.os), 0);
	fs_close(&fs);
}

static void
clone_and_promote(const char *pool, const char *name, unsigned number)
{
	char clone[ZFS_MAX_DATASET_NAME_LEN], origin[ZFS_MAX_DATASET_NAME_LEN], renamed[ZFS_MAX_DATASET_NAME_LEN];
	char conflict[ZFS_MAX_DATASET_NAME_LEN];

	snprintf(clone, sizeof (clone), "%s/judge-clone-%u", pool, number);
	snprintf(renamed, sizeof (renamed), "%s/judge-renamed-%u", pool, number);
	snprintf(origin, sizeof (origin), "%s@judge-b", name);
	must(dmu_objset_clone(clone, origin), "clone %s", origin);
	change_dataset(clone, 7);
	must(dsl_dataset_promote(clone, conflict), "promote %s", clone);
	change_dataset(clone, 8);
	must(dsl_dir_rename(clone, renamed), "rename %s", clone);
	must(dsl_dataset_promote(name, conflict), "promote %s", name);
	if (number % 2 == 0)
		must(dsl_destroy_head(renamed), "destroy %s", renamed);
}

static void
change_pool(spa_t *spa, const char *pool)
{
	static char *heads[MAX_DATASETS], *old_snapshots[MAX_DATASETS];
	int head_count = 0, old_count = 0;
	char name[ZFS_MAX_DATASET_NAME_LEN];

	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++)
		if (is_snapshot(datasets[i]))
			old_snapshots[old_count++] = datasets[i];
		else if (is_formatted(datasets[i]))
			heads[head_count++] = datasets[i];
	for (int i = 0; i < head_count; i++) {
		snapshot(heads[i], "judge-a");
		change_dataset(heads[i], 1);
		set_properties(heads[i]);
		snapshot(heads[i], "judge-b");
		change_dataset(heads[i], 2);
	}
	pool_sync(spa);
	check_datasets(pool, B_FALSE);
	for (int i = 0; i < head_count; i++) {
		if (i < 3)
			clone_and_promote(pool, heads[i], i);
		if (i % 3 == 1) {
			must(dsl_dataset_rollback(heads[i], NULL, NULL, fnvlist_alloc()), "rollback %s", heads[i]);
			change_dataset(heads[i], 3);
		}
		snprintf(name, sizeof (name), "%s@judge-a", heads[i]);
		destroy_snapshot(name);
	}
	for (int i = 0; i < old_count; i += 2) {
		int error = dsl_destroy_snapshot(old_snapshots[i], B_FALSE);

		if (error != 0 && error != EEXIST) /* EEXIST: it came with a clone */
			fail("destroy %s: %s", old_snapshots[i], strerror(error));
	}
	snprintf(name, sizeof (name), "%s/judge-new", pool);
	must(dmu_objset_create(name, DMU_OST_ZFS, 0, NULL, NULL, NULL), "create %s", name);
	fs_format(name);
	change_dataset(name, 4);
	pool_sync(spa);
	check_datasets(pool, B_FALSE);
	printf("change: %d file systems, %d snapshots of before\n", head_count, old_count);
}

static void
destroy_all(spa_t *spa, const char *pool)
{
	int left, done;

	/* Clones go before the snapshot they come from, snapshots and children before their dataset. */
	do {
		left = done = 0;
		list_datasets(pool);
		for (int i = dataset_count - 1; i >= 0; i--) {
			int error;

			if (strcmp(datasets[i], pool) == 0)
				continue;
			error = is_snapshot(datasets[i]) ? dsl_destroy_snapshot(datasets[i], B_FALSE) :
			    dsl_destroy_head(datasets[i]);
			if (error == 0)
				done++;
			else if (error == EEXIST || error == EBUSY)
				left++;
			else
				fail("destroy %s: %s", datasets[i], strerror(error));
		}
	} while (left > 0 && done > 0);
	pool_sync(spa);
	list_datasets(pool);
	if (dataset_count != 1)
		fail("%d datasets are left", dataset_count);
	printf("destroy: only %s is left, %llu bytes\n", pool,
	    (u_longlong_t)dsl_dir_phys(spa_get_dsl(spa)->dp_root_dir)->dd_used_bytes);
}

/* The first file system that has a parent. */
static const char *
some_filesystem(const char *pool)
{
	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++)
		if (strchr(datasets[i], '/') != NULL && !is_snapshot(datasets[i]) && is_formatted(datasets[i]))
			return (datasets[i]);
	fail("%s has no file system below its root", pool);
}

static void
show_properties(const char *pool)
{
	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++) {
		nvlist_t *all;
		nvpair_t *pair = NULL;
		objset_t *os;

		must(dmu_objset_hold(datasets[i], "show", &os), "open %s", datasets[i]);
		must(dsl_prop_get_all(os, &all), "properties of %s", datasets[i]);
		dmu_objset_rele(os, "show");
		while ((pair = nvlist_next_nvpair(all, pair)) != NULL) {
			nvlist_t *property = fnvpair_value_nvlist(pair);
			const char *source = "";
			nvpair_t *value;

			if (nvlist_exists(property, ZPROP_SOURCE))
				source = fnvlist_lookup_string(property, ZPROP_SOURCE);
			if (strcmp(source, datasets[i]) != 0)
				continue;
			must(nvlist_lookup_nvpair(property, ZPROP_VALUE, &value), "value of %s", nvpair_name(pair));
			if (nvpair_type(value) == DATA_TYPE_STRING)
				printf("%s\t%s\t%s\n", datasets[i], nvpair_name(pair), fnvpair_value_string(value));
			else
				printf("%s\t%s\t%llu\n", datasets[i], nvpair_name(pair),
				    (u_longlong_t)fnvpair_value_uint64(value));
		}
		nvlist_free(all);
	}
}

/* Creates the pool on the vdevs of `shape`, which may be none, and puts everything into it. */
static spa_t *
make_pool(const char *pool, const char *path, const char *shape)
{
	nvlist_t *features = fnvlist_alloc();
	const char *names[] = { "fs", "fs/child", "other" };
	char name[ZFS_MAX_DATASET_NAME_LEN];
	spa_t *spa;

	for (int i = 0; i < SPA_FEATURES; i++) {
		snprintf(name, sizeof (name), "feature@%s", spa_feature_table[i].fi_uname);
		fnvlist_add_uint64(features, name, 0);
	}
	must(spa_create(pool, shape_vdevs(shape, path), features, NULL, NULL), "create %s", pool);
	must(spa_open(pool, &spa, "pool_import"), "open %s", pool);
	fs_format(pool);
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof (name), "%s/%s", pool, names[i]);
		must(dmu_objset_create(name, DMU_OST_ZFS, 0, NULL, NULL, NULL), "create %s", name);
		fs_format(name);
		must(dsl_prop_set_int(name, "compression", ZPROP_SRC_LOCAL, ZIO_COMPRESS_LZ4), "%s: compression", name);
		change_dataset(name, 5);
		shape_files(name, 5);
		snapshot(name, "install");
	}
	return (spa);
}

/* Other properties and more files in what `make_pool` made; prints all files. */
static void
fill_shape(const char *pool)
{
	/* Each file system has a property of its own; the first is inherited by the second. */
	static const struct { const char *name, *property; uint64_t value; } set[] = {
		{ "fs", "special_small_blocks", 8192 },
		{ "fs", "copies", 2 },
		{ "fs/child", "checksum", ZIO_CHECKSUM_SKEIN },
		{ "fs/child", "compression", ZIO_COMPRESS_GZIP_1 },
		{ "other", "checksum", ZIO_CHECKSUM_EDONR },
		{ "other", "compression", ZIO_COMPRESS_ZLE },
	};
	char name[ZFS_MAX_DATASET_NAME_LEN];

	for (size_t i = 0; i < sizeof (set) / sizeof (set[0]); i++) {
		snprintf(name, sizeof (name), "%s/%s", pool, set[i].name);
		must(dsl_prop_set_int(name, set[i].property, ZPROP_SRC_LOCAL, set[i].value), "%s: %s", name,
		    set[i].property);
	}
	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++)
		if (!is_snapshot(datasets[i]) && strcmp(datasets[i], pool) != 0)
			shape_files(datasets[i], 10 + i);
	list_datasets(pool);
	for (int i = 0; i < dataset_count; i++)
		show_contents(datasets[i]);
}

/* Fills 2 GiB with files that compress badly and deletes them again: what is left is free space full of them. */
static void
fill_and_delete(spa_t *spa, const char *pool)
{
	char name[ZFS_MAX_DATASET_NAME_LEN], file[32];
	fs_t fs;

	snprintf(name, sizeof (name), "%s/judge-fill", pool);
	must(dmu_objset_create(name, DMU_OST_ZFS, 0, NULL, NULL, NULL), "create %s", name);
	fs_format(name);
	must(dsl_prop_set_int(name, "compression", ZPROP_SRC_LOCAL, ZIO_COMPRESS_OFF), "%s: compression", name);
	fs_open(&fs, name, B_FALSE);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(file, sizeof (file), "fill-%u", i);
		fs_write(&fs, fs_create(&fs, fs.root, file, S_IFREG | 0644, 0, 0), 0, 32 << 20, i);
	}
	pool_sync(spa);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(file, sizeof (file), "fill-%u", i);
		fs_unlink(&fs, fs.root, file);
	}
	fs_close(&fs);
	pool_sync(spa);
}

int
main(int argc, char **argv)
{
	struct rlimit none = { 0, 0 };
	const char *verb;
	char *pool, *path;
	boolean_t only_look;
	spa_t *spa;

	if (argc != 4) {
		fprintf(stderr, "usage: judge VERB POOL FILE; main.c has the verbs\n");
		return (2);
	}
	verb = argv[1];
	pool = argv[2];
	path = realpath(argv[3], NULL);
	if (path == NULL)
		fail("%s: %s", argv[3], strerror(errno));
	setrlimit(RLIMIT_CORE, &none); /* a failed assertion aborts; its message is what is wanted */
	only_look = strcmp(verb, "show") == 0;
	kernel_init(only_look ? SPA_MODE_READ : SPA_MODE_READ | SPA_MODE_WRITE);
	fs_register();
	if (strcmp(verb, "make") == 0) {
		pool_export(make_pool(pool, path, ""));
		kernel_fini();
		return (0);
	}
	if (strncmp(verb, "raidz", 5) == 0 || strcmp(verb, "classes") == 0) {
		spa = make_pool(pool, path, verb);
		fill_shape(pool);
		pool_sync(spa);
		if (strcmp(verb, "classes") == 0)
			stop_with_log(spa, some_filesystem(pool));
		pool_export(spa);
		fflush(stdout);
		_exit(0); /* what was read ahead may still be under way */
	}
	spa = pool_import(pool, path);
	if (strcmp(verb, "check") == 0) {
		pool_scrub(spa);
		check_datasets(pool, B_FALSE);
	} else if (only_look) {
		show_properties(pool);
		fflush(stdout);
		_exit(0); /* a pool opened to be read has no thread that an export could wait for */
	} else if (strcmp(verb, "change") == 0) {
		change_pool(spa, pool);
		pool_scrub(spa);
	} else if (strcmp(verb, "destroy") == 0) {
		destroy_all(spa, pool);
		pool_scrub(spa);
	} else if (strcmp(verb, "fill") == 0) {
		fill_and_delete(spa, pool);
	} else if (strcmp(verb, "grow") == 0) {
		pool_grow(spa, path);
		pool_scrub(spa);
	} else if (strcmp(verb, "upgrade") == 0) {
		pool_upgrade(spa);
		pool_scrub(spa);
	} else if (strcmp(verb, "interrupt") == 0) {
		interrupt_receiving(spa, pool, some_filesystem(pool));
	} else if (strcmp(verb, "remove") == 0) {
		remove_first(spa, some_filesystem(pool), path);
	} else if (strcmp(verb, "replace") == 0) {
		replace_first(spa, some_filesystem(pool), path);
	} else if (strcmp(verb, "send") == 0) {
		send_snapshots(some_filesystem(pool), path);
	} else if (strcmp(verb, "stop") == 0) {
		stop_with_log(spa, some_filesystem(pool));
	} else {
		fail("unknown verb %s", verb);
	}
	pool_export(spa);
	kernel_fini();
	return (0);
}
