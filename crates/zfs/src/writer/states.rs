//! All datasets, one after the other, each from its oldest state on.

use std::collections::HashMap;
use std::sync::Arc;

use blk::WriteAt;
use tree::{Blobs, Metadata, Tree};

use super::block::{BlockWriter, Usage};
use super::check::CheckedPool;
use super::dsl::{DatasetRecord, StateRecord, TXG_BEFORE_FIRST};
use super::filesystem::{FilesystemWriter, WrittenFilesystem};
use super::history::{self, State};
use super::pipeline::Pipeline;
use super::{Content, WriteError};
use crate::feature;
use crate::ids::Ids;

/// What a later state goes on with, by dataset and number of the state.
type Kept = HashMap<(usize, usize), Arc<State>>;

/// Writes the object sets of all states of all datasets.
pub(crate) fn write<'p, W: WriteAt>(
    out: &mut BlockWriter<W>,
    checked: &CheckedPool<'p, '_>,
    ids: &Ids,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<DatasetRecord<'p>>, WriteError> {
    let mut root = Metadata { mode: 0o755, ..Metadata::default() };
    root.mtime.seconds = checked.pool.timestamp as i64;
    let empty = Tree::new(root);
    let nothing = Content { tree: &empty, root: empty.root(), mounts: Default::default() };
    std::thread::scope(|scope| {
        let mut pipeline = Pipeline::start(scope);
        let mut records: Vec<DatasetRecord<'p>> = Vec::new();
        let mut kept = Kept::new();
        for (index, dataset) in checked.pool.datasets.iter().enumerate() {
            let origin = checked.origins[index];
            let first_state =
                origin.map_or(0, |(from, state)| records[from].first_state + state + 1);
            let mut record = DatasetRecord {
                name: &dataset.name,
                parent: checked.parents[index],
                properties: checked.properties[index].clone(),
                origin,
                first_state,
                states: Vec::new(),
            };
            let from = origin.map(|(from, state)| &records[from].states[state]);
            let mut features = from.map(|from| from.features.clone()).unwrap_or_default();
            let mut past = origin.and_then(|origin| kept.get(&origin).cloned());
            let origin_txg = match origin {
                None => TXG_BEFORE_FIRST,
                Some(_) => history::snapshot_txg(first_state - 1),
            };
            let mut before_txg = origin_txg;
            let earlier =
                dataset.earlier.iter().map(|state| (Some(&state.content), Some(&*state.snapshot)));
            let last = [(dataset.content.as_ref(), dataset.snapshot.as_deref())];
            for (number, (content, snapshot)) in earlier.chain(last).enumerate() {
                if let (None, Some(from)) = (content, from) {
                    // A clone that did not change.
                    let (born, died) = (Usage::default(), Vec::new());
                    let same = from.clone();
                    record.states.push(StateRecord {
                        snapshot,
                        born,
                        unique: 0,
                        own: 0,
                        died,
                        ..same
                    });
                    continue;
                }
                out.birth = history::birth(first_state + number);
                let storage = checked.storage(index, ids);
                let writer = FilesystemWriter::new(out, &mut pipeline, storage, progress);
                let written = match &dataset.volume {
                    Some(volume) => writer.write_volume(volume, blobs)?,
                    None if checked.has_history[index] => writer
                        .with_history(past.as_deref())
                        .write(content.unwrap_or(&nothing), blobs)?,
                    None => writer.write(content.unwrap_or(&nothing), blobs)?,
                };
                if dataset.volume.is_none() {
                    note(&mut features, feature::USEROBJ_ACCOUNTING, true);
                    note(&mut features, feature::PROJECT_QUOTA, true);
                }
                note(&mut features, feature::LARGE_BLOCKS, written.large_blocks);
                note(&mut features, feature::ZSTD_COMPRESS, written.zstd);
                note(&mut features, feature::LARGE_DNODE, written.large_dnodes);
                let mut state = state_record(&written, past.as_deref(), before_txg, origin_txg);
                (state.snapshot, state.features) = (snapshot, features.clone());
                record.states.push(state);
                before_txg = history::snapshot_txg(first_state + number);
                past = written.state.map(Arc::new);
                if let (Some(state), Some(_)) = (&past, snapshot) {
                    kept.insert((index, number), state.clone());
                }
            }
            records.push(record);
        }
        Ok(records)
    })
}

/// A dataset that used a feature once goes on using it.
fn note(features: &mut Vec<&'static str>, feature: &'static str, used: bool) {
    if used && !features.contains(&feature) {
        features.push(feature);
    }
}

fn state_record<'p>(
    written: &WrittenFilesystem,
    past: Option<&State>,
    before_txg: u64,
    origin_txg: u64,
) -> StateRecord<'p> {
    let born = written.usage;
    let record = StateRecord {
        snapshot: None,
        objset: written.objset,
        referenced: born,
        born,
        unique: born.allocated,
        own: born.allocated,
        died: Vec::new(),
        features: Vec::new(),
    };
    match &written.state {
        None => record,
        Some(state) => StateRecord {
            referenced: state.usage_since(0),
            unique: state.usage_since(before_txg).allocated,
            own: state.usage_since(origin_txg).allocated,
            died: past.map(|past| past.died(state)).unwrap_or_default(),
            ..record
        },
    }
}
