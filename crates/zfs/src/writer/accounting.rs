//! Space and object counts by user, group and project: what `zfs userspace` prints.
//!
//! Source: OpenZFS `module/zfs/dmu_objset.c` (`do_userquota_update`, `do_userobjquota_update`).

use std::collections::BTreeMap;

use blk::WriteAt;

use super::WriteError;
use super::block::{BlockParams, BlockWriter};
use super::indirect::{BlockTree, levels_for};
use super::objset::ObjectSpec;
use crate::blkptr::BlockKind;
use crate::compress::Compression;
use crate::dnode::{DNODE_SIZE, object_type};
use crate::zap::{self, Entry, ZapOptions};

/// The project of everything that was not given one.
const DEFAULT_PROJECT: u64 = 0;

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    bytes: u64,
    objects: u64,
}

/// Accounts of one dataset.
#[derive(Debug, Default)]
pub(crate) struct Accounting {
    users: BTreeMap<u64, Account>,
    groups: BTreeMap<u64, Account>,
    projects: BTreeMap<u64, Account>,
}

impl Accounting {
    /// Charges an object whose blocks take `used` bytes to its owners.
    pub(crate) fn add(&mut self, uid: u64, gid: u64, used: u64) {
        let charge = |accounts: &mut BTreeMap<u64, Account>, id| {
            let account = accounts.entry(id).or_default();
            account.bytes += DNODE_SIZE as u64 + used;
            account.objects += 1;
        };
        charge(&mut self.users, uid);
        charge(&mut self.groups, gid);
        charge(&mut self.projects, DEFAULT_PROJECT);
    }

    /// Writes the three accounting objects and gives their dnodes: users, groups, projects.
    pub(crate) fn write<W: WriteAt>(
        &self,
        out: &mut BlockWriter<W>,
        copies: usize,
        salt: u64,
    ) -> Result<[Vec<u8>; 3], WriteError> {
        let mut dnodes = [const { Vec::new() }; 3];
        for (dnode, accounts) in dnodes.iter_mut().zip([&self.users, &self.groups, &self.projects])
        {
            *dnode = write_object(out, accounts, copies, salt)?;
        }
        Ok(dnodes)
    }
}

fn write_object<W: WriteAt>(
    out: &mut BlockWriter<W>,
    accounts: &BTreeMap<u64, Account>,
    copies: usize,
    salt: u64,
) -> Result<Vec<u8>, WriteError> {
    let named: Vec<_> = accounts
        .iter()
        .flat_map(|(id, account)| {
            [(format!("{id:x}"), account.bytes), (format!("obj-{id:x}"), account.objects)]
        })
        .collect();
    let entries: Vec<_> = named.iter().map(|(name, value)| Entry::new(name, *value)).collect();
    let zap = zap::encode(&entries, &ZapOptions::new(salt))
        .map_err(|source| WriteError::Zap { object: 0, source })?;
    let blocks = zap.data.chunks(zap.block_size as usize);
    let spec = ObjectSpec {
        object_type: object_type::USERGROUP_USED,
        pointers: 3,
        block_size: zap.block_size,
        max_block_id: (blocks.len() as u64).saturating_sub(1),
        ..ObjectSpec::default()
    };
    let before = out.usage.allocated;
    let levels = levels_for(spec.max_block_id, spec.pointers);
    let mut tree = BlockTree::new(spec.object_type, levels, spec.pointers, copies);
    let params = BlockParams {
        kind: BlockKind { object_type: spec.object_type, level: 0 },
        compression: Compression::Lz4,
        copies,
        fill: 1,
    };
    for (id, block) in blocks.enumerate() {
        let pointer = out.write(block.to_vec(), &params)?;
        tree.push(out, id as u64, pointer)?;
    }
    let pointers = tree.finish(out)?;
    let used = out.usage.allocated - before;
    Ok(spec.dnode(levels, used, &pointers, None).to_bytes())
}
