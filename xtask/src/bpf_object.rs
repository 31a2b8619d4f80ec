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
    let mut sections = object.sections.iter();
    if !sections.any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = object.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    object
        .write(&mut stripped)
        .context("could not write the object without debug sections")?;
    Ok(stripped)
}

#[cfg(test)]
mod tests {
    use object::build::elf::Builder;

    use super::without_debug_sections;

    const COMMITTED: &[u8] =
        include_bytes!("../../netwatch-sdk/src/backend/ebpf/object/netwatch.x86_64.o");

    fn sections(object: &[u8]) -> Vec<String> {
        let object = Builder::read(object).unwrap();
        object
            .sections
            .iter()
            .map(|section| String::from_utf8_lossy(section.name.as_slice()).into_owned())
            .collect()
    }

    #[test]
    fn stripping_what_is_stripped_changes_nothing() {
        assert_eq!(without_debug_sections(COMMITTED).unwrap(), COMMITTED);
    }

    #[test]
    fn debug_sections_go_and_btf_stays() {
        let mut object = Builder::read(COMMITTED).unwrap();
        let debug = object.sections.add();
        debug.name = b".debug_info".as_slice().into();
        debug.sh_type = object::elf::SHT_PROGBITS;
        debug.sh_addralign = 1;
        debug.data = object::build::elf::SectionData::Data(vec![1, 2, 3].into());
        let mut with_debug = Vec::new();
        object.write(&mut with_debug).unwrap();
        assert!(sections(&with_debug).contains(&".debug_info".to_owned()));

        let stripped = without_debug_sections(&with_debug).unwrap();
        assert_eq!(stripped, COMMITTED);
        assert!(sections(&stripped).contains(&".BTF.ext".to_owned()));
    }

    #[test]
    fn an_object_without_btf_is_refused() {
        let mut object = Builder::read(COMMITTED).unwrap();
        for section in &mut object.sections {
            section.delete = section.name.as_slice() == b".BTF.ext"
                || section.name.as_slice() == b".rel.BTF.ext";
        }
        object.delete_orphans();
        let mut bare = Vec::new();
        object.write(&mut bare).unwrap();
        let error = without_debug_sections(&bare).unwrap_err();
        assert!(error.to_string().contains(".BTF.ext"), "{error}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(without_debug_sections(b"not an ELF file").is_err());
    }
}
