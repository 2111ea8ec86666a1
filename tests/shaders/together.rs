//! The shaders and the list of kernels as a whole: nothing is left over, nothing is there twice.

use elbo::kernel::{Source, Text};

use super::*;

/// No file, entry point, tensor or workgroup variable is left over.
#[test]
fn nothing_in_the_shaders_is_unused() {
    // Kernels may share a file, each with texts of its own behind it.
    type Texts = (&'static str, &'static [Text]);
    let mut used: BTreeMap<Texts, BTreeSet<String>> = BTreeMap::new();
    let mut there: BTreeMap<Texts, BTreeSet<String>> = BTreeMap::new();
    let mut texts: BTreeMap<Texts, &Source> = BTreeMap::new();
    for shader in parse_all() {
        let source = shader.shader.source;
        let file = (source.file, source.common);
        let module = &shader.module;
        texts.insert(file, source);
        let globals = module.global_variables.iter().map(|(_, v)| name(v).to_string());
        there.entry(file).or_default().extend(globals.chain(module.entry_points.iter().map(|e| e.name.clone())));
        let names = used.entry(file).or_default();
        names.insert(shader.shader.entry.to_string());
        names.extend(shader.used().map(|(_, v, _)| name(v).to_string()));
        let bound: BTreeSet<u32> =
            module.global_variables.iter().filter_map(|(_, v)| v.binding.as_ref()).map(|b| b.binding).collect();
        let numbers: BTreeSet<u32> = (0..=shader.shader.source.bindings.len() as u32).collect();
        assert_eq!(bound, numbers, "{}: bindings in the shader, then in the source's declaration", source.file);
    }
    for (file, names) in &there {
        // What a text declares may be used where it stands with others.
        let used_elsewhere = |name: &String| {
            let declares = |text: &&str| text.contains(&format!("fn {name}(")) || text.contains(&format!("> {name}:"));
            let of = |source: &Source| source.texts().map(|text| text.text).collect::<Vec<_>>();
            let declared_in = of(texts[file]).into_iter().find(declares);
            declared_in.is_some_and(|text| texts.iter().any(|(f, s)| of(s).contains(&text) && used[f].contains(name)))
        };
        // An entry point may do without its params; the tick of the clock does.
        let unused: Vec<_> =
            names.difference(&used[file]).filter(|name| *name != "params" && !used_elsewhere(name)).collect();
        assert!(unused.is_empty(), "{}: no kernel uses {unused:?}", file.0);
    }

    let folder = root().join("shaders");
    let embedded: BTreeSet<Text> = texts.values().flat_map(|source| source.texts()).collect();
    for path in files_below(&folder) {
        let file = path.to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(folder.join(&path)).unwrap();
        let mut declared = embedded.iter().filter(|embedded| embedded.file == file).peekable();
        assert!(declared.peek().is_some(), "no kernel uses shaders/{file}");
        declared.for_each(|embedded| assert_eq!(embedded.text, text, "{file} is declared with another file's text"));
    }
}

/// A kernel that is not in the list is not tested.
#[test]
fn every_kernel_is_in_the_list_once() {
    let names: BTreeSet<&str> = kernels::ALL.iter().map(|k| k.name).collect();
    assert_eq!(names.len(), kernels::ALL.len(), "two kernels have one name");
    let folder = root().join("src/kernels");
    let statics = |path: PathBuf| {
        let text = fs::read_to_string(folder.join(path)).unwrap();
        text.lines().filter(|line| line.starts_with("pub static ") && line.contains(": Kernel =")).count()
    };
    let declared: usize = files_below(&folder).into_iter().map(statics).sum();
    assert_eq!(declared, kernels::ALL.len(), "kernels declared in src/kernels, then those in kernels::ALL");
}

/// A size that no tile and no vector divides; a lone invocation has no edge to miss.
#[test]
fn every_kernel_has_an_odd_case() {
    for kernel in kernels::ALL {
        let cases = (kernel.cases)();
        let odd = |len: usize| len > 1 && len % 2 == 1;
        let has_edge = kernel.shader.workgroup != [1, 1, 1];
        // What is bound as vec4 has a length in fours.
        let text = kernel.shader.source.text;
        let unit = |name: &str| if text.contains(&format!(" {name}: array<vec4<f32>>")) { 4 } else { 1 };
        let tensors = |case: &elbo::cases::Case| -> Vec<usize> {
            let writes = case.writes.iter().map(|output| output.before.len());
            let names = kernel.reads.iter().chain(kernel.writes);
            case.reads.iter().map(Vec::len).chain(writes).zip(names).map(|(len, name)| len / unit(name)).collect()
        };
        assert!(!cases.is_empty(), "{} has no case", kernel.name);
        assert!(
            !has_edge || cases.iter().any(|case| tensors(case).into_iter().any(odd)),
            "{} has no case of odd size",
            kernel.name
        );
        for case in &cases {
            let shape = (case.params.len(), case.reads.len(), case.writes.len());
            let declared = (kernel.params.len(), kernel.reads.len(), kernel.writes.len());
            assert_eq!(shape, declared, "{} [{}]: params, reads, writes", kernel.name, case.label);
        }
    }
}
