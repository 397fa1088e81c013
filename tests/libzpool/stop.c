/* What a machine that stopped leaves behind: streams received in half, an intent log that nothing replayed. */
#include "judge.h"
#include <sys/dmu_recv.h>
#include <sys/dmu_send.h>
#include <sys/zfs_file.h>
#include <sys/zil.h>
#include <sys/zil_impl.h>
#include <fcntl.h>

static int
to_file(objset_t *os, void *buf, int len, void *arg)
{
	(void) os;
	return (fwrite(buf, len, 1, arg) == 1 ? 0 : EIO);
}

/* Sends a snapshot, all of it or what changed since `from`, to a file. */
static void
send_to(const char *path, const char *snap, const char *from)
{
	FILE *file = fopen(path, "w");
	dmu_send_outparams_t out = { .dso_outfunc = to_file, .dso_arg = file };
	offset_t at = 0;

	if (file == NULL)
		fail("%s: %s", path, strerror(errno));
	must(dmu_send(snap, from, B_TRUE, B_TRUE, B_TRUE, B_FALSE, B_FALSE, 0, 0, NULL, -1, &at, &out), "send %s", snap);
	if (fclose(file) != 0)
		fail("%s: %s", path, strerror(errno));
}

/* Receives a stream, of which all but the first half is cut off if it is to be interrupted. */
static void
receive_from(const char *path, const char *to, const char *snap, boolean_t interrupted)
{
	char dataset[ZFS_MAX_DATASET_NAME_LEN], name[ZFS_MAX_DATASET_NAME_LEN];
	dmu_replay_record_t begin;
	dmu_recv_cookie_t cookie;
	zfs_file_t *file;
	struct stat st;
	offset_t at = sizeof (begin);
	int error;

	snprintf(dataset, sizeof (dataset), "%s", to);
	snprintf(name, sizeof (name), "%s", snap);
	if (stat(path, &st) != 0 || (interrupted && truncate(path, st.st_size / 2) != 0))
		fail("%s: %s", path, strerror(errno));
	must(zfs_file_open(path, O_RDONLY, 0, &file), "open %s", path);
	must(zfs_file_read(file, &begin, sizeof (begin), NULL), "read %s", path);
#if OPENZFS == 201
	error = dmu_recv_begin(dataset, name, &begin, B_TRUE, B_TRUE, NULL, NULL, NULL, &cookie, file, &at);
#else
	error = dmu_recv_begin(dataset, name, &begin, B_TRUE, B_FALSE, B_TRUE, NULL, NULL, NULL, &cookie, file, &at);
#endif
	must(error, "begin to receive %s", to);
	error = dmu_recv_stream(&cookie, &at);
	if ((error != 0) != interrupted)
		fail("receive %s: %s", to, strerror(error));
	if (!interrupted)
		must(dmu_recv_end(&cookie, NULL), "end of receiving %s", to);
	zfs_file_close(file);
}

/* Streams of three snapshots to PATH.0, PATH.1 and PATH.2, the second and third of changes; prints the files of the last. */
void
send_snapshots(const char *name, const char *path)
{
	char from[ZFS_MAX_DATASET_NAME_LEN] = "", snap[ZFS_MAX_DATASET_NAME_LEN], to[MAXPATHLEN];
	fs_t fs;

	for (unsigned i = 0; i < 3; i++) {
		if (i > 0) {
			fs_open(&fs, name, B_FALSE);
			change_fs(&fs, i);
			fs_close(&fs);
		}
		shape_files(name, i);
		snprintf(snap, sizeof (snap), "sent-%u", i);
		must(dmu_objset_snapshot_one(name, snap), "snapshot %s@%s", name, snap);
		snprintf(snap, sizeof (snap), "%s@sent-%u", name, i);
		snprintf(to, sizeof (to), "%s.%u", path, i);
		send_to(to, snap, i > 0 ? from : NULL);
		strcpy(from, snap);
	}
	show_contents(snap);
}

static void
show_token(spa_t *spa, const char *name)
{
	dsl_pool_t *dp = spa_get_dsl(spa);
	dsl_dataset_t *ds;
	char *token;

	dsl_pool_config_enter(dp, FTAG);
	must(dsl_dataset_hold(dp, name, FTAG, &ds), "hold %s", name);
#if OPENZFS == 201
	token = get_receive_resume_stats_impl(ds);
#else
	token = get_receive_resume_token(ds);
#endif
	printf("%s\t%s\n", name, token);
	dsl_dataset_rele(ds, FTAG);
	dsl_pool_config_exit(dp, FTAG);
}

/* Half a stream into POOL/judge-full, half the changes after a whole one into POOL/judge-changed. */
void
interrupt_receiving(spa_t *spa, const char *pool, const char *name)
{
	char a[ZFS_MAX_DATASET_NAME_LEN], b[ZFS_MAX_DATASET_NAME_LEN], to[ZFS_MAX_DATASET_NAME_LEN];
	char path[] = "/tmp/judge-stream-XXXXXX";
	int fd = mkstemp(path);
	fs_t fs;

	if (fd < 0 || close(fd) != 0)
		fail("%s: %s", path, strerror(errno));
	snprintf(a, sizeof (a), "%s@judge-a", name);
	snprintf(b, sizeof (b), "%s@judge-b", name);
	must(dmu_objset_snapshot_one(name, "judge-a"), "snapshot %s", a);
	fs_open(&fs, name, B_FALSE);
	change_fs(&fs, 1);
	fs_close(&fs);
	pool_sync(spa);
	must(dmu_objset_snapshot_one(name, "judge-b"), "snapshot %s", b);
	snprintf(to, sizeof (to), "%s/judge-full", pool);
	send_to(path, a, NULL);
	receive_from(path, to, "judge-a", B_TRUE);
	show_token(spa, to);
	snprintf(to, sizeof (to), "%s/judge-changed", pool);
	send_to(path, a, NULL);
	receive_from(path, to, "judge-a", B_FALSE);
	send_to(path, b, a);
	receive_from(path, to, "judge-b", B_TRUE);
	snprintf(to, sizeof (to), "%s/judge-changed/%%recv", pool);
	show_token(spa, to);
	unlink(path);
}

/* A write of `length` bytes that is in the intent log as well. */
static void
logged_write(fs_t *fs, zilog_t *zilog, uint64_t object, uint64_t offset, uint64_t length)
{
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	char *bytes = calloc(1, length);
	lr_write_t *record;
	itx_t *itx;

	memset(bytes, 'z', length);
	dmu_tx_hold_write(tx, object, offset, length);
	must(dmu_tx_assign(tx, TXG_WAIT), "%s: transaction", fs->name);
	dmu_write(fs->os, object, offset, length, bytes, tx);
	itx = zil_itx_create(TX_WRITE, sizeof (*record) + length);
	record = (lr_write_t *)&itx->itx_lr;
	record->lr_foid = object;
	record->lr_offset = offset;
	record->lr_length = length;
	record->lr_blkoff = 0;
	BP_ZERO(&record->lr_blkptr);
	memcpy(record + 1, bytes, length);
	itx->itx_wr_state = WR_COPIED;
	itx->itx_sync = B_TRUE;
	zil_itx_assign(zilog, itx, tx);
	dmu_tx_commit(tx);
	free(bytes);
}

/* Ends the process while the intent log has three records that are in no transaction group yet. */
void
stop_with_log(spa_t *spa, const char *name)
{
	zilog_t *zilog;
	uint64_t file;
	fs_t fs;

	fs_open(&fs, name, B_FALSE);
	file = fs_create(&fs, fs.root, "judge-logged", S_IFREG | 0644, 0, 0);
	fs_write(&fs, file, 0, 10000, 1);
#if OPENZFS == 201
	zilog = zil_open(fs.os, NULL);
#else
	zilog = zil_open(fs.os, NULL, NULL);
#endif
	/* The first begins the log, for which a transaction group is synced, itself included. */
	logged_write(&fs, zilog, file, 0, 1000);
	zil_commit(zilog, 0);
	pool_sync(spa);
	for (unsigned i = 0; i < 3; i++)
		logged_write(&fs, zilog, file, 1000 * i, 3000);
	zil_commit(zilog, 0);
	printf("%s\n", name);
	fflush(stdout);
	_exit(0);
}
