/* A file system driven at the level below the ZPL: what zfs.ko does for open, write, link, unlink, chown and setxattr. */
#include "judge.h"

/* Tells the DMU whom an object belongs to, so that user accounting is live here as it is in the kernel. */
static int
owner_of(dmu_object_type_t bonus_type, const void *data, struct zfs_file_info *info)
{
	const sa_hdr_phys_t *header = data;
	const char *attrs;
	uint64_t flags;

	if (bonus_type != DMU_OT_SA)
		return (ENOENT);
	info->zfi_project = ZFS_DEFAULT_PROJID;
	if (data == NULL)
		return (EEXIST);
	if (header->sa_magic == 0) { /* created in this transaction group and not yet filled in */
		info->zfi_user = info->zfi_group = info->zfi_generation = 0;
		return (0);
	}
	if (header->sa_magic != SA_MAGIC)
		fail("SA header with magic %#x", header->sa_magic);
	attrs = (const char *)data + SA_HDR_SIZE(header);
	info->zfi_user = *(const uint64_t *)(attrs + SA_UID_OFFSET);
	info->zfi_group = *(const uint64_t *)(attrs + SA_GID_OFFSET);
	info->zfi_generation = *(const uint64_t *)(attrs + SA_GEN_OFFSET);
	flags = *(const uint64_t *)(attrs + SA_FLAGS_OFFSET);
	if (flags & ZFS_PROJID)
		info->zfi_project = *(const uint64_t *)(attrs + SA_PROJID_OFFSET);
	return (0);
}

void
fs_register(void)
{
	dmu_objset_register_type(DMU_OST_ZFS, owner_of);
}

void
fs_open(fs_t *fs, const char *name, boolean_t readonly)
{
	uint64_t version, sa;

	memset(fs, 0, sizeof (*fs));
	snprintf(fs->name, sizeof (fs->name), "%s", name);
	fs->readonly = readonly;
	must(dmu_objset_own(name, DMU_OST_ZFS, readonly, B_TRUE, "fs", &fs->os), "open %s", name);
	must(zap_lookup(fs->os, MASTER_NODE_OBJ, ZPL_VERSION_STR, 8, 1, &version), "%s: ZPL version", name);
	if (version != ZPL_VERSION)
		fail("%s: ZPL version %llu", name, (u_longlong_t)version);
	must(zap_lookup(fs->os, MASTER_NODE_OBJ, ZFS_SA_ATTRS, 8, 1, &sa), "%s: SA master node", name);
	must(zap_lookup(fs->os, MASTER_NODE_OBJ, ZFS_ROOT_OBJ, 8, 1, &fs->root), "%s: root directory", name);
	must(zap_lookup(fs->os, MASTER_NODE_OBJ, ZFS_UNLINKED_SET, 8, 1, &fs->unlinked), "%s: delete queue", name);
	must(sa_setup(fs->os, sa, zfs_attr_table, ZPL_END, &fs->attr), "%s: SA registry", name);
}

void
fs_close(fs_t *fs)
{
	sa_tear_down(fs->os);
	dmu_objset_disown(fs->os, B_TRUE, "fs");
}

static sa_handle_t *
handle(fs_t *fs, uint64_t object)
{
	sa_handle_t *sa;

	must(sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &sa), "%s object %llu: system attributes", fs->name,
	    (u_longlong_t)object);
	return (sa);
}

static void
assign(fs_t *fs, dmu_tx_t *tx)
{
	must(dmu_tx_assign(tx, TXG_WAIT), "%s: transaction", fs->name);
}

static uint64_t
optional(fs_t *fs, sa_handle_t *sa, int attr)
{
	uint64_t value = 0;
	int error = sa_lookup(sa, fs->attr[attr], &value, sizeof (value));

	if (error != 0 && error != ENOENT)
		fail("%s: attribute %d: %s", fs->name, attr, strerror(error));
	return (value);
}

void
fs_attrs(fs_t *fs, uint64_t object, znode_attrs_t *a)
{
	sa_handle_t *sa = handle(fs, object);
	sa_bulk_attr_t bulk[16];
	uint64_t times[3][2];
	int n = 0, bytes;

	memset(a, 0, sizeof (*a));
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_MODE], NULL, &a->mode, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_SIZE], NULL, &a->size, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_GEN], NULL, &a->gen, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_UID], NULL, &a->uid, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_GID], NULL, &a->gid, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_PARENT], NULL, &a->parent, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_FLAGS], NULL, &a->flags, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_LINKS], NULL, &a->links, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_MTIME], NULL, a->mtime, 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_ATIME], NULL, times[0], 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_CTIME], NULL, times[1], 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_CRTIME], NULL, times[2], 16);
	must(sa_bulk_lookup(sa, bulk, n), "%s object %llu: an attribute that every file has", fs->name,
	    (u_longlong_t)object);
	a->xattr = optional(fs, sa, ZPL_XATTR);
	a->rdev = sa_size(sa, fs->attr[ZPL_RDEV], &bytes) == 0;
	a->projid = optional(fs, sa, ZPL_PROJID);
	if (sa_size(sa, fs->attr[ZPL_DXATTR], &a->dxattr) != 0)
		a->dxattr = 0;
	if (sa_size(sa, fs->attr[ZPL_SYMLINK], &a->symlink) != 0)
		a->symlink = 0;

	uint64_t aces;
	must(sa_lookup(sa, fs->attr[ZPL_DACL_COUNT], &aces, 8), "%s object %llu: DACL_COUNT", fs->name,
	    (u_longlong_t)object);
	must(sa_size(sa, fs->attr[ZPL_DACL_ACES], &bytes), "%s object %llu: DACL_ACES", fs->name,
	    (u_longlong_t)object);
	if (aces < 3 || (uint64_t)bytes < aces * sizeof (zfs_ace_hdr_t))
		fail("%s object %llu: %llu ACEs in %d bytes", fs->name, (u_longlong_t)object, (u_longlong_t)aces, bytes);
	if (a->dxattr != 0) {
		char *packed = malloc(a->dxattr);
		nvlist_t *list;
		nvpair_t *pair = NULL;

		must(sa_lookup(sa, fs->attr[ZPL_DXATTR], packed, a->dxattr), "%s object %llu: xattrs", fs->name,
		    (u_longlong_t)object);
		must(nvlist_unpack(packed, a->dxattr, &list, 0), "%s object %llu: nvlist of xattrs", fs->name,
		    (u_longlong_t)object);
		while ((pair = nvlist_next_nvpair(list, pair)) != NULL)
			if (nvpair_type(pair) != DATA_TYPE_BYTE_ARRAY)
				fail("%s object %llu: xattr %s has type %d", fs->name, (u_longlong_t)object,
				    nvpair_name(pair), (int)nvpair_type(pair));
		nvlist_free(list);
		free(packed);
	}
	sa_handle_destroy(sa);
}

void
fs_readdir(fs_t *fs, uint64_t object, void (*entry)(const char *, uint64_t, void *), void *arg)
{
	zap_attribute_t *at = calloc(1, sizeof (*at) + NAME_ROOM);
	zap_cursor_t cursor;
	int error;

#if OPENZFS != 201
	at->za_name_len = NAME_ROOM;
#endif
	for (zap_cursor_init(&cursor, fs->os, object); (error = zap_cursor_retrieve(&cursor, at)) == 0;
	    zap_cursor_advance(&cursor)) {
		if (at->za_integer_length != 8 || at->za_num_integers != 1)
			fail("%s directory %llu: entry %s has %llu integers of %d bytes", fs->name, (u_longlong_t)object,
			    at->za_name, (u_longlong_t)at->za_num_integers, at->za_integer_length);
		entry(at->za_name, at->za_first_integer, arg);
	}
	zap_cursor_fini(&cursor);
	free(at);
	if (error != ENOENT)
		fail("%s directory %llu: %s", fs->name, (u_longlong_t)object, strerror(error));
}

static void
fill_znode(fs_t *fs, uint64_t object, uint64_t parent, uint64_t mode, uint64_t uid, uint64_t gid, dmu_tx_t *tx)
{
	sa_handle_t *sa = handle(fs, object);
	boolean_t directory = S_ISDIR(mode);
	uint64_t size = directory ? 2 : 0, links = directory ? 2 : 1, gen = dmu_tx_get_txg(tx), aces = 3;
	uint64_t flags = ZFS_ARCHIVE | ZFS_AV_MODIFIED | ZFS_ACL_TRIVIAL | (directory ? ZFS_NO_EXECS_DENIED : 0);
	uint64_t time[2] = { 1700000000, 123456789 };
	zfs_ace_hdr_t acl[3];
	sa_bulk_attr_t bulk[16];
	int n = 0;

	uint16_t who[3] = { ACE_OWNER, ACE_GROUP | ACE_IDENTIFIER_GROUP, ACE_EVERYONE };
	for (int i = 0; i < 3; i++)
		acl[i] = (zfs_ace_hdr_t){ .z_type = ACE_ACCESS_ALLOWED_ACE_TYPE, .z_flags = who[i],
		    .z_access_mask = ACE_READ_DATA | ACE_READ_ACL };
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_MODE], NULL, &mode, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_SIZE], NULL, &size, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_GEN], NULL, &gen, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_UID], NULL, &uid, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_GID], NULL, &gid, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_PARENT], NULL, &parent, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_FLAGS], NULL, &flags, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_ATIME], NULL, time, 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_MTIME], NULL, time, 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_CTIME], NULL, time, 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_CRTIME], NULL, time, 16);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_LINKS], NULL, &links, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_DACL_COUNT], NULL, &aces, 8);
	SA_ADD_BULK_ATTR(bulk, n, fs->attr[ZPL_DACL_ACES], NULL, acl, sizeof (acl));
	must(sa_replace_all_by_template(sa, bulk, n, tx), "%s object %llu: attributes", fs->name,
	    (u_longlong_t)object);
	sa_handle_destroy(sa);
}

static uint64_t
allocate(fs_t *fs, uint64_t mode, dmu_tx_t *tx)
{
	if (S_ISDIR(mode))
		return (zap_create_norm_dnsize(fs->os, 0, DMU_OT_DIRECTORY_CONTENTS, DMU_OT_SA, DN_OLD_MAX_BONUSLEN, 0, tx));
	return (dmu_object_alloc(fs->os, DMU_OT_PLAIN_FILE_CONTENTS, 0, DMU_OT_SA, DN_OLD_MAX_BONUSLEN, tx));
}

/* The inside of an empty ZFS file system, which `zfs create` makes in the kernel. */
void
fs_format(const char *name)
{
	fs_t fs = { 0 };
	uint64_t version = ZPL_VERSION, zero = 0, sa;
	dmu_tx_t *tx;

	snprintf(fs.name, sizeof (fs.name), "%s", name);
	must(dmu_objset_own(name, DMU_OST_ZFS, B_FALSE, B_TRUE, "fs", &fs.os), "open %s", name);
	tx = dmu_tx_create(fs.os);
	dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_TRUE, NULL);
	dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
	dmu_tx_hold_write(tx, DMU_NEW_OBJECT, 0, 1 << 20);
	assign(&fs, tx);
	must(zap_create_claim(fs.os, MASTER_NODE_OBJ, DMU_OT_MASTER_NODE, DMU_OT_NONE, 0, tx), "master node");
	sa = zap_create(fs.os, DMU_OT_SA_MASTER_NODE, DMU_OT_NONE, 0, tx);
	fs.unlinked = zap_create(fs.os, DMU_OT_UNLINKED_SET, DMU_OT_NONE, 0, tx);
	must(zap_add(fs.os, MASTER_NODE_OBJ, ZPL_VERSION_STR, 8, 1, &version, tx), "version");
	must(zap_add(fs.os, MASTER_NODE_OBJ, ZFS_SA_ATTRS, 8, 1, &sa, tx), "SA master node");
	must(zap_add(fs.os, MASTER_NODE_OBJ, ZFS_UNLINKED_SET, 8, 1, &fs.unlinked, tx), "delete queue");
	must(zap_add(fs.os, MASTER_NODE_OBJ, "normalization", 8, 1, &zero, tx), "normalization");
	must(zap_add(fs.os, MASTER_NODE_OBJ, "utf8only", 8, 1, &zero, tx), "utf8only");
	must(zap_add(fs.os, MASTER_NODE_OBJ, "casesensitivity", 8, 1, &zero, tx), "casesensitivity");
	must(sa_setup(fs.os, sa, zfs_attr_table, ZPL_END, &fs.attr), "SA registry");
	fs.root = allocate(&fs, S_IFDIR, tx);
	fill_znode(&fs, fs.root, fs.root, S_IFDIR | 0755, 0, 0, tx);
	must(zap_add(fs.os, MASTER_NODE_OBJ, ZFS_ROOT_OBJ, 8, 1, &fs.root, tx), "root directory");
	dmu_tx_commit(tx);
	txg_wait_synced(dmu_objset_pool(fs.os), 0);
	fs_close(&fs);
}

/* Adds to SIZE (entries) and LINKS of a directory inside `tx`, which holds its attributes through `sa`. */
static void
directory_changed(fs_t *fs, sa_handle_t *sa, int entries, int links, dmu_tx_t *tx)
{
	uint64_t size, count, time[2] = { 1700000001, 1 };

	must(sa_lookup(sa, fs->attr[ZPL_SIZE], &size, 8), "%s: directory size", fs->name);
	must(sa_lookup(sa, fs->attr[ZPL_LINKS], &count, 8), "%s: directory links", fs->name);
	size += entries;
	count += links;
	must(sa_update(sa, fs->attr[ZPL_SIZE], &size, 8, tx), "%s: directory size", fs->name);
	must(sa_update(sa, fs->attr[ZPL_LINKS], &count, 8, tx), "%s: directory links", fs->name);
	must(sa_update(sa, fs->attr[ZPL_MTIME], time, 16, tx), "%s: directory mtime", fs->name);
}

static uint64_t
dirent(uint64_t object, uint64_t mode)
{
	return (object | (uint64_t)IFTODT(mode) << 60);
}

uint64_t
fs_create(fs_t *fs, uint64_t parent, const char *name, uint64_t mode, uint64_t uid, uint64_t gid)
{
	sa_handle_t *dir = handle(fs, parent);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	uint64_t object, value;

	dmu_tx_hold_sa_create(tx, DN_OLD_MAX_BONUSLEN);
	dmu_tx_hold_zap(tx, parent, B_TRUE, name);
	dmu_tx_hold_sa(tx, dir, B_FALSE);
	if (S_ISDIR(mode))
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_FALSE, NULL);
	assign(fs, tx);
	object = allocate(fs, mode, tx);
	fill_znode(fs, object, parent, mode, uid, gid, tx);
	value = dirent(object, mode);
	must(zap_add(fs->os, parent, name, 8, 1, &value, tx), "%s: create %s", fs->name, name);
	directory_changed(fs, dir, 1, S_ISDIR(mode) ? 1 : 0, tx);
	dmu_tx_commit(tx);
	sa_handle_destroy(dir);
	return (object);
}

void
fs_link(fs_t *fs, uint64_t parent, const char *name, uint64_t object)
{
	sa_handle_t *dir = handle(fs, parent), *file = handle(fs, object);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	uint64_t links, mode, value;

	dmu_tx_hold_zap(tx, parent, B_TRUE, name);
	dmu_tx_hold_sa(tx, dir, B_FALSE);
	dmu_tx_hold_sa(tx, file, B_FALSE);
	assign(fs, tx);
	must(sa_lookup(file, fs->attr[ZPL_LINKS], &links, 8), "%s: links", fs->name);
	must(sa_lookup(file, fs->attr[ZPL_MODE], &mode, 8), "%s: mode", fs->name);
	links++;
	value = dirent(object, mode);
	must(sa_update(file, fs->attr[ZPL_LINKS], &links, 8, tx), "%s: links", fs->name);
	must(zap_add(fs->os, parent, name, 8, 1, &value, tx), "%s: link %s", fs->name, name);
	directory_changed(fs, dir, 1, 0, tx);
	dmu_tx_commit(tx);
	sa_handle_destroy(file);
	sa_handle_destroy(dir);
}

/* Removes a name of something that is not a directory, and with its last name the object and its data. */
void
fs_unlink(fs_t *fs, uint64_t parent, const char *name)
{
	sa_handle_t *dir = handle(fs, parent), *file;
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	uint64_t object, links;

	must(zap_lookup(fs->os, parent, name, 8, 1, &object), "%s: unlink %s", fs->name, name);
	object = ZFS_DIRENT_OBJ(object);
	file = handle(fs, object);
	dmu_tx_hold_zap(tx, parent, B_FALSE, name);
	dmu_tx_hold_sa(tx, dir, B_FALSE);
	dmu_tx_hold_sa(tx, file, B_FALSE);
	dmu_tx_hold_zap(tx, fs->unlinked, B_TRUE, NULL);
	assign(fs, tx);
	must(sa_lookup(file, fs->attr[ZPL_LINKS], &links, 8), "%s: links", fs->name);
	links--;
	must(sa_update(file, fs->attr[ZPL_LINKS], &links, 8, tx), "%s: links", fs->name);
	must(zap_remove(fs->os, parent, name, tx), "%s: unlink %s", fs->name, name);
	directory_changed(fs, dir, -1, 0, tx);
	if (links == 0)
		must(zap_add_int(fs->os, fs->unlinked, object, tx), "%s: delete queue", fs->name);
	dmu_tx_commit(tx);
	sa_handle_destroy(file);
	sa_handle_destroy(dir);
	if (links != 0)
		return;
	must(dmu_free_long_range(fs->os, object, 0, DMU_OBJECT_END), "%s: free data of %s", fs->name, name);
	tx = dmu_tx_create(fs->os);
	dmu_tx_hold_free(tx, object, 0, DMU_OBJECT_END);
	dmu_tx_hold_zap(tx, fs->unlinked, B_FALSE, NULL);
	assign(fs, tx);
	must(zap_remove_int(fs->os, fs->unlinked, object, tx), "%s: delete queue", fs->name);
	must(dmu_object_free(fs->os, object, tx), "%s: free %s", fs->name, name);
	dmu_tx_commit(tx);
}

void
fs_rename(fs_t *fs, uint64_t parent, const char *from, const char *to)
{
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	uint64_t value;

	must(zap_lookup(fs->os, parent, from, 8, 1, &value), "%s: rename %s", fs->name, from);
	dmu_tx_hold_zap(tx, parent, B_FALSE, from);
	dmu_tx_hold_zap(tx, parent, B_TRUE, to);
	assign(fs, tx);
	must(zap_remove(fs->os, parent, from, tx), "%s: rename %s", fs->name, from);
	must(zap_add(fs->os, parent, to, 8, 1, &value, tx), "%s: rename to %s", fs->name, to);
	dmu_tx_commit(tx);
}

static void
set_size(fs_t *fs, sa_handle_t *file, uint64_t size, dmu_tx_t *tx)
{
	uint64_t time[2] = { 1700000002, 2 };

	must(sa_update(file, fs->attr[ZPL_SIZE], &size, 8, tx), "%s: size", fs->name);
	must(sa_update(file, fs->attr[ZPL_MTIME], time, 16, tx), "%s: mtime", fs->name);
}

/*
 * A file of one block has a block as large as the file asks for, up to the record size; before it gets a second one,
 * the first must have its full size. The ZPL does this, the DMU does not.
 */
static uint64_t
wanted_block_size(fs_t *fs, uint64_t object, uint64_t end)
{
	dmu_object_info_t info;
	uint64_t size;

	must(dmu_object_info(fs->os, object, &info), "%s object %llu", fs->name, (u_longlong_t)object);
	size = info.doi_data_block_size;
	if (info.doi_max_offset > size || end <= size || (ISP2(size) && size >= SPA_OLD_MAXBLOCKSIZE))
		return (0);
	if (end <= SPA_OLD_MAXBLOCKSIZE)
		return (P2ROUNDUP(end, SPA_MINBLOCKSIZE));
	return (MAX(SPA_OLD_MAXBLOCKSIZE, ISP2(size) ? size : 1ULL << highbit64(size)));
}

/* Writes bytes made from `seed`: half of each 64 compress, half do not. */
void
fs_write(fs_t *fs, uint64_t object, uint64_t offset, uint64_t length, unsigned seed)
{
	static unsigned char chunk[SPA_OLD_MAXBLOCKSIZE];
	sa_handle_t *file = handle(fs, object);
	uint64_t size, end = offset + length;

	while (offset < end) {
		dmu_tx_t *tx = dmu_tx_create(fs->os);
		uint64_t now = MIN(end - offset, sizeof (chunk));
		uint64_t block = wanted_block_size(fs, object, end);

		for (uint64_t i = 0; i < now; i++) {
			seed = seed * 1103515245 + 12345;
			chunk[i] = i & 32 ? seed >> 16 : 'k';
		}
		dmu_tx_hold_sa(tx, file, B_FALSE);
		dmu_tx_hold_write(tx, object, offset, now);
		if (block != 0)
			dmu_tx_hold_write(tx, object, 0, block);
		assign(fs, tx);
		must(sa_lookup(file, fs->attr[ZPL_SIZE], &size, 8), "%s: size", fs->name);
		if (block != 0)
			must(dmu_object_set_blocksize(fs->os, object, block, 0, tx), "%s object %llu: block size %llu",
			    fs->name, (u_longlong_t)object, (u_longlong_t)block);
		dmu_write(fs->os, object, offset, now, chunk, tx);
		set_size(fs, file, MAX(size, offset + now), tx);
		dmu_tx_commit(tx);
		offset += now;
	}
	sa_handle_destroy(file);
}

void
fs_truncate(fs_t *fs, uint64_t object, uint64_t size)
{
	sa_handle_t *file = handle(fs, object);
	dmu_tx_t *tx = dmu_tx_create(fs->os);

	dmu_tx_hold_sa(tx, file, B_FALSE);
	assign(fs, tx);
	set_size(fs, file, size, tx);
	dmu_tx_commit(tx);
	sa_handle_destroy(file);
	must(dmu_free_long_range(fs->os, object, size, DMU_OBJECT_END), "%s: truncate", fs->name);
}

void
fs_chown(fs_t *fs, uint64_t object, uint64_t uid, uint64_t gid)
{
	sa_handle_t *file = handle(fs, object);
	dmu_tx_t *tx = dmu_tx_create(fs->os);

	dmu_tx_hold_sa(tx, file, B_FALSE);
	assign(fs, tx);
	must(sa_update(file, fs->attr[ZPL_UID], &uid, 8, tx), "%s: chown", fs->name);
	must(sa_update(file, fs->attr[ZPL_GID], &gid, 8, tx), "%s: chown", fs->name);
	dmu_tx_commit(tx);
	sa_handle_destroy(file);
}

/* Sets an xattr of `length` bytes among the ones that are stored as system attributes; 0 removes it. */
void
fs_setxattr(fs_t *fs, uint64_t object, const char *name, size_t length)
{
	sa_handle_t *file = handle(fs, object);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	nvlist_t *list;
	char *packed = NULL;
	size_t bytes = 0;
	int size = 0;

	dmu_tx_hold_sa(tx, file, B_TRUE);
	assign(fs, tx);
	if (sa_size(file, fs->attr[ZPL_DXATTR], &size) == 0) {
		packed = malloc(size);
		must(sa_lookup(file, fs->attr[ZPL_DXATTR], packed, size), "%s: xattrs", fs->name);
		must(nvlist_unpack(packed, size, &list, 0), "%s: xattrs", fs->name);
		free(packed);
		packed = NULL;
	} else {
		list = fnvlist_alloc();
	}
	if (length != 0) {
		uchar_t *value = malloc(length);

		memset(value, 'x', length);
		fnvlist_add_byte_array(list, name, value, length);
		free(value);
	} else if (nvlist_exists(list, name)) {
		fnvlist_remove(list, name);
	}
	if (nvlist_next_nvpair(list, NULL) == NULL) {
		if (size != 0)
			must(sa_remove(file, fs->attr[ZPL_DXATTR], tx), "%s: remove xattrs", fs->name);
	} else {
		must(nvlist_pack(list, &packed, &bytes, NV_ENCODE_XDR, 0), "%s: xattrs", fs->name);
		must(sa_update(file, fs->attr[ZPL_DXATTR], packed, bytes, tx), "%s: xattr %s", fs->name, name);
		free(packed);
	}
	nvlist_free(list);
	dmu_tx_commit(tx);
	sa_handle_destroy(file);
}
