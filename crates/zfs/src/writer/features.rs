//! The objects that say which features the pool has, and how often each is in use.

use std::collections::BTreeMap;

use blk::WriteAt;

use super::WriteError;
use super::dsl::{Dsl, TXG_CREATE};
use super::mos::{Mos, MosObject};
use crate::dnode::object_type;
use crate::feature::{self, FeatureSet};
use crate::zap::{Entry, ZapValue};

/// The objects that say which features the pool has.
pub(crate) struct FeatureObjects {
    pub for_write: u64,
    pub descriptions: u64,
    pub enabled_txg: u64,
}

impl FeatureObjects {
    /// `newest` is the transaction group of the newest state.
    pub(crate) fn write<W: WriteAt>(
        mos: &mut Mos<'_, W>,
        set: FeatureSet,
        newest: u64,
    ) -> Result<Self, WriteError> {
        let texts: Vec<_> = set
            .features()
            .iter()
            .map(|feature| (feature.guid, [feature.description.as_bytes(), b"\0"].concat()))
            .collect();
        let descriptions: Vec<_> = texts
            .iter()
            .map(|(guid, text)| Entry { name: guid.as_bytes(), value: ZapValue::Bytes(text) })
            .collect();
        // Holes are written without a birth. One that took the place of data in the history is sent only
        // if senders believe that holes have had births since the newest state (`ignore_hole_birth=0`).
        let enabled = |guid: &str| if guid == feature::HOLE_BIRTH { newest } else { TXG_CREATE };
        let txgs: Vec<_> = set
            .features()
            .iter()
            .map(|feature| Entry::new(feature.guid, enabled(feature.guid)))
            .collect();
        Ok(Self {
            for_write: mos.allocate(),
            descriptions: mos.add_zap(object_type::ZAP_METADATA, &descriptions)?,
            enabled_txg: mos.add_zap(object_type::ZAP_METADATA, &txgs)?,
        })
    }

    /// How often each feature is in use; space maps are not counted yet.
    pub(crate) fn counts(set: FeatureSet, dsl: &Dsl) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = set
            .features()
            .iter()
            .map(|feature| (feature.guid, u64::from(feature.active_when_enabled)))
            .collect();
        counts.insert(feature::ENABLED_TXG, set.features().len() as u64);
        counts.insert(feature::EMPTY_BPOBJ, dsl.empty_bpobj_references);
        counts.insert(feature::EXTENSIBLE_DATASET, dsl.extensible_datasets);
        for guid in &dsl.feature_uses {
            *counts.entry(guid).or_default() += 1;
        }
        counts
    }

    fn entries(
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
        readonly_compatible: bool,
    ) -> Vec<Entry<'static>> {
        set.features()
            .iter()
            .filter(|feature| feature.readonly_compatible == readonly_compatible)
            .map(|feature| Entry::new(feature.guid, counts.get(feature.guid).copied().unwrap_or(0)))
            .collect()
    }

    pub(crate) fn write_for_read<W: WriteAt>(
        mos: &mut Mos<'_, W>,
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
    ) -> Result<u64, WriteError> {
        mos.add_zap(object_type::ZAP_METADATA, &Self::entries(set, counts, false))
    }

    /// The features needed for writing, which depend on the number of space maps. The size of the
    /// block does not.
    pub(crate) fn encode_for_write<W: WriteAt>(
        &self,
        mos: &Mos<'_, W>,
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
        space_maps: u64,
    ) -> Result<(MosObject, Vec<u8>), WriteError> {
        let mut counts = counts.clone();
        counts.insert(feature::SPACEMAP_HISTOGRAM, space_maps);
        let zap = mos.encode_zap(self.for_write, &Self::entries(set, &counts, true))?;
        let what = MosObject {
            object_type: object_type::ZAP_METADATA,
            block_size: zap.block_size,
            ..MosObject::default()
        };
        Ok((what, zap.data))
    }
}
