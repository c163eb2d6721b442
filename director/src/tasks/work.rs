//! What tasks do: data in the database, so that any process can take it.

use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::{Context, Error, jobs};
use crate::app::Director;
use crate::release::Source;

macro_rules! work {
    ($($(#[$doc:meta])* $variant:ident($job:ty) = $kind:literal, $queue:literal;)*) => {
        /// The work of a task. One file per kind in [`jobs`].
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(tag = "kind", content = "parameters", rename_all = "snake_case")]
        pub enum Work {
            $($(#[$doc])* $variant($job),)*
        }

        impl Work {
            /// What `tasks.type` says, as upstream's jobs name themselves.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// `urgent` work does not wait behind deploys.
            pub fn queue(&self) -> &'static str {
                match self { $(Self::$variant(_) => $queue,)* }
            }

            /// Does it. `Ok` is what the task's `result` says, such as
            /// `/deployments/NAME`.
            pub fn run<'a>(
                self,
                director: &'a Director,
                task: &'a Context,
            ) -> Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>> {
                // Boxed: each job's future is large, and only one runs here.
                match self { $(Self::$variant(job) => Box::pin(job.run(director, task)),)* }
            }
        }
    };
}

impl Work {
    /// Whether it needs a file that only its director has: an upload.
    pub(super) fn is_bound(&self) -> bool {
        match self {
            Self::UpdateRelease(job) => matches!(job.source, Source::File(_)),
            Self::UpdateStemcell(job) => matches!(job.source, Source::File(_)),
            _ => false,
        }
    }
}

work! {
    /// Upload of a release.
    UpdateRelease(jobs::update_release::UpdateRelease) = "update_release", "normal";
    /// Deletion of a release or one version of it.
    DeleteRelease(jobs::delete_release::DeleteRelease) = "delete_release", "normal";
    /// Upload of a stemcell.
    UpdateStemcell(jobs::update_stemcell::UpdateStemcell) = "update_stemcell", "normal";
    /// Deletion of a stemcell.
    DeleteStemcell(jobs::delete_stemcell::DeleteStemcell) = "delete_stemcell", "normal";
    /// `bosh clean-up`.
    CleanupArtifacts(jobs::cleanup_artifacts::CleanupArtifacts) = "delete_artifacts", "normal";
    /// Deletion of orphaned disks.
    DeleteOrphanDisks(jobs::delete_orphan_disks::DeleteOrphanDisks) = "delete_orphan_disks", "normal";
    /// Deploy, and changes of the state of instance groups.
    UpdateDeployment(jobs::update_deployment::UpdateDeployment) = "update_deployment", "normal";
    /// Deletion of a deployment.
    DeleteDeployment(jobs::delete_deployment::DeleteDeployment) = "delete_deployment", "normal";
    /// Start, stop, restart or recreate of one instance.
    UpdateInstance(jobs::update_instance::UpdateInstance) = "update_instance", "normal";
    /// Run of an errand.
    RunErrand(jobs::run_errand::RunErrand) = "run_errand", "normal";
    /// Logs of instances.
    FetchLogs(jobs::fetch_logs::FetchLogs) = "fetch_logs", "normal";
    /// Set-up and clean-up of ssh access.
    Ssh(jobs::ssh::Ssh) = "ssh", "urgent";
    /// State and vitals of VMs.
    VmState(jobs::vm_state::VmState) = "vms", "urgent";
    /// Cloud check: look.
    Scan(jobs::scan::Scan) = "cck_scan", "normal";
    /// Cloud check: repair as told.
    ApplyResolutions(jobs::apply_resolutions::ApplyResolutions) = "cck_apply", "normal";
    /// Cloud check: look and repair, for the health monitor.
    ScanAndFix(jobs::scan_and_fix::ScanAndFix) = "cck_scan_and_fix", "normal";
    /// Deletion of a VM by the cloud's id.
    DeleteVm(jobs::delete_vm::DeleteVm) = "delete_vm", "normal";
    /// Attachment of a disk by the cloud's id.
    AttachDisk(jobs::attach_disk::AttachDisk) = "attach_disk", "normal";
    /// Orphaning of a disk by the cloud's id.
    OrphanDisk(jobs::orphan_disk::OrphanDisk) = "orphan_disk", "normal";
    /// Snapshots of one instance's disks.
    CreateSnapshot(jobs::create_snapshot::CreateSnapshot) = "create_snapshot", "normal";
    /// Snapshots of all disks of a deployment.
    SnapshotDeployment(jobs::snapshot_deployment::SnapshotDeployment) = "snapshot_deployment", "normal";
    /// Deletion of snapshots.
    DeleteSnapshots(jobs::delete_snapshots::DeleteSnapshots) = "delete_snapshot", "normal";
    /// Deletion of all snapshots of a deployment.
    DeleteDeploymentSnapshots(jobs::delete_deployment_snapshots::DeleteDeploymentSnapshots) = "delete_deployment_snapshots", "normal";
    /// Compilation of a release into an archive.
    ExportRelease(jobs::export_release::ExportRelease) = "export_release", "normal";
    /// Deletion of orphaned managed networks.
    DeleteOrphanNetworks(jobs::delete_orphan_networks::DeleteOrphanNetworks) = "delete_orphan_networks", "normal";
    /// By the clock: old orphaned networks.
    CleanOrphanedNetworks(jobs::clean_orphaned_networks::CleanOrphanedNetworks) = "scheduled_orphaned_network_cleanup", "normal";
    /// Making a disk apart from any deploy.
    CreateDynamicDisk(jobs::dynamic_disks::create::CreateDynamicDisk) = "create_dynamic_disk", "urgent";
    /// Attaching such a disk.
    AttachDynamicDisk(jobs::dynamic_disks::attach::AttachDynamicDisk) = "attach_dynamic_disk", "urgent";
    /// Making, where there is none, and attaching such a disk.
    ProvideDynamicDisk(jobs::dynamic_disks::provide::ProvideDynamicDisk) = "provide_dynamic_disk", "urgent";
    /// Detaching such a disk.
    DetachDynamicDisk(jobs::dynamic_disks::detach::DetachDynamicDisk) = "detach_dynamic_disk", "urgent";
    /// Deletion of such a disk.
    DeleteDynamicDisk(jobs::dynamic_disks::delete::DeleteDynamicDisk) = "delete_dynamic_disk", "urgent";
    /// By the clock: snapshots of all deployments.
    SnapshotDeployments(jobs::snapshot_deployments::SnapshotDeployments) = "snapshot_deployments", "normal";
    /// By the clock: snapshots of the director's own disks.
    SnapshotSelf(jobs::snapshot_self::SnapshotSelf) = "snapshot_self", "normal";
    /// By the clock: old tasks.
    CleanTasks(jobs::clean_tasks::CleanTasks) = "scheduled_task_cleanup", "normal";
    /// By the clock: old events.
    CleanEvents(jobs::clean_events::CleanEvents) = "scheduled_events_cleanup", "normal";
    /// By the clock: old orphaned disks.
    CleanOrphanedDisks(jobs::clean_orphaned_disks::CleanOrphanedDisks) = "scheduled_orphaned_disk_cleanup", "normal";
    /// By the clock: orphaned VMs.
    CleanOrphanedVms(jobs::clean_orphaned_vms::CleanOrphanedVms) = "scheduled_orphaned_vm_cleanup", "normal";
    /// By the clock: blobs that nothing refers to.
    CleanBlobs(jobs::clean_blobs::CleanBlobs) = "scheduled_blobs_cleanup", "normal";
    /// By the clock: old blobs of DNS records.
    CleanDnsBlobs(jobs::clean_dns_blobs::CleanDnsBlobs) = "scheduled_dns_blobs_cleanup", "normal";
    /// By the clock: tombstones of DNS records.
    CleanDnsTombstones(jobs::clean_dns_tombstones::CleanDnsTombstones) = "scheduled_dns_tombstone_cleanup", "normal";
}
