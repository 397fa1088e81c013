/* Changes to a file system of the kind that a running machine makes, spread over what is already there. */
#include "judge.h"

#define	AT_MOST 300 /* of each kind of change, spread evenly over the entries */

/* Whether this is one of about AT_MOST entries that change `kind` picks in `round`. */
static boolean_t
chosen(const walk_t *all, size_t index, unsigned kind, unsigned round)
{
	size_t stride = MAX(all->count / AT_MOST, 7);

	return (index % stride == (kind + 3 * round) % stride);
}

static void
grow_directory(fs_t *fs, uint64_t directory, uint64_t file, unsigned count, unsigned round)
{
	char name[128];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof (name), "judge-%u-%0*u", round, i % 50 + 1, i);
		fs_link(fs, directory, name, file);
	}
	for (unsigned i = 0; i < count; i += 2) {
		snprintf(name, sizeof (name), "judge-%u-%0*u", round, i % 50 + 1, i);
		fs_unlink(fs, directory, name);
	}
}

static void
change_entry(fs_t *fs, const walk_t *all, size_t index, unsigned round)
{
	const entry_t *e = &all->entries[index];
	const znode_attrs_t *a = &e->attrs;
	char name[64];

	if (a->flags & ZFS_XATTR)
		return;
	if (chosen(all, index, 0, round))
		fs_setxattr(fs, e->object, "user.judge", 40);
	if (chosen(all, index, 1, round)) {
		fs_setxattr(fs, e->object, "security.judge", 3000); /* always a spill block */
		if (index & 1)
			fs_setxattr(fs, e->object, "security.judge", 0);
	}
	if (chosen(all, index, 2, round))
		fs_chown(fs, e->object, 70000 + index % 5, 80000);
	if (S_ISREG(a->mode) && chosen(all, index, 3, round))
		fs_write(fs, e->object, a->size, 200000, index); /* append */
	if (S_ISREG(a->mode) && a->size > 0 && chosen(all, index, 4, round))
		fs_write(fs, e->object, a->size / 2, MIN(a->size - a->size / 2, 5000), index); /* overwrite */
	if (S_ISREG(a->mode) && a->size > 1 && chosen(all, index, 5, round))
		fs_truncate(fs, e->object, a->size / 2);
	if (chosen(all, index, 6, round)) {
		snprintf(name, sizeof (name), "judge-renamed-%u-%zu", round, index);
		fs_rename(fs, e->parent, e->name, name);
	} else if (!S_ISDIR(a->mode) && a->xattr == 0 && chosen(all, index, 7, round)) {
		fs_unlink(fs, e->parent, e->name);
	}
}

void
change_fs(fs_t *fs, unsigned round)
{
	walk_t all;
	uint64_t largest = fs->root, largest_size = 0, directory, file, sparse;
	char name[64];

	walk(fs, &all);
	for (size_t i = 0; i < all.count; i++) {
		const znode_attrs_t *a = &all.entries[i].attrs;

		if (S_ISDIR(a->mode) && a->size > largest_size && !(a->flags & ZFS_XATTR)) {
			largest = all.entries[i].object;
			largest_size = a->size;
		}
	}
	snprintf(name, sizeof (name), "judge-file-%u", round);
	file = fs_create(fs, fs->root, name, S_IFREG | 0644, 1000, 1000);
	fs_write(fs, file, 0, 3 << 20, round);
	fs_write(fs, file, (3 << 20) + 777, 100000, round);
	fs_truncate(fs, file, (1 << 20) + 13);
	snprintf(name, sizeof (name), "judge-sparse-%u", round);
	sparse = fs_create(fs, fs->root, name, S_IFREG | 0600, 0, 0);
	fs_write(fs, sparse, 1ULL << 40, 10, round);
	fs_write(fs, sparse, 0, 10, round);
	snprintf(name, sizeof (name), "judge-directory-%u", round);
	directory = fs_create(fs, fs->root, name, S_IFDIR | 01777, 5, 6);
	grow_directory(fs, directory, file, 1500, round);
	grow_directory(fs, largest, file, 3000, round);
	for (size_t i = 0; i < all.count; i++)
		change_entry(fs, &all, i, round);
	walk_free(&all);
}
