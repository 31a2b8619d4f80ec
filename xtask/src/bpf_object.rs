//! Removing debug information from a linked object, so that what is committed is small.
//!
//! The BTF stays: the loader needs the types, and the verifier's log quotes the line information.

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The object without its DWARF. `.BTF` and `.BTF.ext` must be there.
pub(crate) fn without_debug_sections(linked: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(linked).context("bpf-linker did not write an ELF object")?;
    for required in [".BTF", ".BTF.ext"] {
        if !object
            .sections
            .iter()
            .any(|section| section.name.as_slice() == required.as_bytes())
        {
            bail!(
                "the object has no {required}: it was linked without debug information or `--btf`"
            );
        }
    }
    for section in &mut object.sections {
        let name = section.name.as_slice();
        section.delete = [&b".debug_"[..], b".rel.debug_", b".rela.debug_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    }
    object.delete_orphans();
    // LLVM keeps section names in .strtab; the writer wants a table of their own.
    let names = object.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object
        .write(&mut stripped)
        .context("could not write the object without debug sections")?;
    Ok(stripped)
}
