//! What a server sets of an object: UID, generation, resourceVersion, time of creation, and the first status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;

use crate::api::credential::CredentialStatus;
use crate::api::integration::IntegrationStatus;
use crate::cluster::files::manifest::{Identity, Object};

impl Object {
    fn metadata(&mut self) -> Option<&mut ObjectMeta> {
        match self {
            Self::Integration(object) => Some(&mut object.metadata),
            Self::Credential(object) => Some(&mut object.metadata),
            Self::Secret(..) | Self::ConfigMap(..) => None,
        }
    }

    pub(super) fn set_version(&mut self, version: u64) {
        if let Some(metadata) = self.metadata() {
            metadata.resource_version = Some(version.to_string());
        }
    }

    /// Sets what a server sets: from what was stored before, or for a new object.
    pub(super) fn take_over(&mut self, identity: &Identity, before: Option<&Object>, now: Timestamp) {
        let (old_metadata, same_spec) = match (&mut *self, before) {
            (Self::Integration(object), Some(Self::Integration(before))) => {
                object.status.clone_from(&before.status);
                (Some(&before.metadata), object.spec == before.spec)
            }
            (Self::Integration(object), _) => {
                let observed_generation = Some(-1);
                object.status = Some(IntegrationStatus {
                    observed_generation,
                    ..IntegrationStatus::default()
                });
                (None, false)
            }
            (Self::Credential(object), Some(Self::Credential(before))) => {
                object.status.clone_from(&before.status);
                (Some(&before.metadata), object.spec == before.spec)
            }
            (Self::Credential(object), _) => {
                let observed_generation = Some(-1);
                object.status = Some(CredentialStatus {
                    observed_generation,
                    ..CredentialStatus::default()
                });
                (None, false)
            }
            (Self::Secret(..) | Self::ConfigMap(..), _) => return,
        };
        let generation = old_metadata.and_then(|old| old.generation).unwrap_or(0) + i64::from(!same_spec);
        let created = old_metadata
            .and_then(|old| old.creation_timestamp.clone())
            .unwrap_or(Time(now));
        if let Some(metadata) = self.metadata() {
            *metadata = ObjectMeta {
                name: Some(identity.key.name.to_string()),
                namespace: Some(identity.key.namespace.to_string()),
                labels: metadata.labels.take(),
                annotations: metadata.annotations.take(),
                uid: Some(uid(identity)),
                generation: Some(generation),
                creation_timestamp: Some(created),
                ..ObjectMeta::default()
            };
        }
    }
}

/// A UID that is the same in every process: FNV-1a (128 bits) of kind, namespace and name, written as a UUID of version 8
/// (RFC 9562, "custom").
pub(super) fn uid(identity: &Identity) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let text = format!("{}/{}", identity.kind.name(), identity.key);
    let hash = text
        .bytes()
        .fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    let hash = hash & !(0xf << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        hash >> 96,
        hash >> 80 & 0xffff,
        hash >> 64 & 0xffff,
        hash >> 48 & 0xffff,
        hash & 0xffff_ffff_ffff
    )
}
