/* User, group and project accounting of a file system, compared with a count of its objects. */
#include "judge.h"

typedef struct {
	uint64_t id;
	uint64_t bytes, objects;
} owner_t;

typedef struct {
	owner_t *owners;
	size_t count, room;
} owners_t;

static owner_t *
owner(owners_t *all, uint64_t id)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->owners[i].id == id)
			return (&all->owners[i]);
	if (all->count == all->room) {
		all->room = all->room == 0 ? 64 : all->room * 2;
		all->owners = realloc(all->owners, all->room * sizeof (owner_t));
	}
	all->owners[all->count] = (owner_t){ .id = id };
	return (&all->owners[all->count++]);
}

static void
add(owners_t *all, uint64_t id, uint64_t bytes)
{
	owner_t *one = owner(all, id);

	one->bytes += bytes;
	one->objects++;
}

static void
compare(fs_t *fs, const char *kind, uint64_t object, owners_t *all)
{
	zap_cursor_t cursor;
	zap_attribute_t *at = calloc(1, sizeof (*at) + NAME_ROOM);
	size_t bytes_keys = 0, object_keys = 0;
	boolean_t counts_objects = (fs->os->os_phys->os_flags & OBJSET_FLAG_USEROBJACCOUNTING_COMPLETE) != 0;

#if OPENZFS != 201
	at->za_name_len = NAME_ROOM;
#endif
	for (zap_cursor_init(&cursor, fs->os, object); zap_cursor_retrieve(&cursor, at) == 0;
	    zap_cursor_advance(&cursor)) {
		boolean_t objects = strncmp(at->za_name, DMU_OBJACCT_PREFIX, DMU_OBJACCT_PREFIX_LEN) == 0;
		uint64_t id = strtoull(at->za_name + (objects ? DMU_OBJACCT_PREFIX_LEN : 0), NULL, 16);
		owner_t *one = owner(all, id);
		uint64_t counted = objects ? one->objects : one->bytes;

		if (objects && !counts_objects)
			continue;
		if (at->za_first_integer != counted)
			fail("%s: %s accounting says %s %llu has %llu, a count %llu", fs->name, kind,
			    objects ? "objects of" : "bytes of", (u_longlong_t)id, (u_longlong_t)at->za_first_integer,
			    (u_longlong_t)counted);
		if (objects)
			object_keys++;
		else
			bytes_keys++;
	}
	zap_cursor_fini(&cursor);
	free(at);
	if (bytes_keys != all->count || (counts_objects && object_keys != all->count))
		fail("%s: %s accounting lists %zu and %zu ids, a count %zu", fs->name, kind, bytes_keys, object_keys,
		    all->count);
}

void
account_check(fs_t *fs, boolean_t has_files)
{
	owners_t users = { 0 }, groups = { 0 }, projects = { 0 };
	uint64_t object = 0;
	spa_t *spa = dmu_objset_spa(fs->os);
	uint64_t flags = fs->os->os_phys->os_flags;
	uint64_t complete = OBJSET_FLAG_USERACCOUNTING_COMPLETE;

	if (spa_feature_is_enabled(spa, SPA_FEATURE_USEROBJ_ACCOUNTING))
		complete |= OBJSET_FLAG_USEROBJACCOUNTING_COMPLETE;
	if (spa_feature_is_enabled(spa, SPA_FEATURE_PROJECT_QUOTA))
		complete |= OBJSET_FLAG_PROJECTQUOTA_COMPLETE;
	/* The root dataset of a pool made by the kernel has none of it until somebody mounts it. */
	if (has_files && (flags & complete) != complete)
		fail("%s: accounting is not complete: objset flags %#llx", fs->name,
		    (u_longlong_t)flags);
	while (dmu_object_next(fs->os, &object, B_FALSE, 0) == 0) {
		znode_attrs_t attrs;
		dmu_object_info_t info;
		dnode_t *dn;

		must(dmu_object_info(fs->os, object, &info), "%s object %llu", fs->name, (u_longlong_t)object);
		if (info.doi_bonus_type != DMU_OT_SA)
			continue;
		fs_attrs(fs, object, &attrs);
		must(dnode_hold(fs->os, object, FTAG, &dn), "%s dnode %llu", fs->name, (u_longlong_t)object);
		uint64_t bytes = DNODE_MIN_SIZE + DN_USED_BYTES(dn->dn_phys);
		dnode_rele(dn, FTAG);
		add(&users, attrs.uid, bytes);
		add(&groups, attrs.gid, bytes);
		add(&projects, attrs.flags & ZFS_PROJID ? attrs.projid : ZFS_DEFAULT_PROJID, bytes);
	}
	if (flags & OBJSET_FLAG_USERACCOUNTING_COMPLETE) {
		compare(fs, "user", DMU_USERUSED_OBJECT, &users);
		compare(fs, "group", DMU_GROUPUSED_OBJECT, &groups);
	}
	if (flags & OBJSET_FLAG_PROJECTQUOTA_COMPLETE)
		compare(fs, "project", DMU_PROJECTUSED_OBJECT, &projects);
	free(users.owners);
	free(groups.owners);
	free(projects.owners);
}
