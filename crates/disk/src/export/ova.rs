//! OVA: an OVF descriptor (DMTF DSP0243), its manifest and the VMDK in one ustar archive.
//!
//! The descriptor and the manifest come first but tell what is known last; they are padded to a
//! fixed length and written when the disk is.

use std::fmt::Write;
use std::fs::File;

use sha2::{Digest, Sha256};

use super::tar::{RECORD, ustar};
use super::{Identity, ImageWriter, Output, Piece, Vmdk, WriteError, Written};

/// Name of the descriptor.
pub const OVF_NAME: &str = "kldload.ovf";
/// Name of the manifest.
pub const MANIFEST_NAME: &str = "kldload.mf";
/// Name of the disk.
pub const DISK_NAME: &str = "kldload-disk.vmdk";
/// Bytes of the descriptor, with the spaces at its end.
const OVF_LENGTH: usize = 8192;
/// The largest disk a ustar head can tell.
const TOO_LARGE: &str =
    "its VMDK would be 8 GiB or more, which an OVA's ustar heads cannot tell; take vmdk";

/// The virtual machine that the descriptor describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self { name: "kldload".to_owned(), cpus: 4, memory: 4096 }
    }
}

/// Writes an OVA.
#[derive(Debug)]
pub struct Ova {
    vmdk: Vmdk,
    machine: Machine,
    size: u64,
    /// Bytes of the disk that are stored.
    populated: u64,
}

/// Where the VMDK starts in an OVA: behind two heads with their files, and its own head.
pub const DISK_OFFSET: u64 = (RECORD + OVF_LENGTH + RECORD + RECORD + RECORD) as u64;

impl Ova {
    /// Starts an appliance with a disk of `size` bytes.
    pub fn new(
        file: File,
        size: u64,
        machine: Machine,
        identity: &Identity,
    ) -> Result<Self, WriteError> {
        let mut output = Output::new(file, "OVA")?;
        output.zeros(DISK_OFFSET)?;
        let vmdk = Vmdk::inside(output, size, DISK_NAME, identity)?;
        Ok(Self { vmdk, machine, size, populated: 0 })
    }
}

impl ImageWriter for Ova {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.populated += piece.inside(self.size).len() as u64;
        self.vmdk.piece(piece)
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        let Self { vmdk, machine, size, populated } = *self;
        let (mut output, length, digest) = vmdk.close()?;
        let too_large = || WriteError::Size { format: "OVA", size, why: TOO_LARGE };
        let mut ovf = descriptor(&machine, size, length, populated).into_bytes();
        ovf.resize(OVF_LENGTH.max(ovf.len()), b' ');
        ovf.truncate(OVF_LENGTH);
        let mut manifest = manifest_line(OVF_NAME, &Sha256::digest(&ovf));
        manifest += &manifest_line(DISK_NAME, &digest);
        let mut start = Vec::new();
        for (name, bytes) in [(OVF_NAME, &ovf[..]), (MANIFEST_NAME, manifest.as_bytes())] {
            start.extend_from_slice(&ustar(name, bytes.len() as u64).ok_or_else(too_large)?);
            start.extend_from_slice(bytes);
            start.resize(start.len().next_multiple_of(RECORD), 0);
        }
        start.extend_from_slice(&ustar(DISK_NAME, length).ok_or_else(too_large)?);
        // Two empty records end the archive.
        output.zeros(2 * RECORD as u64)?;
        output.align_from(0, 20 * RECORD as u64)?;
        output.flush()?;
        output.put(&start, 0)?;
        Ok(Written { length: output.position(), sha256: None })
    }
}

fn manifest_line(name: &str, digest: &[u8]) -> String {
    let mut line = format!("SHA256({name})= ");
    for byte in digest {
        let _ = write!(line, "{byte:02x}");
    }
    line + "\n"
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars().filter(|c| !c.is_control()).take(80) {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// An item of the hardware section: its fields in the order of the schema (alphabetical).
fn item(fields: &[(&str, &str)]) -> String {
    let mut text = "      <Item>\n".to_owned();
    for (name, value) in fields {
        let _ = writeln!(text, "        <rasd:{name}>{value}</rasd:{name}>");
    }
    text + "      </Item>\n"
}

/// The descriptor: `size` bytes of disk, in a VMDK of `length` bytes with `populated` ones.
pub fn descriptor(machine: &Machine, size: u64, length: u64, populated: u64) -> String {
    let name = escape(&machine.name);
    let (cpus, memory) = (machine.cpus.to_string(), machine.memory.to_string());
    let items = [
        item(&[
            ("AllocationUnits", "hertz * 10^6"),
            ("Description", "Number of virtual CPUs"),
            ("ElementName", &format!("{cpus} virtual CPUs")),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", &cpus),
        ]),
        item(&[
            ("AllocationUnits", "byte * 2^20"),
            ("Description", "Memory size"),
            ("ElementName", &format!("{memory} MB of memory")),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", &memory),
        ]),
        item(&[
            ("Address", "0"),
            ("Description", "SCSI controller"),
            ("ElementName", "SCSI controller 0"),
            ("InstanceID", "3"),
            ("ResourceSubType", "VirtualSCSI"),
            ("ResourceType", "6"),
        ]),
        item(&[
            ("AddressOnParent", "0"),
            ("ElementName", "Hard disk 1"),
            ("HostResource", "ovf:/disk/vmdisk1"),
            ("InstanceID", "4"),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ]),
        item(&[
            ("AddressOnParent", "7"),
            ("AutomaticAllocation", "true"),
            ("Connection", "VM Network"),
            ("Description", "Network adapter"),
            ("ElementName", "Network adapter 1"),
            ("InstanceID", "5"),
            ("ResourceSubType", "VmxNet3"),
            ("ResourceType", "10"),
        ]),
    ]
    .concat();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file1" ovf:href="{DISK_NAME}" ovf:size="{length}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="{size}" ovf:capacityAllocationUnits="byte" ovf:populatedSize="{populated}" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network the machine is connected to</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest">
      <Info>The operating system</Info>
      <Description>Linux with ZFS</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-14</vssd:VirtualSystemType>
      </System>
{items}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_descriptor_fits() {
        let machine = Machine { name: "&".repeat(300), cpus: u32::MAX, memory: u32::MAX };
        let text = descriptor(&machine, u64::MAX, u64::MAX, u64::MAX);
        assert!(text.len() < OVF_LENGTH, "{}", text.len());
        assert!(text.contains("ovf:capacity=\"18446744073709551615\""));
    }
}
