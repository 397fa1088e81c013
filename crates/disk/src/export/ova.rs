//! OVA: an OVF descriptor (DMTF DSP0243), its manifest and the VMDK in one ustar archive.
//!
//! The descriptor and the manifest come first but tell what is known last; they are padded to a
//! fixed length and written when the disk is. A disk that may need 8 GiB or more has an extended head
//! (pax) before its own, which cannot tell such a size.

use std::fmt::Write;
use std::fs::File;

use std::io;
use std::ops::Range;

use blk::ReadAt;
use sha2::{Digest, Sha256};

use super::tar::{MAX_OCTAL, RECORD, member, pax_size, ustar};
use super::{Identity, ImageWriter, Output, PIECE, Piece, Vmdk, WriteError, Written};

/// Name of the descriptor.
pub const OVF_NAME: &str = "kldload.ovf";
/// Name of the manifest.
pub const MANIFEST_NAME: &str = "kldload.mf";
/// Name of the disk.
pub const DISK_NAME: &str = "kldload-disk.vmdk";
/// Bytes of the descriptor, with the spaces at its end.
const OVF_LENGTH: usize = 8192;
/// Where the head of the disk is, or that of its extended head: behind two heads with their files.
const DISK_HEAD: u64 = (RECORD + OVF_LENGTH + RECORD + RECORD) as u64;

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
    /// Whether the disk has an extended head.
    extended: bool,
}

/// The extended head and the head of a disk of `length` bytes, however large.
pub fn disk_heads(length: u64) -> Vec<u8> {
    let mut heads = pax_size(DISK_NAME, length);
    heads.extend_from_slice(&ustar(DISK_NAME, length));
    heads
}

/// Where the VMDK lies in an OVA of ours.
pub fn disk_range(file: &dyn ReadAt) -> io::Result<Range<u64>> {
    let mut at = DISK_HEAD;
    loop {
        let mut head = [0; RECORD];
        file.read_exact_at(&mut head, at)?;
        at += RECORD as u64;
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "this is not an OVA of ours");
        match member(&head) {
            Some((name, size, b'0')) if name == DISK_NAME.as_bytes() => {
                return Ok(at..at.checked_add(size).ok_or_else(wrong)?);
            }
            Some((_, size, b'x'))
                if size <= RECORD as u64 && at < DISK_HEAD + 2 * RECORD as u64 =>
            {
                at += RECORD as u64;
            }
            _ => return Err(wrong()),
        }
    }
}

impl Ova {
    /// Starts an appliance with a disk of `size` bytes, of which at most `most` are written.
    pub fn new(
        file: File,
        size: u64,
        most: u64,
        machine: Machine,
        identity: &Identity,
    ) -> Result<Self, WriteError> {
        let mut output = Output::new(file, "OVA")?.keeping();
        // Of each piece a grain that did not shrink, of the whole disk its tables.
        let grains = most.div_ceil(PIECE as u64).saturating_mul(PIECE as u64 + 1024);
        let extended = grains.saturating_add(size / 8192 + (1 << 20)) > MAX_OCTAL;
        output.zeros(DISK_HEAD + RECORD as u64 * if extended { 3 } else { 1 })?;
        let vmdk = Vmdk::inside(output, size, DISK_NAME, identity)?;
        Ok(Self { vmdk, machine, size, populated: 0, extended })
    }
}

impl ImageWriter for Ova {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.populated += piece.inside(self.size).len() as u64;
        self.vmdk.piece(piece)
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        let Self { vmdk, machine, size, populated, extended } = *self;
        let (mut output, length, digest) = vmdk.close()?;
        let mut ovf = descriptor(&machine, size, length, populated).into_bytes();
        ovf.resize(OVF_LENGTH.max(ovf.len()), b' ');
        ovf.truncate(OVF_LENGTH);
        let mut manifest = manifest_line(OVF_NAME, &Sha256::digest(&ovf));
        manifest += &manifest_line(DISK_NAME, &digest);
        let mut start = Vec::new();
        for (name, bytes) in [(OVF_NAME, &ovf[..]), (MANIFEST_NAME, manifest.as_bytes())] {
            start.extend_from_slice(&ustar(name, bytes.len() as u64));
            start.extend_from_slice(bytes);
            start.resize(start.len().next_multiple_of(RECORD), 0);
        }
        if extended {
            start.extend_from_slice(&disk_heads(length));
        } else {
            start.extend_from_slice(&ustar(DISK_NAME, length));
        }
        // Two empty records end the archive.
        output.zeros(2 * RECORD as u64)?;
        output.align_from(0, 20 * RECORD as u64)?;
        output.flush()?;
        output.put(&start, 0)?;
        Ok(Written::new(output.position()))
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
    fn a_refusal_names_what_was_asked() {
        let new = |size| {
            let file = tempfile::tempfile().unwrap();
            Ova::new(file, size, 0, Machine::default(), &Identity([0; 32])).map(drop)
        };
        new(2040 << 30).unwrap();
        let text = new((2040 << 30) + 512).unwrap_err().to_string();
        assert!(text.contains("OVA: 2040 GiB are the most; take vhdx or qcow2"), "{text}");
    }

    #[test]
    fn the_longest_descriptor_fits() {
        let machine = Machine { name: "&".repeat(300), cpus: u32::MAX, memory: u32::MAX };
        let text = descriptor(&machine, u64::MAX, u64::MAX, u64::MAX);
        assert!(text.len() < OVF_LENGTH, "{}", text.len());
        assert!(text.contains("ovf:capacity=\"18446744073709551615\""));
    }
}
