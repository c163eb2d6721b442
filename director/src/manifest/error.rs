//! What can be wrong with a manifest or a config, with the numbers clients know.

/// A refusal of a manifest, a config or a plan: upstream's error class, and a message in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of `kind` with its whole text.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Which of upstream's error classes this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number in a task's or a response's `error.code`.
    pub fn code(&self) -> u32 {
        self.kind.code()
    }

    /// The HTTP status when the error ends a request.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }
}

macro_rules! kinds {
    ($($name:ident = $code:literal $(, $status:literal)? ;)*) => {
        /// Upstream's error classes that judging manifests, placing instances and resolving links and
        /// variables can end in. Upstream: bosh/director/errors.rb.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are upstream's own; each message says the rest")]
        pub enum Kind { $($name),* }

        impl Kind {
            /// The number clients see.
            pub fn code(self) -> u32 {
                match self { $(Kind::$name => $code),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Kind::$name => kinds!(@status $($status)?)),* }
            }
        }
    };
    (@status) => { 400 };
    (@status $status:literal) => { $status };
}

kinds! {
    Director = 100, 500;
    ReleaseNotFound = 30005, 404;
    ReleaseVersionNotFound = 30006, 404;
    ValidationInvalidType = 40000;
    ValidationMissingField = 40001;
    ValidationViolatedMin = 40002;
    ValidationViolatedMax = 40003;
    ValidationExtraField = 40004;
    ValidationInvalidValue = 40005;
    StemcellNotFound = 50003, 404;
    StemcellAliasAlreadyExists = 50005;
    JobInvalidPropertySpec = 80008;
    InstanceGroupInvalidPropertyMapping = 80009;
    JobPackageCollision = 80011;
    JobInvalidLinkSpec = 80013;
    JobWithExportedFromMismatch = 80015;
    CompilationConfigUnknownNetwork = 120001;
    CompilationConfigInvalidAvailabilityZone = 120002;
    CompilationConfigInvalidVmType = 120003;
    CompilationConfigInvalidVmExtension = 120005;
    CompilationConfigVmTypeRequired = 120006;
    CompilationConfigBadVmConfiguration = 120007;
    NetworkReservationInvalidIp = 130001;
    NetworkReservationIpMissing = 130005;
    NetworkReservationIpNotOwned = 130006;
    NetworkReservationVipDefaultProvided = 130007;
    NetworkReservationAlreadyInUse = 130008;
    NetworkReservationWrongType = 130009;
    NetworkReservationError = 130010;
    NetworkReservationNotEnoughCapacity = 130011;
    NetworkReservationIpOutsideSubnet = 130012;
    NetworkReservationIpReserved = 130013;
    NetworkReservationVipMisconfigured = 130014;
    NetworkReservationInvalidPrefix = 130015;
    InstanceGroupUnknownRelease = 140002;
    InstanceGroupUnknownVmType = 140004;
    InstanceGroupUnknownStemcell = 140005;
    InstanceGroupInvalidInstanceState = 140007;
    InstanceGroupInvalidState = 140008;
    JobMissingNetwork = 140009;
    InstanceGroupInvalidJobs = 140010;
    JobInvalidLifecycle = 140011;
    InstanceGroupUnknownDiskType = 140012;
    InstanceGroupInvalidPersistentDisk = 140013;
    JobMissingLink = 140014;
    UnusedProvidedLink = 140015;
    JobInvalidAvailabilityZone = 140016;
    JobMissingAvailabilityZones = 140017;
    JobUnknownAvailabilityZone = 140018;
    JobInstanceIgnored = 140021;
    InstanceGroupBadVmConfiguration = 140022;
    V1DeprecatedJob = 140023;
    V1DeprecatedTemplate = 140024;
    V1DeprecatedResourcePool = 140025;
    V1DeprecatedNetworks = 140026;
    V1DeprecatedDiskPools = 140027;
    V1DeprecatedResourcePools = 140028;
    ReleaseMissingJob = 140029;
    V1DeprecatedGlobalProperties = 140030;
    V1DeprecatedAddOnProperties = 140032;
    JobUnknownNetwork = 150001;
    InstanceGroupNetworkInstanceIpMismatch = 150002;
    JobNetworkInvalidDefault = 150003;
    JobNetworkMultipleDefaults = 150004;
    JobNetworkMissingDefault = 150005;
    JobNetworkMissingRequiredAvailabilityZone = 150006;
    JobStaticIpsFromInvalidAvailabilityZone = 150007;
    JobStaticIpNotSupportedOnDynamicNetwork = 150008;
    JobInvalidStaticIps = 150009;
    NetworkOverlappingSubnets = 160001;
    NetworkInvalidRange = 160002;
    NetworkInvalidGateway = 160003;
    NetworkInvalidDns = 160004;
    NetworkReservedIpOutOfRange = 160005;
    NetworkStaticIpOutOfRange = 160006;
    NetworkSubnetUnknownAvailabilityZone = 160007;
    NetworkInvalidProperty = 160008;
    NetworkSubnetInvalidAvailabilityZone = 160009;
    NetworkInvalidIpRangeFormat = 160010;
    NetworkPrefixSizeTooBig = 16013;
    NetworkPrefixSizesDiffer = 16014;
    NetworkPrefixStaticIpNotBaseAddress = 16015;
    UpdateConfigInvalidWatchTime = 180001;
    DeploymentAmbiguousReleaseSpec = 190001;
    DeploymentDuplicateReleaseName = 190002;
    DeploymentDuplicateVmTypeName = 190004;
    DeploymentDuplicateVmExtensionName = 190005;
    DeploymentCanonicalJobNameTaken = 190006;
    DeploymentCanonicalNetworkNameTaken = 190007;
    DeploymentNoNetworks = 190008;
    DeploymentInvalidNetworkType = 190010;
    DeploymentUnknownTemplate = 190011;
    DeploymentDuplicateDiskTypeName = 190013;
    DeploymentInvalidProperty = 190014;
    DeploymentInvalidLink = 190016;
    DeploymentDuplicateAvailabilityZoneName = 190017;
    DeploymentInvalidMigratedFromJob = 190018;
    DeploymentInvalidResourceSpecification = 190019;
    DeploymentIgnoredInstancesModification = 190020;
    DeploymentIgnoredInstancesDeletion = 190021;
    DeploymentDuplicateVariableName = 190022;
    DiskTypeInvalidDiskSize = 200001;
    IncompatibleFeatures = 210001;
    DnsInvalidCanonicalName = 420001;
    BadManifest = 440001;
    RuntimeAmbiguousReleaseSpec = 530000;
    RuntimeInvalidReleaseVersion = 530001;
    AddonReleaseNotListedInReleases = 530002;
    RuntimeInvalidDeploymentRelease = 530003;
    AddonIncompleteFilterJobSection = 530004;
    AddonIncompleteFilterStemcellSection = 530005;
    AddonDeploymentFilterNotAllowed = 530006;
    ConfigServerFetchError = 540001;
    ConfigServerMissingName = 540002;
    ConfigServerIncorrectNameSyntax = 540004;
    ConfigServerGenerationError = 540005;
    ConfigServerDeploymentNameMissing = 540006;
    ConfigServerIncorrectVariablePlacement = 540007;
    ConfigServerInconsistentVariableState = 540008;
    CpiDuplicateName = 550000;
    VariablesInvalidFormat = 560000;
    FeaturesInvalidFormat = 560001;
    CloudConfigMergeError = 570000;
    InvalidYaml = 710000;
    LinkLookupError = 810000, 404;
}
