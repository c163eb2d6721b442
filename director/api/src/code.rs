//! Error codes, as clients and task logs see them.

macro_rules! codes {
    ($($name:ident = $number:literal, $status:literal;)*) => {
        /// Why a request or a task failed (upstream: bosh-director/lib/bosh/director/errors.rb).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are upstream's and say it all")]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            const ALL: &[Self] = &[$(Self::$name),*];

            /// The first error with that number.
            pub fn from_number(number: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.number() == number)
            }

            /// The number in `{"code": ...}`. A few numbers stand for two errors.
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The HTTP status of a reply with this error.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    // Any failure that has no code of its own.
    Generic = 100, 500;
    TaskNotFound = 10000, 404;
    TaskCancelled = 10001, 200;
    TaskUnexpectedState = 10002, 400;
    UserNotFound = 20000, 404;
    UserImmutableUsername = 20001, 400;
    UserInvalid = 20002, 400;
    UserNameTaken = 20003, 400;
    UserManagementNotSupported = 20004, 400;
    ReleaseAlreadyExists = 30000, 400;
    ReleaseExistingPackageHashMismatch = 30001, 400;
    ReleaseInvalidArchive = 30002, 400;
    ReleaseManifestNotFound = 30003, 400;
    ReleaseExistingJobHashMismatch = 30004, 400;
    ReleaseNotFound = 30005, 404;
    ReleaseVersionNotFound = 30006, 404;
    ReleaseInUse = 30007, 400;
    ReleaseVersionInUse = 30008, 400;
    ReleaseDeleteFailed = 30009, 400;
    ReleaseVersionInvalid = 30010, 400;
    ReleaseNotMatchingManifest = 30011, 400;
    ReleaseInvalidPackage = 30012, 400;
    ReleaseExistingJobFingerprintMismatch = 30013, 400;
    ReleaseVersionCommitHashMismatch = 30014, 400;
    ReleaseSha1DoesNotMatch = 30015, 400;
    ReleasePackageDependencyKeyMismatch = 30016, 400;
    ValidationInvalidType = 40000, 400;
    ValidationMissingField = 40001, 400;
    ValidationViolatedMin = 40002, 400;
    ValidationViolatedMax = 40003, 400;
    ValidationExtraField = 40004, 400;
    ValidationInvalidValue = 40005, 400;
    StemcellInvalidArchive = 50000, 400;
    StemcellImageNotFound = 50001, 400;
    StemcellAlreadyExists = 50002, 400;
    StemcellNotFound = 50003, 404;
    StemcellInUse = 50004, 400;
    StemcellAliasAlreadyExists = 50005, 400;
    StemcellSha1DoesNotMatch = 50007, 400;
    StemcellNotSupported = 50008, 400;
    PackageInvalidArchive = 60000, 400;
    PackageMissingSourceCode = 60001, 400;
    CompiledPackageDeletionFailed = 60002, 400;
    PackageMissingExportedFrom = 60003, 400;
    StemcellNotPresentInExportedFrom = 60004, 400;
    DeploymentNotFound = 70000, 404;
    InstanceNotFound = 70001, 404;
    InstanceInvalidIndex = 70002, 400;
    InstanceDeploymentMissing = 70003, 400;
    InstanceVmMissing = 70004, 400;
    VmAgentIdMissing = 70005, 400;
    VmCloudIdMissing = 70006, 400;
    VmInstanceOutOfSync = 70006, 400;
    InstanceTargetStateUndefined = 70007, 400;
    SnapshotNotFound = 70008, 400;
    JobNotFound = 70009, 404;
    ContextIdViolatedMax = 70010, 400;
    VariableSetNotFound = 70011, 400;
    ConfigTypeMismatch = 70012, 500;
    JobInvalidArchive = 80000, 400;
    JobMissingManifest = 80001, 400;
    JobMissingTemplateFile = 80002, 400;
    JobMissingPackage = 80003, 400;
    JobMissingMonit = 80004, 400;
    JobInvalidLogSpec = 80005, 400;
    JobTemplateBindingFailed = 80006, 400;
    JobInvalidPropertySpec = 80008, 400;
    InstanceGroupInvalidPropertyMapping = 80009, 400;
    JobIncompatibleSpecs = 80010, 400;
    JobPackageCollision = 80011, 400;
    JobInvalidPackageSpec = 80012, 400;
    JobInvalidLinkSpec = 80013, 400;
    JobDuplicateLinkName = 80014, 400;
    JobWithExportedFromMismatch = 80015, 400;
    JobInvalidName = 80016, 400;
    ResourceError = 100001, 400;
    ResourceNotFound = 100002, 404;
    PropertyAlreadyExists = 110001, 400;
    PropertyInvalid = 110002, 400;
    PropertyNotFound = 110003, 404;
    CompilationConfigUnknownNetwork = 120001, 400;
    CompilationConfigInvalidAvailabilityZone = 120002, 400;
    CompilationConfigInvalidVmType = 120003, 400;
    CompilationConfigInvalidVmExtension = 120005, 400;
    CompilationConfigVmTypeRequired = 120006, 400;
    CompilationConfigBadVmConfiguration = 120007, 400;
    NetworkReservationInvalidIp = 130001, 400;
    NetworkReservationMissing = 130002, 400;
    NetworkReservationAlreadyExists = 130003, 400;
    NetworkReservationInvalidType = 130004, 400;
    NetworkReservationIpMissing = 130005, 400;
    NetworkReservationIpNotOwned = 130006, 400;
    NetworkReservationVipDefaultProvided = 130007, 400;
    NetworkReservationAlreadyInUse = 130008, 400;
    NetworkReservationWrongType = 130009, 400;
    NetworkReservationError = 130010, 400;
    NetworkReservationNotEnoughCapacity = 130011, 400;
    NetworkReservationIpOutsideSubnet = 130012, 400;
    NetworkReservationIpReserved = 130013, 400;
    NetworkReservationVipMisconfigured = 130014, 400;
    NetworkReservationInvalidPrefix = 130015, 400;
    InstanceGroupMissingRelease = 140001, 400;
    InstanceGroupUnknownRelease = 140002, 400;
    InstanceGroupUnknownResourcePool = 140003, 400;
    InstanceGroupUnknownVmType = 140004, 400;
    InstanceGroupUnknownStemcell = 140005, 400;
    JobInvalidInstanceIndex = 140006, 400;
    InstanceGroupInvalidInstanceState = 140007, 400;
    InstanceGroupInvalidState = 140008, 400;
    JobMissingNetwork = 140009, 400;
    InstanceGroupInvalidJobs = 140010, 400;
    JobInvalidLifecycle = 140011, 400;
    InstanceGroupUnknownDiskType = 140012, 400;
    InstanceGroupInvalidPersistentDisk = 140013, 400;
    JobMissingLink = 140014, 400;
    UnusedProvidedLink = 140015, 400;
    JobInvalidAvailabilityZone = 140016, 400;
    JobMissingAvailabilityZones = 140017, 400;
    JobUnknownAvailabilityZone = 140018, 400;
    InstanceGroupAmbiguousEnv = 140019, 400;
    JobBothInstanceGroupAndJob = 140020, 400;
    JobInstanceIgnored = 140021, 400;
    InstanceGroupBadVmConfiguration = 140022, 400;
    ReleaseMissingJob = 140029, 400;
    V1DeprecatedJob = 140023, 400;
    V1DeprecatedTemplate = 140024, 400;
    V1DeprecatedResourcePool = 140025, 400;
    V1DeprecatedNetworks = 140026, 400;
    V1DeprecatedDiskPools = 140027, 400;
    V1DeprecatedResourcePools = 140028, 400;
    V1DeprecatedGlobalProperties = 140030, 400;
    V1DeprecatedAddOnProperties = 140032, 400;
    JobUnknownNetwork = 150001, 400;
    InstanceGroupNetworkInstanceIpMismatch = 150002, 400;
    JobNetworkInvalidDefault = 150003, 400;
    JobNetworkMultipleDefaults = 150004, 400;
    JobNetworkMissingDefault = 150005, 400;
    JobNetworkMissingRequiredAvailabilityZone = 150006, 400;
    JobStaticIpsFromInvalidAvailabilityZone = 150007, 400;
    JobStaticIPNotSupportedOnDynamicNetwork = 150008, 400;
    JobInvalidStaticIPs = 150009, 400;
    NetworkOverlappingSubnets = 160001, 400;
    NetworkInvalidRange = 160002, 400;
    NetworkInvalidGateway = 160003, 400;
    NetworkInvalidDns = 160004, 400;
    NetworkReservedIpOutOfRange = 160005, 400;
    NetworkStaticIpOutOfRange = 160006, 400;
    NetworkSubnetUnknownAvailabilityZone = 160007, 400;
    NetworkInvalidProperty = 160008, 400;
    NetworkSubnetInvalidAvailabilityZone = 160009, 400;
    NetworkInvalidIpRangeFormat = 160010, 400;
    NetworkDeletingUnorphanedError = 160011, 400;
    NetworkNotFoundError = 16012, 400;
    NetworkPrefixSizeTooBig = 16013, 400;
    NetworkPrefixSizesDiffer = 16014, 400;
    NetworkPrefixStaticIpNotBaseAddress = 16015, 400;
    ResourcePoolUnknownNetwork = 170001, 400;
    ResourcePoolNotEnoughCapacity = 170002, 400;
    UpdateConfigInvalidWatchTime = 180001, 400;
    DeploymentAmbiguousReleaseSpec = 190001, 400;
    DeploymentDuplicateReleaseName = 190002, 400;
    DeploymentDuplicateResourcePoolName = 190003, 400;
    DeploymentDuplicateVmTypeName = 190004, 400;
    DeploymentDuplicateVmExtensionName = 190005, 400;
    DeploymentCanonicalJobNameTaken = 190006, 400;
    DeploymentCanonicalNetworkNameTaken = 190007, 400;
    DeploymentNoNetworks = 190008, 400;
    DeploymentCanonicalNameTaken = 190009, 400;
    DeploymentInvalidNetworkType = 190010, 400;
    DeploymentUnknownTemplate = 190011, 400;
    DeploymentInvalidDiskSpecification = 190012, 400;
    DeploymentDuplicateDiskTypeName = 190013, 400;
    DeploymentInvalidProperty = 190014, 400;
    DeploymentNoResourcePools = 190015, 400;
    DeploymentInvalidLink = 190016, 400;
    DeploymentDuplicateAvailabilityZoneName = 190017, 400;
    DeploymentInvalidMigratedFromJob = 190018, 400;
    DeploymentInvalidResourceSpecification = 190019, 400;
    DeploymentIgnoredInstancesModification = 190020, 400;
    DeploymentIgnoredInstancesDeletion = 190021, 400;
    DeploymentDuplicateVariableName = 190022, 400;
    DeploymentNATSClientCertificateGenerationError = 190023, 400;
    DeploymentRequired = 190024, 400;
    DeploymentInvalidConfigReference = 190025, 400;
    DiskTypeInvalidDiskSize = 200001, 400;
    IncompatibleFeatures = 210001, 400;
    CloudDiskNotAttached = 390001, 400;
    CloudDiskMissing = 390002, 400;
    CloudNotEnoughDiskSpace = 390003, 400;
    AgentTaskNoBlobstoreId = 400001, 400;
    AgentInvalidStateFormat = 400002, 400;
    AgentWrongDeployment = 400003, 400;
    AgentUnexpectedJob = 400004, 400;
    AgentRenameInProgress = 400005, 400;
    AgentJobMismatch = 400006, 400;
    AgentJobNotRunning = 400007, 400;
    AgentJobNotStopped = 400008, 400;
    AgentUnexpectedDisk = 400009, 400;
    AgentDiskOutOfSync = 400010, 400;
    AgentInvalidTaskResult = 400011, 400;
    AgentUnsupportedAction = 400012, 400;
    AgentUploadBlobUnableToOpenFile = 400013, 400;
    AgentTaskInvalidBlobstoreId = 400014, 400;
    CloudcheckTooManySimilarProblems = 410001, 400;
    CloudcheckResolutionNotProvided = 410002, 400;
    CloudcheckInvalidResolutionFormat = 410003, 400;
    CloudcheckResurrectionPaused = 410004, 400;
    DnsInvalidCanonicalName = 420001, 400;
    PackageCompilationInvalidTaskBlobstoreId = 430004, 400;
    PackageCompilationNotEnoughWorkersForReuse = 430002, 400;
    PackageCompilationNotFound = 430003, 400;
    BadManifest = 440001, 400;
    BadConfigRequest = 440010, 400;
    BadConfig = 440011, 400;
    ConfigNotFound = 440012, 404;
    BadExpectedConfigID = 440013, 400;
    RpcRemoteException = 450001, 400;
    RpcTimeout = 450002, 400;
    SystemError = 500000, 500;
    NotEnoughDiskSpace = 500001, 500;
    RunErrandError = 510000, 400;
    DeletingPersistentDiskError = 520000, 400;
    AttachDiskErrorUnknownInstance = 520001, 400;
    AttachDiskNoPersistentDisk = 520002, 400;
    AttachDiskInvalidInstanceState = 520003, 400;
    RuntimeAmbiguousReleaseSpec = 530000, 400;
    RuntimeInvalidReleaseVersion = 530001, 400;
    AddonReleaseNotListedInReleases = 530002, 400;
    RuntimeInvalidDeploymentRelease = 530003, 400;
    AddonIncompleteFilterJobSection = 530004, 400;
    AddonIncompleteFilterStemcellSection = 530005, 400;
    AddonDeploymentFilterNotAllowed = 530006, 400;
    RuntimeConfigParseError = 530006, 400;
    ConfigServerFetchError = 540001, 400;
    ConfigServerMissingName = 540002, 400;
    ConfigServerUnknownError = 540003, 400;
    ConfigServerIncorrectNameSyntax = 540004, 400;
    ConfigServerGenerationError = 540005, 400;
    ConfigServerDeploymentNameMissing = 540006, 400;
    ConfigServerIncorrectVariablePlacement = 540007, 400;
    ConfigServerInconsistentVariableState = 540008, 400;
    ConfigServerDisabledError = 540009, 400;
    CpiDuplicateName = 550000, 400;
    CpiNotFound = 550001, 400;
    VariablesInvalidFormat = 560000, 400;
    FeaturesInvalidFormat = 560001, 400;
    CloudConfigMergeError = 570000, 400;
    UnauthorizedToAccessDeployment = 600000, 401;
    UAAAuthorizationError = 610000, 400;
    InvalidYamlError = 710000, 400;
    InvalidJsonError = 710001, 400;
    LinkLookupError = 810000, 404;
    LinkCreateError = 810001, 400;
    LinkProviderLookupError = 810002, 400;
    LinkNetworkLookupError = 810003, 400;
    LinkDeleteError = 810004, 500;
    LinkNotExternalError = 810005, 400;
    LinkIdRequiredError = 810006, 400;
    LinkInvalidStatusError = 810007, 400;
    LinkInvalidAzsError = 810008, 400;
    LinkProviderNotSharedError = 810009, 403;
    InstanceGroupInvalidLifecycleError = 90000, 422;
    SubnetNotFoundInDB = 91000, 400;
}
