/* What the parts of the judge share: failing with words, a ZPL file system opened without a kernel, the pool. */
#ifndef JUDGE_H
#define JUDGE_H

#include <sys/zfs_context.h>
#include <sys/spa.h>
#include <sys/spa_impl.h>
#include <sys/dmu.h>
#include <sys/dmu_objset.h>
#include <sys/dmu_tx.h>
#include <sys/dnode.h>
#include <sys/dsl_dataset.h>
#include <sys/dsl_destroy.h>
#include <sys/dsl_dir.h>
#include <sys/dsl_pool.h>
#include <sys/dsl_prop.h>
#include <sys/dsl_scan.h>
#include <sys/fs/zfs.h>
#include <sys/sa.h>
#include <sys/sa_impl.h>
#include <sys/vdev.h>
#include <sys/vdev_impl.h>
#include <sys/zap.h>
#include <sys/zfeature.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>
#include <libnvpair.h>
#include <sys/stat.h>

/* OpenZFS renamed this flag between 2.1 and 2.3. */
#ifndef TXG_WAIT
#define	TXG_WAIT DMU_TX_WAIT
#endif

#define	NAME_ROOM 1152 /* the longest name ("longname" feature) and its end, rounded up */

/* Says what is wrong and ends the process with status 1. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define	must(call, ...) do { \
	int must_error = (call); \
	if (must_error != 0) { \
		fprintf(stderr, "%s: %s: ", #call, strerror(must_error)); \
		fail(__VA_ARGS__); \
	} \
} while (0)

/* pool.c */
spa_t *pool_import(char *name, const char *path);
void pool_export(spa_t *spa);
void pool_sync(spa_t *spa);
void pool_scrub(spa_t *spa);
void pool_grow(spa_t *spa, const char *path);
void pool_upgrade(spa_t *spa);

/* zpl.c: a file system as the ZPL sees it. */
typedef struct {
	char name[ZFS_MAX_DATASET_NAME_LEN];
	objset_t *os;
	sa_attr_type_t *attr;
	uint64_t root;
	uint64_t unlinked;
	boolean_t readonly;
} fs_t;

typedef struct {
	uint64_t mode, size, gen, uid, gid, parent, flags, links, xattr, projid;
	uint64_t mtime[2];
	boolean_t rdev; /* whether there is a device number, which may be 0 */
	int dxattr;  /* bytes of ZPL_DXATTR, 0 when there is none */
	int symlink; /* bytes of ZPL_SYMLINK, 0 when there is none */
} znode_attrs_t;

void fs_register(void);
void fs_format(const char *name);
void fs_open(fs_t *fs, const char *name, boolean_t readonly);
void fs_close(fs_t *fs);
void fs_attrs(fs_t *fs, uint64_t object, znode_attrs_t *attrs);
uint64_t fs_create(fs_t *fs, uint64_t parent, const char *name, uint64_t mode, uint64_t uid, uint64_t gid);
void fs_link(fs_t *fs, uint64_t parent, const char *name, uint64_t object);
void fs_unlink(fs_t *fs, uint64_t parent, const char *name);
void fs_rename(fs_t *fs, uint64_t parent, const char *from, const char *to);
void fs_write(fs_t *fs, uint64_t object, uint64_t offset, uint64_t length, unsigned seed);
void fs_truncate(fs_t *fs, uint64_t object, uint64_t size);
void fs_chown(fs_t *fs, uint64_t object, uint64_t uid, uint64_t gid);
void fs_setxattr(fs_t *fs, uint64_t object, const char *name, size_t length);
void fs_readdir(fs_t *fs, uint64_t object, void (*entry)(const char *, uint64_t, void *), void *arg);

/* walk.c: the whole file system, checked; the entries are kept for the changes that follow. */
typedef struct {
	uint64_t parent, object;
	char *name;
	znode_attrs_t attrs;
} entry_t;

typedef struct {
	entry_t *entries;
	size_t count, room;
	uint64_t bytes; /* of file data, holes not counted */
} walk_t;

void walk(fs_t *fs, walk_t *seen);
void walk_free(walk_t *seen);

/* account.c */
void account_check(fs_t *fs, boolean_t has_files);

/* change.c */
void change_fs(fs_t *fs, unsigned round);

/* vdevs.c */
void remove_first(spa_t *spa, const char *name, const char *path);
void replace_first(spa_t *spa, const char *name, const char *path);

/* shapes.c */
nvlist_t *shape_vdevs(const char *shape, const char *path);
void shape_files(const char *name, unsigned seed);
void show_contents(const char *name);

/* stop.c */
void send_snapshots(const char *name, const char *path);
void interrupt_receiving(spa_t *spa, const char *pool, const char *name);
void stop_with_log(spa_t *spa, const char *name) __attribute__((noreturn));

#endif
