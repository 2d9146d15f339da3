//! `Debug` for the messages that carry credentials.
//!
//! A request is printed by spans, by errors and by tests that fail, none of which asks first. So
//! the type itself must not be able to print a secret. `build.rs` finds the messages by their
//! fields' `csi_secret` option; nothing here knows them by name.

use std::fmt;

/// The fields in the first list as they are, of the second only how many entries there are, of the
/// third nothing: the length of a single secret already says something of it.
macro_rules! redacted {
    ($message:path, [$($shown:ident)*], [$($counted:ident)*], [$($hidden:ident)*]) => {
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = stringify!($message);
                f.debug_struct(name.rsplit("::").next().unwrap_or(name).trim())
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(
                        stringify!($counted),
                        &format_args!("<redacted {}>", self.$counted.len()),
                    ))*
                    $(.field(stringify!($hidden), &format_args!("<redacted>")))*
                    .finish()
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/redact.rs"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;

    use crate::DESCRIPTOR;
    use crate::csi::v1::volume_capability::{AccessType, MountVolume};
    use crate::csi::v1::*;

    const SECRET: &str = "hunter2";

    /// As much of a descriptor as the option needs: `prost_types` has no place for extensions.
    mod descriptor {
        #[derive(prost::Message)]
        pub(super) struct Set {
            #[prost(message, repeated, tag = "1")]
            pub(super) files: Vec<File>,
        }

        #[derive(prost::Message)]
        pub(super) struct File {
            #[prost(message, repeated, tag = "4")]
            pub(super) messages: Vec<Message>,
        }

        #[derive(prost::Message)]
        pub(super) struct Message {
            #[prost(string, tag = "1")]
            pub(super) name: String,
            #[prost(message, repeated, tag = "2")]
            pub(super) fields: Vec<Field>,
            #[prost(message, repeated, tag = "3")]
            pub(super) nested: Vec<Message>,
        }

        #[derive(prost::Message)]
        pub(super) struct Field {
            #[prost(message, optional, tag = "8")]
            pub(super) options: Option<Options>,
        }

        #[derive(prost::Message)]
        pub(super) struct Options {
            #[prost(bool, tag = "1059")]
            pub(super) csi_secret: bool,
        }

        impl Message {
            pub(super) fn with_nested(&self) -> Vec<&Message> {
                let nested = self.nested.iter().flat_map(Message::with_nested);
                std::iter::once(self).chain(nested).collect()
            }

            pub(super) fn has_secret(&self) -> bool {
                self.fields
                    .iter()
                    .filter_map(|field| field.options.as_ref())
                    .any(|it| it.csi_secret)
            }
        }
    }

    fn marked() -> BTreeSet<String> {
        let set = descriptor::Set::decode(DESCRIPTOR).unwrap();
        let messages = set.files.iter().flat_map(|file| &file.messages);
        let messages = messages.flat_map(descriptor::Message::with_nested);
        messages.filter(|it| it.has_secret()).map(|it| it.name.clone()).collect()
    }

    /// The name of each message, and what its `Debug` says with one secret in it.
    macro_rules! printed {
        ($($message:ident)*) => {
            [$({
                let mut message = $message::default();
                message.secrets.insert("passphrase".into(), SECRET.into());
                (stringify!($message), format!("{message:?} {message:#?}"))
            }),*]
        };
    }

    #[test]
    fn no_marked_message_prints_a_secret() {
        let printed = printed![
            CreateVolumeRequest DeleteVolumeRequest ControllerPublishVolumeRequest
            ControllerUnpublishVolumeRequest ValidateVolumeCapabilitiesRequest
            ControllerListVolumeHealthRequest ControllerGetVolumeHealthRequest
            ControllerModifyVolumeRequest CreateSnapshotRequest DeleteSnapshotRequest
            ListSnapshotsRequest GetSnapshotRequest ControllerExpandVolumeRequest
            NodeStageVolumeRequest NodePublishVolumeRequest NodeGetStorageHealthRequest
            NodeExpandVolumeRequest CreateVolumeGroupSnapshotRequest
            DeleteVolumeGroupSnapshotRequest GetVolumeGroupSnapshotRequest
            GetMetadataAllocatedRequest GetMetadataDeltaRequest
        ];
        for (name, text) in &printed {
            assert!(!text.contains(SECRET), "{text}");
            assert!(!text.contains("passphrase"), "{text}");
            assert!(text.contains("secrets: <redacted 1>"), "{text}");
            assert!(text.starts_with(&format!("{name} {{")), "{text}");
        }
        let seen: BTreeSet<_> = printed.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(seen, marked(), "every message with csi_secret has to be tried");
    }

    #[test]
    fn mount_flags_are_counted_and_never_printed() {
        let mount = MountVolume {
            fs_type: "ext4".into(),
            mount_flags: vec![format!("password={SECRET}"), "noatime".into()],
            volume_mount_group: String::new(),
        };
        let request = CreateVolumeRequest {
            name: "pvc-1".into(),
            volume_capabilities: vec![VolumeCapability {
                access_mode: None,
                access_type: Some(AccessType::Mount(mount)),
            }],
            ..Default::default()
        };
        let text = format!("{request:?}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("mount_flags: <redacted 2>"), "{text}");
        assert!(text.contains("ext4") && text.contains("pvc-1"), "{text}");
    }

    #[test]
    fn a_tonic_request_prints_no_secret_either() {
        let secrets = [("passphrase".to_owned(), SECRET.to_owned())].into();
        let request = tonic::Request::new(NodeGetStorageHealthRequest { secrets });
        assert!(!format!("{request:?}").contains(SECRET));
    }
}
