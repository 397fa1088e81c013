/* Reads every object and every byte of a file system and checks what the kernel takes for granted: a small fsck. */
#include "judge.h"

typedef struct {
	uint32_t names;   /* directory entries seen */
	uint32_t subdirs; /* of a directory */
	uint64_t entries; /* of a directory */
	boolean_t reached;
} seen_t;

typedef struct {
	fs_t *fs;
	walk_t *out;
	seen_t *seen;
	uint64_t objects; /* room in `seen` */
	uint64_t *queue;
	size_t head, tail;
	uint64_t directory;
	boolean_t in_xattr;
} state_t;

static seen_t *
seen(state_t *s, uint64_t object)
{
	if (object == 0 || object >= s->objects)
		fail("%s: entry in directory %llu points to object %llu, which does not exist", s->fs->name,
		    (u_longlong_t)s->directory, (u_longlong_t)object);
	return (&s->seen[object]);
}

static void
reach(state_t *s, uint64_t directory)
{
	if (seen(s, directory)->reached)
		fail("%s: directory %llu is reached twice", s->fs->name, (u_longlong_t)directory);
	seen(s, directory)->reached = B_TRUE;
	s->queue[s->tail++] = directory;
}

static void
on_entry(const char *name, uint64_t value, void *arg)
{
	state_t *s = arg;
	walk_t *out = s->out;
	uint64_t object = ZFS_DIRENT_OBJ(value), again;
	znode_attrs_t attrs;
	entry_t *e;

	seen(s, s->directory)->entries++;
	seen(s, object)->names++;
	must(zap_lookup(s->fs->os, s->directory, name, 8, 1, &again), "%s: %s in directory %llu is listed but not found",
	    s->fs->name, name, (u_longlong_t)s->directory);
	if (again != value)
		fail("%s: %s in directory %llu exists twice", s->fs->name, name, (u_longlong_t)s->directory);
	fs_attrs(s->fs, object, &attrs);
	if (IFTODT(attrs.mode) != ZFS_DIRENT_TYPE(value))
		fail("%s: %s: entry type %llu, mode %llo", s->fs->name, name, (u_longlong_t)ZFS_DIRENT_TYPE(value),
		    (u_longlong_t)attrs.mode);
	if (S_ISDIR(attrs.mode) || attrs.links == 1)
		if (attrs.parent != s->directory)
			fail("%s: %s is in directory %llu and says parent %llu", s->fs->name, name,
			    (u_longlong_t)s->directory, (u_longlong_t)attrs.parent);
	if (((attrs.flags & ZFS_XATTR) != 0) != s->in_xattr)
		fail("%s: %s: ZFS_XATTR flag is wrong", s->fs->name, name);
	if (S_ISDIR(attrs.mode)) {
		seen(s, s->directory)->subdirs++;
		reach(s, object);
	}
	if (!S_ISDIR(attrs.mode) && attrs.xattr != 0 && seen(s, object)->names == 1)
		reach(s, attrs.xattr);
	if (S_ISDIR(attrs.mode) && attrs.xattr != 0)
		reach(s, attrs.xattr);
	if (out->count == out->room) {
		out->room = out->room == 0 ? 1024 : out->room * 2;
		out->entries = realloc(out->entries, out->room * sizeof (entry_t));
	}
	e = &out->entries[out->count++];
	*e = (entry_t){ .parent = s->directory, .object = object, .name = strdup(name), .attrs = attrs };
}

/* Reads what is not a hole. The rest of the last block must be zero: a longer file would show it. */
static uint64_t
read_data(fs_t *fs, uint64_t object, uint64_t size)
{
	static unsigned char block[SPA_MAXBLOCKSIZE];
	dmu_object_info_t info;
	uint64_t offset = 0, bytes = 0;

	must(dmu_object_info(fs->os, object, &info), "%s object %llu", fs->name, (u_longlong_t)object);
	for (;;) {
		int error = dmu_offset_next(fs->os, object, B_FALSE, &offset);
		uint64_t start, length = info.doi_data_block_size;

		if (error == ESRCH)
			return (bytes);
		must(error, "%s object %llu: data after %llu", fs->name, (u_longlong_t)object, (u_longlong_t)offset);
		start = offset - offset % length;
		must(dmu_read(fs->os, object, start, length, block, DMU_READ_PREFETCH), "%s object %llu: read at %llu",
		    fs->name, (u_longlong_t)object, (u_longlong_t)start);
		for (uint64_t i = size > start ? size - start : 0; i < length; i++)
			if (block[i] != 0)
				fail("%s object %llu: size %llu, but byte %llu is not zero", fs->name,
				    (u_longlong_t)object, (u_longlong_t)size, (u_longlong_t)(start + i));
		bytes += length;
		offset = start + length;
	}
}

static void
check_object(state_t *s, uint64_t object, uint64_t txg)
{
	fs_t *fs = s->fs;
	seen_t *was = seen(s, object);
	znode_attrs_t a;
	uint64_t count;

	fs_attrs(fs, object, &a);
	if (a.gen == 0 || a.gen > txg)
		fail("%s object %llu: generation %llu, pool at %llu", fs->name, (u_longlong_t)object,
		    (u_longlong_t)a.gen, (u_longlong_t)txg);
	if (S_ISDIR(a.mode)) {
		if (!was->reached)
			fail("%s: directory %llu is nowhere in the tree", fs->name, (u_longlong_t)object);
		must(zap_count(fs->os, object, &count), "%s directory %llu", fs->name, (u_longlong_t)object);
		if (count != was->entries || a.size != was->entries + 2)
			fail("%s: directory %llu: %llu entries, ZAP counts %llu, size %llu", fs->name,
			    (u_longlong_t)object, (u_longlong_t)was->entries, (u_longlong_t)count, (u_longlong_t)a.size);
		if (a.links != 2 + was->subdirs)
			fail("%s: directory %llu: %u subdirectories, %llu links", fs->name, (u_longlong_t)object,
			    was->subdirs, (u_longlong_t)a.links);
		return;
	}
	if (was->names == 0) {
		uint64_t in_queue = zap_lookup_int(fs->os, fs->unlinked, object);
		if (in_queue != 0)
			fail("%s: object %llu has no name and is not in the delete queue", fs->name, (u_longlong_t)object);
	} else if (a.links != was->names) {
		fail("%s: object %llu: %u names, %llu links", fs->name, (u_longlong_t)object, was->names,
		    (u_longlong_t)a.links);
	}
	if (S_ISREG(a.mode))
		s->out->bytes += read_data(fs, object, a.size);
	else if (S_ISLNK(a.mode) && a.symlink != 0 && (uint64_t)a.symlink != a.size)
		fail("%s: symlink %llu: target of %d bytes, size %llu", fs->name, (u_longlong_t)object, a.symlink,
		    (u_longlong_t)a.size);
	else if (S_ISLNK(a.mode) && a.symlink == 0)
		(void) read_data(fs, object, a.size);
	else if ((S_ISCHR(a.mode) || S_ISBLK(a.mode)) && !a.rdev)
		fail("%s: device %llu has no device number", fs->name, (u_longlong_t)object);
}

void
walk(fs_t *fs, walk_t *out)
{
	state_t s = { .fs = fs, .out = out };
	uint64_t object = 0, last = 0, txg = spa_last_synced_txg(dmu_objset_spa(fs->os)) + 1;
	znode_attrs_t attrs;

	memset(out, 0, sizeof (*out));
	while (dmu_object_next(fs->os, &object, B_FALSE, 0) == 0)
		last = object;
	s.objects = last + 1;
	s.seen = calloc(s.objects, sizeof (seen_t));
	s.queue = calloc(s.objects, sizeof (uint64_t));
	reach(&s, fs->root);
	fs_attrs(fs, fs->root, &attrs);
	if (attrs.xattr != 0)
		reach(&s, attrs.xattr);
	if (attrs.parent != fs->root)
		fail("%s: the root directory says parent %llu", fs->name, (u_longlong_t)attrs.parent);
	while (s.head < s.tail) {
		s.directory = s.queue[s.head++];
		fs_attrs(fs, s.directory, &attrs);
		s.in_xattr = (attrs.flags & ZFS_XATTR) != 0;
		fs_readdir(fs, s.directory, on_entry, &s);
	}
	for (object = 0; dmu_object_next(fs->os, &object, B_FALSE, 0) == 0; ) {
		dmu_object_info_t info;

		must(dmu_object_info(fs->os, object, &info), "%s object %llu", fs->name, (u_longlong_t)object);
		if (info.doi_bonus_type == DMU_OT_SA)
			check_object(&s, object, txg);
		else if (info.doi_type == DMU_OT_PLAIN_FILE_CONTENTS || info.doi_type == DMU_OT_DIRECTORY_CONTENTS)
			fail("%s object %llu: a file without system attributes", fs->name, (u_longlong_t)object);
	}
	free(s.seen);
	free(s.queue);
}

void
walk_free(walk_t *out)
{
	for (size_t i = 0; i < out->count; i++)
		free(out->entries[i].name);
	free(out->entries);
	memset(out, 0, sizeof (*out));
}
